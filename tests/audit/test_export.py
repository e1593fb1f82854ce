"""Taking a copy of the ledger: it is written down first, comes as it is read, and stands as it was taken."""


from tests.support import exports
from tests.support.world import World


def test_smoke(shared_world: World, tmp_path) -> None:
    world = shared_world
    assert world.pay(1050).status_code == 201
    data = exports.take(world)
    print({k: len(v) for k, v in exports.members(data).items()})
    print(exports.members(data)["manifest.json"], exports.members(data)["proofs.json"])
    report = exports.verify(data, tmp_path, org=world.org, pin=world.pin)
    print(report)
    assert report.status == "verified"
    for a, b in ((3, 9), (2, 5), (7, 7), (10, None), (2, None)):
        data = exports.take(world, first_seq=a, **({"last_seq": b} if b else {}))
        report = exports.verify(data, tmp_path, org=world.org, pin=world.pin)
        print(a, b, report.status, report.problems, report.sealed, report.inside)
    (tmp_path / "x.zip").write_bytes(data)
    import subprocess

    print(subprocess.run(["unzip", "-tv", str(tmp_path / "x.zip")], capture_output=True, text=True))
    assert 0

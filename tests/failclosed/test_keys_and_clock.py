"""Without its keys a process signs nothing, and without the right time it allows nothing."""

import base64
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from codespar.launcher.stack import StackInfo
from codespar.lib.canonical import sha256
from tests.failclosed.conftest import Doubtful
from tests.support import books, processes
from tests.support.operations import client
from tests.support.problems import is_problem
from tests.support.world import World, key


def written(content: Callable[[Path], str], mode: int = 0o600) -> Callable[[Path], None]:
    def spoil(file: Path) -> None:
        file.write_text(content(file))
        file.chmod(mode)

    return spoil


def random_key(file: Path) -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def same_name(file: Path) -> str:
    """Another key under the id of the right one."""
    return f"{sha256(base64.b64decode((file.parent / 'right').read_text())).hex()[:8]}:{random_key(file)}"


BREAK: dict[str, Callable[[Path], None]] = {
    "missing": lambda file: None,
    "open to others": written(lambda file: (file.parent / "right").read_text(), 0o644),
    "another key": written(random_key),
    "another key of the same name": written(same_name),
    "rubbish": written(lambda file: "\x00rubbish\xff"),
    "empty": written(lambda file: ""),
    "a folder": lambda file: file.mkdir(),
    "a link": lambda file: file.symlink_to(file.parent / "right"),
    "a pipe": lambda file: os.mkfifo(file, 0o600),
}


@pytest.fixture(scope="module")
def keyless(doubtful: Doubtful, payer: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Path]]:
    """An api process that has never opened a key, and the file that it looks for them in."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "right").write_text(doubtful.info.cluster.master_key_file().read_text())
    (folder / "right").chmod(0o600)
    with processes.extra(doubtful.info, "api", CODESPAR_MASTER_KEY_FILE=str(folder / "master.key")) as info:
        yield replace(payer, info=info, clients={}), folder / "master.key"


def remove(file: Path) -> None:
    if file.is_dir() and not file.is_symlink():
        file.rmdir()
    else:
        file.unlink(missing_ok=True)


def test_a_key_store_that_does_not_open_signs_nothing_and_says_so(keyless: tuple[World, Path]) -> None:
    world, file = keyless
    again, before = key(), books.state(world)
    for what, spoil in BREAK.items():
        remove(file)
        spoil(file)
        answer = world.pay(100, again)
        assert answer.status_code == 503, f"{what}: {answer.text}"
        is_problem(answer, 503)
        assert world.api.get("/v1/payments")["data"] is not None, f"{what}: reading needs no key"
    assert books.state(world) == before
    remove(file)
    written(lambda file: (file.parent / "right").read_text())(file)
    assert world.pay(100, again).json()["status"] == "settled"


def test_what_an_agent_is_told_of_the_key_store_names_no_file(doubtful: Doubtful, payer: World, tmp_path: Path) -> None:
    with processes.extra(doubtful.info, "api", CODESPAR_MASTER_KEY_FILE=str(tmp_path / "nowhere.key")) as info:
        answer = replace(payer, info=info, clients={}).pay(100)
    assert answer.status_code == 503
    assert str(tmp_path) not in answer.text and "nowhere.key" not in answer.text


# The clock of one process, moved from outside by a module that Python loads when it starts.
SKEW = """
import datetime, os, time
from codespar.lib import clock
_by = datetime.timedelta(seconds=float(os.environ["SKEW_SECONDS"]))
_now, _time, _time_ns = clock.now, time.time, time.time_ns
clock.now = lambda: _now() + _by
time.time = lambda: _time() + _by.total_seconds()
time.time_ns = lambda: _time_ns() + int(_by.total_seconds() * 1e9)
"""


def skewed(info: StackInfo, folder: Path, seconds: float) -> dict[str, str]:
    (folder / "sitecustomize.py").write_text(SKEW)
    project = str(Path(__file__).resolve().parents[2])
    return {"PYTHONPATH": f"{folder}:{project}", "SKEW_SECONDS": str(seconds)}


@pytest.mark.parametrize("seconds", [10.0, -10.0, 3600.0, -86_400.0])
def test_a_process_whose_clock_is_wrong_allows_nothing(doubtful: Doubtful, payer: World, tmp_path: Path, seconds: float) -> None:
    before = books.state(payer)
    with processes.extra(doubtful.info, "api", **skewed(doubtful.info, tmp_path, seconds)) as info:
        wrong = replace(payer, info=info, clients={})
        answer = wrong.pay(100)
        if abs(seconds) < 60:
            assert is_problem(answer, 403, "clock_skew")["payment"]["status"] == "denied"
        else:
            # Past a minute not even the denial can be written down truthfully.
            assert is_problem(answer, 409)["detail"].startswith("This machine's clock")
        dry = wrong.api.send("/v1/payments?dry_run=true", wrong.body(100))
        assert (dry.json()["outcome"], dry.json()["code"]) == ("deny", "clock_skew")
        with client(info, "api", payer.tokens["agent"]) as agent:
            assert agent.get("/v1/payments").status_code == 200
    after = books.state(payer)
    assert {name: after[name] for name in ("payments", "holds", "transfers", "balances", "usages", "counted")} == {
        name: before[name] for name in ("payments", "holds", "transfers", "balances", "usages", "counted")
    }
    assert payer.pay(100).status_code == 201

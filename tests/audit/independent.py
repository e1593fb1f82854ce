"""A verifier of exports that shares nothing with the engine: the standard library, one library of signatures, and docs/exports.md."""

import base64
import hashlib
import io
import json
import re
import struct
import zipfile
import zlib
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NAMES = [
    "leaves.jsonl",
    "contents.jsonl",
    "openings.jsonl",
    "checkpoints.jsonl",
    "keys.json",
    "proofs.json",
    "manifest.json",
    "manifest.sig",
]


class Bad(Exception):
    """What is wrong; `seq` is the entry, or None."""

    def __init__(self, seq: int | None, what: str) -> None:
        super().__init__(f"{seq}: {what}")
        self.seq = seq


def need(good: object, seq: int | None, what: str) -> None:
    if not good:
        raise Bad(seq, what)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def check(data: bytes, *, org: str, pin: str) -> dict[str, Any]:
    """The manifest of an export in which everything is right. Raises `Bad`."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            found = {info.filename: file.read(info) for info in file.infolist()}
        need(list(found) == NAMES and framed(found) == data, None, "the archive is not the one that its members make")
        return verify(found, org, pin)
    except Bad:
        raise
    except Exception as error:
        raise Bad(None, f"it cannot be read: {error!r}") from error


def framed(found: dict[str, bytes]) -> bytes:
    """The archive that these members make: there is one."""
    out, directory = b"", b""
    for name, data in found.items():
        crc, size, offset = zlib.crc32(data), len(data), len(out)
        out += struct.pack("<4sHHHHHLLLHH", b"PK\3\4", 45, 8, 0, 0, 33, 0, 2**32 - 1, 2**32 - 1, len(name), 20) + name.encode()
        out += struct.pack("<HHQQ", 1, 16, 0, 0) + data + struct.pack("<4sLQQ", b"PK\7\10", crc, size, size)
        directory += struct.pack(
            "<4sHHHHHHLLLHHHHHLL", b"PK\1\2", 813, 45, 8, 0, 0, 33, crc, *[2**32 - 1] * 2, len(name), 28, 0, 0, 0, 0o100600 << 16, 2**32 - 1
        )
        directory += name.encode() + struct.pack("<HHQQQ", 1, 24, size, size, offset)
    end64 = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 813, 45, 0, 0, len(found), len(found), len(directory), len(out))
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(out) + len(directory), 1)
    return out + directory + end64 + locator + struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)


def read(data: bytes, seq: int | None = None) -> Any:
    """Canonical JSON, or nothing. What opens more than a thousand times in a row is followed down by nobody."""
    need(not re.search(rb"[\[{]{1000}", data), seq, "this is nested too deeply")
    value = json.loads(data)
    written = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    need(written == data, seq, "this is not canonical JSON")
    return value


def lines(data: bytes) -> list[bytes]:
    need(not data or data.endswith(b"\n"), None, "a last line without an end")
    return data.split(b"\n")[:-1]


def verified(key: Ed25519PublicKey, sig: str, message: bytes) -> bool:
    raw = base64.b64decode(sig, validate=True)
    try:
        key.verify(raw, message)
    except InvalidSignature:
        return False
    return base64.b64encode(raw).decode() == sig


def verify(found: dict[str, bytes], org: str, pin: str) -> dict[str, Any]:
    listed = read(found["keys.json"])["keys"]
    need(len(listed) == 1 and (listed[0]["first_seq"], listed[0]["last_seq"]) == (1, None), None, "the keys")
    raw = base64.urlsafe_b64decode(listed[0]["x"] + "=")
    need("sha256:" + sha(raw) == pin, None, "the key is not the pinned one")
    key, kid = Ed25519PublicKey.from_public_bytes(raw), listed[0]["kid"]
    told = read(found["manifest.json"])
    message = b"codespar/manifest/v1\n" + hashlib.sha256(found["manifest.json"]).digest()
    need(told["v"] == 1 and told["org"] == org and told["kid"] == kid, None, "the manifest is somebody else's")
    need(verified(key, found["manifest.sig"].decode(), message), None, "the manifest's signature")
    first, last = told["first_seq"], told["last_seq"]
    hashes, contents = entries(found, told, key, kid)
    need(told["files"] == {name: sha(found[name]) for name in NAMES[:6]}, None, "the files")
    opened = openings(found, contents, told)
    proofs = read(found["proofs.json"])
    need(proofs["before"]["size"] == first - 1, None, "the proofs are of another range")
    trees = Trees(first - 1, [bytes.fromhex(node) for node in proofs["before"]["nodes"]])
    roots = {}
    for number, digest in enumerate(hashes, first):
        trees.add(digest)
        roots[number] = trees.root()
    sealed = checkpoints(found, told, key, roots, proofs["consistency"])
    need(sealed or first == 1, None, "nothing seals this range")
    need(
        told["counts"] == {"entries": len(hashes), "openings": opened, "checkpoints": len(lines(found["checkpoints.jsonl"]))},
        None,
        "the counts",
    )
    need(first + len(hashes) - 1 == last and told["head"] == hashes[-1].hex() and told["entry"]["seq"] > last, last, "the head")
    return dict(told)


def entries(found: dict[str, bytes], told: dict[str, Any], key: Ed25519PublicKey, kid: str) -> tuple[list[bytes], list[Any]]:
    """The hash and the content of every entry."""
    org, first = told["org"], told["first_seq"]
    genesis = sha(b"codespar/genesis/v1\n" + org.encode())
    prev = told["first_prev"]
    need(first > 1 or prev == genesis, 1, "the genesis")
    hashes: list[bytes] = []
    contents: list[Any] = []
    ids: set[str] = set()
    leaves, bodies = lines(found["leaves.jsonl"]), lines(found["contents.jsonl"])
    for seq in range(first, first + max(len(leaves), len(bodies))):
        number = seq - first
        need(number < len(leaves) and number < len(bodies), seq, "a line is missing")
        try:
            leaf, content = read(leaves[number], seq), read(bodies[number], seq)
            good = leaf == {"content": sha(bodies[number]), "kid": content["kid"], "org": org, "prev": prev, "seq": seq, "sig": leaf["sig"]}
            need(good and (content["org"], content["deployment"], content["kid"]) == (org, told["deployment"], kid), seq, "the leaf")
            need(verified(key, leaf["sig"], b"codespar/entry/v1\n" + hashlib.sha256(bodies[number]).digest()), seq, "the signature")
            need(content["id"] not in ids and content["v"] == 1 and content["kind"], seq, "the record")
            after = content["after"]
            known = {0: genesis, first - 1: told["first_prev"]}.get(after["seq"]) or (
                after["seq"] >= first and hashes[after["seq"] - first].hex()
            )
            need(after["seq"] < seq and (after["hash"] == known or 0 < after["seq"] < first - 1), seq, "what the record comes after")
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise Bad(seq, f"the line cannot be read: {error!r}") from error
        hashes.append(hashlib.sha256(b"\0" + leaves[number]).digest())
        contents.append(content)
        ids.add(content["id"])
        prev = hashes[-1].hex()
    if first == 1:
        introduced = [one["jwk"]["x"] for one in contents[0]["data"]["keys"] if one["purpose"] == "ledger"]
        need(introduced == [read(found["keys.json"])["keys"][0]["x"]], 1, "the first entry introduces another key")
    return hashes, contents


def commits(value: Any) -> set[str]:
    if isinstance(value, dict):
        mine = {v for k, v in value.items() if isinstance(v, str) and (k == "commit" or k.endswith("_commit"))}
        return mine.union(*map(commits, value.values()))
    return set().union(*map(commits, value)) if isinstance(value, list) else set()


def openings(found: dict[str, bytes], contents: list[Any], told: dict[str, Any]) -> int:
    wanted = {
        (seq, commit)
        for seq, content in enumerate(contents, told["first_seq"])
        for commit in commits(content)
        if told["openings"] == "all" or (told["openings"] == "test" and not content["livemode"])
    }
    said = [read(line) for line in lines(found["openings.jsonl"])]
    for one in said:
        need(sha(bytes.fromhex(one["salt"]) + one["value"].encode()) == one["commit"], one["seq"], "an opening")
    places = [(one["seq"], one["commit"]) for one in said]
    need(
        places == sorted(wanted), next((seq for seq, _ in sorted(wanted ^ set(places))), None), "the openings are not those of the records"
    )
    return len(said)


class Trees:
    """The perfect trees of which a tree is made (RFC 6962)."""

    def __init__(self, size: int, nodes: list[bytes]) -> None:
        self.size, self.nodes = size, nodes
        need(len(nodes) == size.bit_count(), None, "the proofs do not fit their size")

    def add(self, node: bytes) -> None:
        rest, self.size = self.size, self.size + 1
        while rest & 1:
            node, rest = hashlib.sha256(b"\1" + self.nodes.pop() + node).digest(), rest >> 1
        self.nodes.append(node)

    def root(self) -> bytes:
        *left, found = self.nodes
        for node in reversed(left):
            found = hashlib.sha256(b"\1" + node + found).digest()
        return found


def checkpoints(found: dict[str, bytes], told: dict[str, Any], key: Ed25519PublicKey, roots: dict[int, bytes], proof: Any) -> int:
    """The largest size that is sealed."""
    name = f"{told['deployment']}/org/{told['org']}"
    key_id = hashlib.sha256(name.encode() + b"\n\1" + key.public_bytes_raw()).digest()[:4]
    largest = 0
    for line in lines(found["checkpoints.jsonl"]):
        said = read(line)
        text, _, signature = said["note"].rpartition("\n\n")
        root = base64.b64decode(text.split("\n")[2])
        need(
            text == f"{name}\n{said['size']}\n{base64.b64encode(root).decode()}" and said["size"] > largest, said["size"], "the checkpoint"
        )
        signed = base64.b64decode(signature.removeprefix(f"— {name} "))
        need(
            signature == f"— {name} {base64.b64encode(signed).decode()}\n" and signed[:4] == key_id,
            said["size"],
            "who signed the checkpoint",
        )
        need(verified(key, base64.b64encode(signed[4:]).decode(), f"{text}\n".encode()), said["size"], "the checkpoint's signature")
        largest = said["size"]
        if largest in roots:
            need(roots[largest] == root, largest, "the checkpoint's root")
        else:
            last = max(roots)
            need(largest > last and proof == {"from": last, "to": largest, "proof": proof["proof"]}, last, "the proof is of something else")
            need(consistent(last, largest, roots[last], root, [bytes.fromhex(node) for node in proof["proof"]]), last, "the proof")
    need(proof is None or largest == proof["to"], None, "a proof without its checkpoint")
    return largest


def consistent(first: int, second: int, first_root: bytes, second_root: bytes, proof: list[bytes]) -> bool:
    """RFC 9162, 2.1.4.2."""
    path = [first_root, *proof] if first & (first - 1) == 0 else proof
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for node in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = hashlib.sha256(b"\1" + node + fr).digest(), hashlib.sha256(b"\1" + node + sr).digest()
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = hashlib.sha256(b"\1" + sr + node).digest()
        fn, sn = fn >> 1, sn >> 1
    return (fr, sr, sn) == (first_root, second_root, 0)

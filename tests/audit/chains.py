"""Chains in memory, built as the database builds them, for tests that then break them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from codespar.audit import chain
from codespar.audit.chain import Row, Trust
from codespar.lib import canonical, clock
from codespar.lib.sdjwt import encode
from ledger import merkle, records

ORG = UUID("01900000-0000-7000-8000-000000000001")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
THIEF = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
START = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
TRUST = Trust(ORG, "test.localhost", chain.fingerprint(KEY.public_key()))


def introduction(key=KEY, kid="ledger-1"):
    """The data of a first entry."""
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().public_bytes_raw()), "kid": kid}
    return {"organisation": {}, "member": {}, "tokens": [], "keys": [{"id": "key_1", "kid": kid, "purpose": "ledger", "jwk": jwk}]}


class Chain:
    """A chain that grows by `add`; `rows` are what the database would hold."""

    def __init__(self, *, key=KEY, introduces=None, deployment="test.localhost"):
        self.key, self.deployment, self.rows = key, deployment, []
        self.add(kind="organisation.created", data=introduction(introduces or key))

    @property
    def head(self):
        row = self.rows[-1]
        return chain.Head(row.seq, row.hash.hex())

    def after(self, seq):
        """What a record says that saw entry `seq` as the head."""
        return {"seq": seq, "hash": (self.rows[seq - 1].hash if seq else records.genesis(ORG)).hex()}

    def sign(self, *, kind="project.created", data=None, at=None, after=None, kid="ledger-1", key=None, parts=(), **draft):
        number = len(self.rows)
        draft = records.Draft(
            **{
                "kind": kind,
                "livemode": False,
                "org": ORG,
                "actor": "mem_1",
                "subject": "prj_1",
                "request_id": "req_1",
                "data": {"id": "prj_1", "name": "one"} if data is None else data,
                "parts": parts,
            }
            | draft
        )
        signer = records.Signer(kid, (key or self.key).sign)
        moment = at or START + timedelta(seconds=number)
        return records.sign(draft, deployment=self.deployment, after=after or self.after(number), at=moment, signer=signer)

    def add(self, record=None, **options):
        """Append a record, made with `options` unless it is given. Returns its row."""
        record = record or self.sign(**options)
        self.rows.append(row(record, seq=len(self.rows) + 1, prev=self.rows[-1].hash if self.rows else records.genesis(ORG)))
        return self.rows[-1]


def row(record, *, seq, prev):
    """What the database makes of a record at this place."""
    content = canonical.loads(record.content)
    leaf = records.leaf(content=record.content, kid=content["kid"], org=ORG, prev=prev, seq=seq, sig=record.sig)
    at = clock.parse(content["at"])
    return Row(ORG, seq, record.id, content["kind"], content["kid"], at, prev, merkle.leaf_hash(leaf), record.content, record.sig, leaf)


def relink(rows):
    """Every leaf and hash computed anew, as somebody would who can write everything but holds no key."""
    made, prev = [], records.genesis(ORG)
    for seq, one in enumerate(rows, start=1):
        leaf = records.leaf(content=one.content, kid=one.kid, org=one.org, prev=prev, seq=seq, sig=one.sig)
        made.append(replace(one, seq=seq, prev=prev, leaf=leaf, hash=merkle.leaf_hash(leaf)))
        prev = made[-1].hash
    return made


def make(size=8):
    """A chain of `size` entries, one second apart."""
    made = Chain()
    for _ in range(size - 1):
        made.add()
    return made

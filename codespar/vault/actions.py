"""The one write of the vault that is nobody else's: putting what is sealed under the current master key."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from codespar.lib import db
from codespar.lib.errors import Unavailable
from codespar.vault import envelope, keys

# Where secrets are kept, for each role: the columns that bind one, and what it is bound to (purpose, name).
_Bound = Callable[[Mapping[str, Any]], tuple[str, str]]
_TABLES: dict[str, tuple[tuple[str, tuple[str, ...], _Bound], ...]] = {
    "control": (
        ("private_keys", ("purpose", "kid"), lambda row: (row["purpose"], row["kid"])),
        ("member_devices", (), lambda row: ("totp", row["id"].hex)),
    ),
    "rail": (
        ("rail_accounts", ("rail", "provider_account"), lambda row: (f"rail:{row['rail']}", row["provider_account"])),
        ("webhook_secrets", (), lambda row: ("webhook", row["id"].hex)),
    ),
}


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """How many secrets were put under the current master key, and how many were under it already."""

    done: int
    current: int


def rewrap(*, role: str) -> Rewrapped:
    """Put every secret that `role` (control or rail) can read under the current master key. Safe to run twice, and beside everything.

    Raises `VaultRefused` at a secret that no loaded key opens, `Unavailable` when the role keeps none. A crash leaves each secret under
    its old key or its new one; both must stay loaded until this has run as both roles.
    """
    if role not in _TABLES:
        raise Unavailable("Secrets are read by the roles control and rail: run this once as each of them.")
    master = keys.master()
    total = Rewrapped(0, 0)
    for org in sorted({key["org"] for key in keys.public_keys()}):
        for table, columns, bound in _TABLES[role]:
            total = _rewrap_table(org, table, columns, bound, master, total)
    return total


def _rewrap_table(
    org: UUID, table: str, columns: tuple[str, ...], bound: _Bound, master: envelope.MasterKeys, total: Rewrapped
) -> Rewrapped:
    names = ", ".join(("id", "sealed", *columns))
    with db.tenant(org):
        rows = db.select(f"SELECT {names} FROM {table} WHERE org_id = %s ORDER BY id", [str(org)])
    done = current = 0
    for row in rows:
        old = bytes(row["sealed"])
        if envelope.master_id(old) == master.current:
            current += 1
            continue
        purpose, name = bound(row)
        new = envelope.rewrap(old, keys=master, aad=keys.aad(org, purpose, name))
        # False: the secret was replaced in the meantime, and its successor was sealed under the current key.
        done += bool(db.call("secret_rewrap", org, table, row["id"], old, new))
    return Rewrapped(total.done + done, total.current + current)

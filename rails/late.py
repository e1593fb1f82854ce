"""Money that moved for a payment whose hold had gone back: booked as it moved, and a person looks."""

from typing import Any
from uuid import UUID

from codespar.lib import db, ids
from rails import booking, queue

TRIES = 4
Row = dict[str, Any]
_WALLET = "SELECT available FROM accounts WHERE org_id = %s AND id = %s"


def book(org: UUID, payment: UUID, discrepancy: str) -> None:
    """failed, canceled or expired -> needs_human, with what the statement proves: from the wallet what it has, the rest is receivable.

    Only what the discrepancy shows to the last unit; anything else stays a discrepancy alone. Safe to run twice.
    """
    for _ in range(TRIES):
        [row] = queue.payments(org, [payment])
        if row["status"] not in ("failed", "canceled", "expired") or row["captured"]:
            return
        if "moved" not in _book(org, row, discrepancy):
            return


def _book(org: UUID, row: Row, discrepancy: str) -> Row:
    [[wallet]] = db.read(org, (_WALLET, [str(org), str(row["wallet_id"])]))
    taken = min(wallet["available"], row["amount"])
    pay = ids.wire("pay", row["id"])
    return booking.write(
        "payment_settled_late",
        kind="payment.settled_late",
        subject=pay,
        data={
            "payment": {
                "id": pay,
                "discrepancy": discrepancy,
                "amount": row["amount"],
                "currency": row["currency"],
                "from_wallet": taken,
                "wallet_transfer": ids.wire("tr", ids.new()) if taken else None,
                "receivable_transfer": ids.wire("tr", ids.new()) if taken < row["amount"] else None,
            }
        },
        parts=[
            {"part": "capture", "payment": pay, "amount": row["amount"], "currency": row["currency"]},
            {"part": "transition", "subject": pay, "from": row["status"], "to": "needs_human"},
        ],
        **booking.about([row]),
    )

"""The account's statement on the rail x402: the token's transfers from and to our address, in the blocks that are final."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

from rails.adapters.base import Deposit, Statement, StatementLine
from rails.adapters.x402_chain import SPAN, TRANSFER, USED, Chain, Log, Move, move
from rails.adapters.x402_signing import word

CURRENCY = "USDC"
DEPOSIT = "(0x[0-9a-f]{64}):(0|[1-9][0-9]{0,8})"


def page(chain: Chain, address: str, cursor: str, first_block: int) -> Statement:
    """What the blocks after the block `cursor` hold, up to 1,000 of them; `cursor` is then the last of them. Raises `Unreadable`.

    A transfer to ourselves, or of nothing, moves nothing and is no line. The line of an authorization carries its nonce as
    `provider_id`, which is our key.
    """
    _last, final = chain.ends()
    before = int(cursor) if cursor else first_block - 1
    end = min(before + SPAN, final.number)
    if end <= before:
        balance = chain.balance(address, before)
        return _statement(chain, balance, (), balance, before, complete=True)
    lines = tuple(_lines(chain, address, before + 1, end))
    opening, closing = chain.balance(address, before), chain.balance(address, end)
    return _statement(chain, opening, lines, closing, end, complete=end == final.number)


def deposit(chain: Chain, address: str, account: str, deposit_id: str) -> Deposit | None:
    """The transfer to us that a line's id names, once it is final. Raises `Unreadable`."""
    found = re.fullmatch(DEPOSIT, deposit_id)
    if not found:
        return None
    _last, final = chain.ends()
    log = next((log for log in chain.receipt(found[1]) if log.index == int(found[2])), None)
    moved = move(log) if log else None
    if log is None or moved is None or moved.payee != address or moved.payer == address or log.block > final.number or not moved.value:
        return None
    return Deposit(
        id=log.id,
        account=account,
        amount=moved.value,
        currency=CURRENCY,
        payer_key=_account(chain, moved.payer),
        reference="",
        at=_time(chain, log.block, {}),
        raw=b"\n".join(chain.said),
    )


def _lines(chain: Chain, address: str, first: int, last: int) -> list[StatementLine]:
    us = "0x" + word(address).hex()
    out, back = chain.logs([TRANSFER, us], first, last), chain.logs([TRANSFER, None, us], first, last)
    nonces = {(log.transaction, log.index + 1): log.topics[2] for log in chain.logs([USED, us], first, last) if len(log.topics) == 3}
    both, times = {log.id: log for log in [*out, *back]}, dict[int, datetime]()
    found = []
    for log in sorted(both.values(), key=lambda log: (log.block, log.index)):
        moved = move(log)
        if moved is not None and moved.payer != moved.payee and moved.value:
            found.append(_line(chain, log, moved, address, nonces.get((log.transaction, log.index)), _time(chain, log.block, times)))
    return found


def _line(chain: Chain, log: Log, moved: Move, address: str, nonce: str | None, at: datetime) -> StatementLine:
    came = moved.payee == address
    return StatementLine(
        id=log.id,
        kind="deposit" if came else "payment" if nonce else "other",
        provider_id=nonce or log.id,
        key=nonce[2:] if nonce else None,
        amount=moved.value if came else -moved.value,
        currency=CURRENCY,
        at=at,
        party=_account(chain, moved.payer if came else moved.payee),
    )


def _statement(
    chain: Chain, opening: int | None, lines: tuple[StatementLine, ...], closing: int | None, end: int, *, complete: bool
) -> Statement:
    said = json.dumps([answer.decode(errors="replace") for answer in chain.said]).encode()
    return Statement(opening=opening, lines=lines, closing=closing, cursor=str(end), complete=complete, raw=said)


def _account(chain: Chain, address: str) -> str:
    return f"{chain.token.asset.network}:{address}"


def _time(chain: Chain, block: int, known: dict[int, datetime]) -> datetime:
    if block not in known:
        known[block] = datetime.fromtimestamp(chain.block(block).time, UTC)
    return known[block]

"""What a rail is told after the payment: as the declared way back says, and not while the last word may still be on its way."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from codespar.launcher.stack import StackInfo
from rails import workers
from rails.adapters.base import Action, Capabilities, Cost, Result, RollbackStep

LATER, BEFORE = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) - timedelta(hours=1)


def rail(**ways: Action) -> Capabilities:
    steps = tuple(
        RollbackStep(state=Result(state), action=action, how="", within_seconds=None, certain=True) for state, action in ways.items()
    )
    return Capabilities(
        account_types=(),
        currencies=None,
        secrets=(),
        webhook_headers=(),
        captures=True,
        can_void=True,
        can_refund=True,
        partial_refund=True,
        query_by_key=True,
        key_repeats=True,
        key_lifetime_seconds=None,
        acceptance_window_seconds=0,
        settlement_seconds=0,
        cost=Cost(),
        rollback=steps,
    )


def followed(operation: str, result: Result | None, send_by: datetime = LATER, worker: str | None = None) -> dict[str, Any]:
    return {"operation": operation, "result": result, "send_by": send_by, "worker": worker or workers.identity()}


VOID = rail(accepted=Action.RECALL, reserved=Action.VOID)


@pytest.mark.parametrize(
    ("stage", "capabilities", "returns", "last", "operation"),
    [
        ("reserved", VOID, False, None, "capture"),
        ("reserved", VOID, True, None, "cancel"),
        ("accepted", VOID, False, None, None),
        ("accepted", VOID, True, None, "cancel"),
        ("accepted", rail(accepted=Action.WAIT), True, None, None),
        ("reserved", rail(), True, None, None),
        # The last word may still be on its way: nothing is said over it.
        ("reserved", VOID, False, followed("capture", None), None),
        ("reserved", VOID, True, followed("capture", None), None),
        # It was not heard, or nobody is left to say it: once more.
        ("reserved", VOID, False, followed("capture", Result.UNKNOWN), "capture"),
        ("reserved", VOID, False, followed("capture", None, BEFORE), "capture"),
        ("reserved", VOID, True, followed("capture", Result.UNKNOWN), "cancel"),
        # The rail has the request to cancel, and will say how it ends.
        ("accepted", VOID, True, followed("cancel", Result.ACCEPTED), None),
        ("accepted", VOID, True, followed("cancel", Result.UNKNOWN), "cancel"),
    ],
)
def test_the_next_word_is_what_the_rail_declares(
    stack: StackInfo, stage: str, capabilities: Capabilities, returns: bool, last: dict[str, Any] | None, operation: str | None
) -> None:
    from rails import following

    assert following.operation({"stage": stage}, capabilities, returns, last) == operation


def test_the_word_of_a_dead_process_is_not_waited_for(stack: StackInfo) -> None:
    from rails import following

    host, boot, namespace, pid, _ = workers.identity().split("/")
    last = followed("capture", None, LATER, "/".join([host, boot, namespace, pid, "1"]))
    assert following.operation({"stage": "reserved"}, VOID, False, last) == "capture"

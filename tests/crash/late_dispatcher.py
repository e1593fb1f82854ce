"""A dispatcher, `python -m tests.crash.late_dispatcher`, that stops itself between its last look and its call of the rail, once.

It begins with a line on its standard input, and goes on with SIGCONT when it is late. With `careless` it has forgotten `send_by`, and
nothing else.
"""

import signal
import sys
import threading

import django

django.setup()

from rails import calls, dispatch  # noqa: E402
from rails.adapters import exchange  # noqa: E402
from rails.adapters.base import Adapter, Instruction  # noqa: E402

_instruction, _before_write = calls.instruction, exchange._Call.before_write


def _late(payment: calls.Row, adapter: Adapter) -> Instruction:
    if "attempt_id" not in payment or payment["attempt_id"] is None:
        # Only what it is told before the attempt is recorded.
        return _instruction(payment, adapter)
    calls.instruction = _instruction
    # To this thread: a signal to the process may be taken by another one, while this one goes on for a moment.
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    return _instruction(payment, adapter)


def _unbound(call: exchange._Call, stream: object) -> None:
    call.send_by = None
    _before_write(call, stream)


def main() -> None:
    calls.instruction = _late
    if "careless" in sys.argv[1:]:
        exchange._Call.before_write = _unbound  # type: ignore[method-assign]
    sys.stdin.readline()
    dispatch.run("sandbox")


if __name__ == "__main__":
    main()

"""A dispatcher of one pass, `python -m tests.crash.late_dispatcher`, that stops itself between its last look and its call of the rail.

It begins with a line on its standard input, and goes on with SIGCONT when it is late. With `careless` it has forgotten `send_by`, and nothing else.
"""

import os
import signal
import sys

import django

django.setup()

from rails import dispatch  # noqa: E402
from rails.adapters import exchange  # noqa: E402

_pay, _before_write = dispatch._pay, exchange._Call.before_write


def _paused(payment: dispatch.Row, clear: bool) -> object:
    os.kill(os.getpid(), signal.SIGSTOP)
    return _pay(payment, clear)


def _unbound(call: exchange._Call, stream: object) -> None:
    call.send_by = None
    _before_write(call, stream)


def main() -> None:
    dispatch._pay = _paused  # type: ignore[assignment]
    if "careless" in sys.argv[1:]:
        exchange._Call.before_write = _unbound  # type: ignore[method-assign]
    sys.stdin.readline()
    dispatch.run_once()


if __name__ == "__main__":
    main()

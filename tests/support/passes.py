"""`python -m tests.support.passes <organisation> <rail account> <count>`: so many passes of reconciliation over one account, without a pause."""

import sys
from uuid import UUID

import django

django.setup()

from codespar.lib import db  # noqa: E402
from rails import reconciliation  # noqa: E402


def main(org: str, account: str, count: str) -> None:
    for _ in range(int(count)):
        reconciliation.reconcile(UUID(org), UUID(account))
    db.release()


if __name__ == "__main__":
    main(*sys.argv[1:])

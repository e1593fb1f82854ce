"""`python -m codespar.checks`: fails with one sentence for each thing that is out of step. `--write` rewrites the documents instead."""

import os
import sys

os.environ["DJANGO_SETTINGS_MODULE"] = "codespar.checks.settings"

import django  # noqa: E402

django.setup()

from django.core.management import call_command  # noqa: E402
from django.core.management.base import CommandError  # noqa: E402

from codespar.checks import contract, documents  # noqa: E402


def main() -> int:
    if "--write" in sys.argv:
        documents.write()
        return 0
    faults = [f"{name} has drifted from the code: run `python -m codespar.checks --write`." for name in documents.drifted()]
    faults += contract.breaks()
    try:
        call_command("check", fail_level="WARNING", verbosity=0)
        call_command("makemigrations", check=True, dry_run=True, verbosity=0)
    except (CommandError, SystemExit) as error:
        faults.append(f"Models and migrations disagree: {error}.")
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

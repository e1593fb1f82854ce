"""Organisations, made by the one action that no API has: `python -m bench.organisations COUNT` prints [[organisation, owner's token]].

A process of its own, with the settings of the database that it is for: Django has one set of settings in a process, and a run of the
bench has several databases.
"""

import json
import sys

import django

django.setup()

from codespar.identity import actions  # noqa: E402
from codespar.lib import clock, ids  # noqa: E402


def main() -> None:
    found = []
    for number in range(int(sys.argv[1])):
        made = actions.create_organisation(
            name=f"Bench {number}",
            timezone="America/Sao_Paulo",
            email="owner@bench.example",
            owner_name="Owner",
            request_id=ids.wire("req", ids.new()),
            now=clock.now(),
        )
        found.append([ids.wire("org", made.id), made.test_token])
    print(json.dumps(found))


if __name__ == "__main__":
    main()

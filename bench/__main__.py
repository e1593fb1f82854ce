"""`make bench`: every benchmark, one after another. `--quick` takes a couple of minutes; `--only` picks one.

A benchmark is a module with `measure(servers, plan, progress) -> tables` and its plans; it stands in BENCHMARKS and nowhere else.
"""

import argparse
import sys
from datetime import UTC, datetime
from typing import Any

from bench import dead_rail, machine, matching, payments, revocations
from codespar.launcher import interrupts
from codespar.launcher.errors import LauncherError
from codespar.launcher.progress import Progress

BENCHMARKS: dict[str, Any] = {"payments": payments, "revocations": revocations, "matching": matching, "dead_rail": dead_rail}


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description="Measure the engine against its floors, on this machine.")
    parser.add_argument("--quick", action="store_true", help="a small run of a couple of minutes")
    parser.add_argument("--smoke", action="store_true", help="seconds only: that the bench works, not what it measures")
    parser.add_argument("--only", choices=sorted(BENCHMARKS), help="this benchmark alone")
    options = parser.parse_args()
    try:
        with interrupts.installed():
            return _run(options)
    except LauncherError as error:
        print(error, file=sys.stderr)
        return 1
    except interrupts.Interrupted:
        return 130


def _run(options: argparse.Namespace) -> int:
    progress, servers = Progress(), machine.cluster()
    servers.state.make()
    with servers.state.only_one():
        try:
            with progress.step("Starting Postgres and Valkey"):
                servers.start_servers()
            progress.line(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine.about(servers)}")
            for name, benchmark in BENCHMARKS.items():
                if options.only in (None, name):
                    for table in benchmark.measure(servers, _plan(benchmark, options), progress):
                        progress.line("\n".join(table.lines()))
            return 0
        finally:
            with interrupts.ignored():
                servers.stop()


def _plan(benchmark: Any, options: argparse.Namespace) -> Any:
    return benchmark.SMOKE if options.smoke else benchmark.QUICK if options.quick else benchmark.FULL


if __name__ == "__main__":
    sys.exit(main())

"""One more process of a running engine, in a folder of its own, with an environment that a test changes."""

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from codespar.launcher.processes import Spec, Supervisor
from codespar.launcher.stack import Stack, StackInfo


def spec(info: StackInfo, name: str, env: Mapping[str, str]) -> tuple[Spec, StackInfo]:
    """How the process `name` (api or console) is started beside the running ones, on a port of its own, and where it answers."""
    beside = Stack(info.cluster, database=info.database, redis_db=info.redis_db, names=(name,))
    found = beside.specs()[0]
    base, console = (beside.info.base_url, info.console_url) if name == "api" else (info.base_url, beside.info.console_url)
    return dataclasses.replace(found, env={**found.env, **env}), dataclasses.replace(info, base_url=base, console_url=console)


@contextmanager
def extra(info: StackInfo, name: str, **env: str) -> Iterator[StackInfo]:
    """Another `api` or `console` of the engine behind `info`, ready; `info` with its address."""
    started, where = spec(info, name, env)
    with tempfile.TemporaryDirectory(prefix="codespar-extra-") as folder, Supervisor(Path(folder)) as supervisor:
        supervisor.start(started)
        yield where

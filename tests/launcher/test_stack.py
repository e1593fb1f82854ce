"""What each process of a stack is given; the processes themselves are tried by the journeys."""

import os
import signal
import time
from urllib.parse import urlsplit

import psycopg
import pytest

from codespar.launcher.cluster import Cluster
from codespar.launcher.errors import LauncherError
from codespar.launcher.stack import NAMES, Stack
from codespar.launcher.state import State


def env_of(stack: Stack) -> dict[str, dict[str, str]]:
    return {spec.name: dict(spec.env) for spec in stack.specs()}


def test_each_process_connects_as_its_own_role(cluster):
    found = {
        name: (env.get("CODESPAR_ROLE"), urlsplit(env.get("CODESPAR_DATABASE_URL", "")).username)
        for name, env in env_of(Stack(cluster)).items()
    }
    assert found == {
        "provider": (None, None),
        "api": ("agent", "codespar_agent"),
        "console": ("control", "codespar_control"),
        "dispatcher": ("rail", "codespar_rail"),
        "worker": ("rail", "codespar_rail"),
        "beat": ("rail", "codespar_rail"),
    }


def test_no_process_sees_another_roles_password_or_the_launchers_environment(cluster, monkeypatch):
    monkeypatch.setenv("CODESPAR_OWNER_PASSWORD", "secret")
    monkeypatch.setenv("PGPASSWORD", "secret")
    for name, env in env_of(Stack(cluster)).items():
        own = f"codespar_{env.get('CODESPAR_ROLE')}"
        others = {password for role, password in cluster.roles.passwords.items() if role != own}
        assert not any(value in text for text in env.values() for value in {*others, "secret"}), name


def test_the_auditor_gets_what_reading_takes_and_no_more(cluster):
    engine = {name for name in Stack(cluster).info.env("auditor") if name.startswith("CODESPAR_")}
    assert engine == {"CODESPAR_ROLE", "CODESPAR_DATABASE_URL", "CODESPAR_DEPLOYMENT", "CODESPAR_CHECKPOINT_DIR"}


def test_the_provider_gets_no_setting_of_the_engine(cluster):
    assert not [name for name in env_of(Stack(cluster))["provider"] if name.startswith("CODESPAR_")]


def test_urls_agree_and_ports_are_kept(cluster):
    first, second = Stack(cluster), Stack(cluster)
    assert first.info.base_url == second.info.base_url
    assert len({first.info.base_url, first.info.console_url, first.info.sandbox_url}) == 3
    for name, env in env_of(first).items():
        if name != "provider":
            assert env["CODESPAR_BASE_URL"] == first.info.base_url
            assert first.info.sandbox_url in env["CODESPAR_RAIL_URLS"]
    services = {name: env.get("CODESPAR_SERVICE") for name, env in env_of(first).items()}
    assert (services["api"], services["console"]) == ("api", "console")


def test_two_stacks_in_one_cluster_share_nothing(cluster):
    one = Stack(cluster, database="one", redis_db=1)
    two = Stack(cluster, database="two", redis_db=2, api_workers=3)
    for name in ("CODESPAR_DATABASE_URL", "CODESPAR_REDIS_URL", "CODESPAR_BASE_URL", "CODESPAR_CHECKPOINT_DIR"):
        assert one.info.env("agent")[name] != two.info.env("agent")[name]
    assert one.folder != two.folder
    argv = next(list(spec.argv) for spec in two.specs() if spec.name == "api")
    assert argv[argv.index("--workers") + 1] == "3"


def test_a_stack_of_the_provider_alone_runs_and_stops(cluster):
    with Stack(cluster, database="small", names=["provider"]) as stack:
        assert stack.names == ["provider"]
        assert stack.supervisor.pid("provider")
    assert set(NAMES) > {"provider"}


def test_postgres_recovers_beside_a_running_stack(cluster):
    """It looks at its data again then, through the folder that the stack's processes use, too."""
    with Stack(cluster, names=["provider"]), cluster.postgres.connect() as victim:
        os.kill(victim.info.backend_pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            victim.execute("SELECT 1")
        until = time.monotonic() + 20
        while not cluster.postgres.healthy():
            assert time.monotonic() < until, cluster.postgres.log.tail(0, 5)
            time.sleep(0.1)


def test_a_role_that_does_not_exist_is_refused(cluster):
    with pytest.raises(LauncherError, match="no role 'root'; it is one of agent"):
        cluster.env("root")


def test_keys_survive_a_restart(state_dir):
    State(state_dir).make()
    first = Cluster(state_dir).master_key_file().read_text()
    assert Cluster(state_dir).master_key_file().read_text() == first
    assert Cluster(state_dir).master_key_file().stat().st_mode & 0o777 == 0o600

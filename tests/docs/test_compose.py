"""`docker-compose.yml`: what each service is given, and no more, read from the file; the bank's command is run as it stands."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from codespar.config import Config
from codespar.launcher.stack import BANK_SPEAKS
from tests.docs.reading import ROOT

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
ENGINE = [name for name in SERVICES if name not in ("postgres", "valkey", "bank")]
ROLES = {"api": "agent", "console": "control", "dispatcher": "rail", "worker": "rail", "beat": "rail", "auditor": "auditor"}


def environment(name: str) -> dict[str, str]:
    """What a service is told when every variable of the operator's is set."""

    def value(match: re.Match[str]) -> str:
        return match[3] if match[2] == "-" else f"from-{match[1].lower().replace('_', '-')}-{'x' * 32}"

    found = {key: str(text) for key, text in SERVICES[name].get("environment", {}).items()}
    return {key: re.sub(r"\$\{(\w+):([?-])([^}]*)\}", value, text) for key, text in found.items()}


def config(name: str, **changes: str) -> Config:
    told = environment(name) | {"CODESPAR_DEPLOYMENT": "pay.example"} | changes
    return Config(**{key.removeprefix("CODESPAR_").lower(): text for key, text in told.items()})  # type: ignore[arg-type]


def with_secret() -> set[str]:
    return {name for name, service in SERVICES.items() if service.get("secrets")}


@pytest.mark.parametrize("name", ROLES)
def test_each_service_can_start_with_what_it_is_given(name: str) -> None:
    assert config(name).role == ROLES[name]


def test_only_who_signs_or_opens_has_the_master_key() -> None:
    named = {name for name in SERVICES if "CODESPAR_MASTER_KEY_FILE" in environment(name)}
    assert with_secret() == named == {"api", "console", "dispatcher", "worker"}


def test_the_sealer_writes_checkpoints_the_auditor_reads_them_and_nobody_else_sees_them() -> None:
    mounts = {name: service.get("volumes", []) for name, service in SERVICES.items()}
    assert {name: found for name, found in mounts.items() if any(text.startswith("checkpoints:") for text in found)} == {
        "worker": ["checkpoints:/var/lib/codespar"],
        "auditor": ["checkpoints:/var/lib/codespar:ro"],
    }
    assert "default" in SERVICES["worker"]["command"]
    for name in ("worker", "auditor"):
        assert config(name).checkpoint_dir == Path("/var/lib/codespar")


def test_no_service_has_another_roles_password() -> None:
    for name in set(ENGINE) - {"setup"}:
        text = str(SERVICES[name].get("environment"))
        assert set(re.findall(r"CODESPAR_([A-Z]+)_PASSWORD", text)) == {ROLES[name].upper()}, name


def test_the_auditor_waits_for_a_hand_and_has_no_key_and_no_queue() -> None:
    assert SERVICES["auditor"]["profiles"] == ["tools"]
    assert set(environment("auditor")) == {f"CODESPAR_{name}" for name in ("ROLE", "DATABASE_URL", "DEPLOYMENT", "CHECKPOINT_DIR")}


def test_the_bank_is_where_the_dispatcher_looks_for_it() -> None:
    bank = SERVICES["bank"]
    assert bank["network_mode"] == "service:dispatcher"
    assert environment("bank") == {}
    spoken = {rail: f"http://127.0.0.1:8002/{rail}-api" for rail in BANK_SPEAKS}
    assert config("dispatcher").rail_urls == {"sandbox": "http://127.0.0.1:8002", **spoken}
    assert "--port 8002" in bank["command"][-1]


def test_the_banks_command_starts_a_bank_and_keeps_its_secrets_from_others(tmp_path: Path) -> None:
    folder = SERVICES["bank"]["volumes"][0].partition(":")[2]
    command = [*SERVICES["bank"]["command"][:-1], SERVICES["bank"]["command"][-1].replace(folder, str(tmp_path)).replace("8002", "0")]
    path = f"{ROOT}/.venv/bin:/usr/bin:/bin"
    for _ in range(2):
        with subprocess.Popen(command, cwd=ROOT, env={"PATH": path}, stdout=subprocess.PIPE, text=True) as bank:
            assert bank.stdout is not None
            said = bank.stdout.readline()
            bank.terminate()
        assert said.startswith("listening on http://127.0.0.1:"), said
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_the_image_has_every_folder_that_a_volume_of_ours_is_mounted_on() -> None:
    made = re.search(r"install -d -o codespar .*", (ROOT / "Dockerfile").read_text())
    assert made is not None
    mounted = {text.split(":")[1] for name in (*ENGINE, "bank") for text in SERVICES[name].get("volumes", [])}
    assert mounted <= set(made[0].split())

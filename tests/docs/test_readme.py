"""The README's commands are run as a reader would paste them: one shell, from top to bottom, against a running engine."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from codespar.demo import seed
from codespar.launcher import demo
from codespar.launcher.stack import StackInfo
from tests.docs.reading import ROOT, blocks

README = ROOT / "README.md"
# What starts servers of its own is not pasted here.
PASTED = [block for block in blocks(README, "sh") if not block.startswith("make ")]
MARK = "<next block>"


def shell(folder: Path, script: str) -> list[str]:
    """What the blocks of `script` print, in a shell that knows nothing of the engine."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("CODESPAR_", "DJANGO_"))}
    done = subprocess.run(["bash", "-e", "-c", script], cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return [said.strip() for said in done.stdout.split(MARK)]


@pytest.fixture(scope="module")
def said(stack: StackInfo, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each pasted block prints, in a folder as the demo leaves it, with an organisation that was made as the demo's is."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / ".codespar").mkdir()
    (folder / ".codespar" / "demo.json").write_text(json.dumps(seed.everything(stack)))
    (folder / ".codespar" / "auditor.env").write_text(demo._exports(stack.env("auditor")))
    return shell(folder, f"echo '{MARK}'\n".join(PASTED))


def test_the_first_block_prints_nothing(said: list[str]) -> None:
    assert said[0] == ""


def test_a_payment_settles_and_the_same_request_is_the_same_payment(said: list[str]) -> None:
    assert re.fullmatch(r"pay_[0-9a-f]{32} settled", said[1])
    assert said[2] == said[1]


def test_a_refusal_says_why(said: list[str]) -> None:
    assert said[3].startswith("403 purpose_mismatch ")


def test_a_dry_run_says_what_would_happen(said: list[str]) -> None:
    assert [line.split()[:2] for line in said[4].splitlines()] == [["deny", "limit_payment"], ["approval", "approval_required"]]


def test_what_was_written_verifies(said: list[str]) -> None:
    assert said[5] == ""
    assert re.match(r"org_[0-9a-f]{32} verified\n +entries +\d+\n +head ", said[6])


def test_a_copy_is_taken_and_verifies_offline(said: list[str]) -> None:
    assert re.match(r"file +readme-\d+\.zip\norganisation +org_[0-9a-f]{32}\nentries +1 to \d+\n", said[7])
    assert re.search(r"^org_[0-9a-f]{32} verified\n +entries +\d+: 1 to \d+, of ", said[7], re.M)


def test_the_rules_are_shown_beside_their_promises(said: list[str]) -> None:
    assert re.search(r"accounts_available +Nothing is spent that is not there\.", said[8])
    assert len(said) == 9


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "docs/operating.md"):
        pasted = "\n".join(blocks(ROOT / page, "sh"))
        named = set(re.findall(r"`make ([a-z]+)", (ROOT / page).read_text())) | set(re.findall(r"^make ([a-z]+)", pasted, re.M))
        assert named or page not in ("README.md", "CONTRIBUTING.md")
        assert named <= targets, page


def test_every_command_of_the_command_line_that_a_page_names_exists() -> None:
    from codespar.cli import app, member_app, org_app

    groups = {"org": org_app, "member": member_app}
    known = {info.name or info.callback.__name__ for info in app.registered_commands if info.callback} | set(groups)
    sub = {name: {info.name for info in group.registered_commands} for name, group in groups.items()}
    for page in ("README.md", "ARCHITECTURE.md", "SECURITY.md", "docs/operating.md"):
        text = (ROOT / page).read_text()
        for name, rest in re.findall(r"(?:`|bin/)codespar ([a-z]+)(?: ([a-z]+))?", text):
            assert name in known, f"{page}: codespar {name}"
            assert name not in groups or rest in sub[name], f"{page}: codespar {name} {rest}"

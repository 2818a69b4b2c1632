"""`make` says what is really wrong with a folder, and lists the settings that the stack reads."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from local.settings import ROOT, Settings


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the project's Makefile in a folder."""
    return subprocess.run(
        ["make", "-f", str(ROOT / "Makefile"), *words],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=60,
    )


def installed(folder: Path, made_in: Path) -> Path:
    """Make a folder look like a clone whose environment was made in some folder."""
    for name in ("pyproject.toml", "requirements/dev.txt", "requirements/local.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in ("made", "dev.done", "local.done", "bin/orders"):
        (folder / ".venv" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / ".venv" / name).touch()
    command = f"/usr/bin/python3 -m venv {made_in}/.venv"
    (folder / ".venv" / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = 3.11.7\ncommand = {command}\n")
    return folder


@pytest.mark.parametrize("verb", ["run", "demo", "test", "check", "simulate"])
def test_a_clone_that_was_moved_is_told_what_to_do(verb: str, tmp_path: Path) -> None:
    """Fault 30: the programs of .venv name the folder it was made in; "No such file" said nothing of that."""
    ended = make(installed(tmp_path / "here", tmp_path / "there"), verb)
    assert ended.returncode == 2
    assert f"was moved, or is a copy of {tmp_path / 'there'}/.venv" in ended.stdout
    assert "rm -rf .venv" in ended.stdout


def test_a_clone_that_stays_where_it_is_is_not_suspected(tmp_path: Path) -> None:
    """Also when it is entered by a link, has a name that awk would read, or an environment of another tool."""
    folder = installed(tmp_path / "a\\b ü", tmp_path / "a\\b ü")
    (tmp_path / "link").symlink_to(folder)
    assert make(folder, "placed").returncode == 0
    assert make(tmp_path / "link", "placed").returncode == 0
    (folder / ".venv" / "pyvenv.cfg").write_text("home = /usr/bin\nuv = 0.9\n")
    assert make(folder, "placed").returncode == 0
    shutil.rmtree(folder / ".venv")
    assert make(folder, "placed").returncode == 0


def test_a_project_that_cannot_be_written_is_not_told_to_install_venv() -> None:
    """Fault 30: what is missing is a place for the environment. In /sys even root writes nothing."""
    ended = make(Path("/sys"), ".venv/made")
    assert ended.returncode == 2
    assert "This folder cannot be written" in ended.stdout
    assert "python3-venv" not in ended.stdout + ended.stderr


def test_a_python_without_venv_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    """Debian has it in a package of its own."""
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\ncase "$*" in *venv*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    ended = make(tmp_path, ".venv/made", f"PYTHON={python}")
    assert ended.returncode == 2
    assert "apt-get install python3-venv" in ended.stdout
    assert not (tmp_path / ".venv").exists()


def test_a_password_on_the_command_line_is_refused() -> None:
    """Whoever lists processes would read it; in the environment it is fine."""
    refused = make(ROOT, "help", "KAFKA_SASL_PASSWORD=secret")
    assert refused.returncode == 2
    assert "export it instead" in refused.stderr
    assert "secret" not in refused.stdout + refused.stderr


class Read(Mapping[str, str]):
    """An environment without variables that knows which of them were asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    """All settings of the stack, with the defaults of the fixed ports and the folder."""
    read = Read()
    Settings.from_environment(read)
    defaults = {**Settings(traces=True).ports, "LOCAL_DIR": Settings().folder}
    assert read.names > set(defaults)
    return {name: str(defaults.get(name, "")) for name in [*read.names, "KAFKA_JARS"]}


def test_make_help_lists_the_settings_with_their_defaults(settings: dict[str, str]) -> None:
    """Who wants another port need not read the code."""
    listed = make(ROOT, "help").stdout
    for name, default in settings.items():
        if name.startswith("USE_"):
            assert f"if {name}=1 says so" in listed
        else:
            assert re.search(rf"^  {name}={re.escape(default)} ", listed, re.MULTILINE), name


def test_docs_local_lists_the_settings_with_their_defaults(settings: dict[str, str]) -> None:
    """The same, with what they are for."""
    document = (ROOT / "docs" / "local.md").read_text()
    for name, default in settings.items():
        if name.startswith("USE_"):
            assert f"`{name}=1`" in document
        else:
            assert re.search(
                rf"^\| `{name}` \| {re.escape(f'`{default}`' if default else '')} ?\|", document, re.MULTILINE
            ), name

"""Another revision of this project, whole: its own tree, with its own environment from its own lock."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from local.settings import ROOT

FOLDER: Final = ROOT / ".bench"
"""What is kept from one run to the next; it may be removed at any time."""

_INSTALL_S: Final = 900


class NoBaselineError(Exception):
    """There is nothing to compare with; the text says why."""


def tree(revision: str, say: Callable[[str], None]) -> Path:
    """Return the folder of a revision that is ready to run, made once.

    Raises:
        NoBaselineError: there is no such revision here, or it could not be installed.

    """
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    folder = FOLDER / commit[:12]
    ready = folder / ".venv" / "local.done"
    if not ready.exists():
        say(f"Installing {revision} into {folder.relative_to(ROOT)} (about a minute, once)")
        shutil.rmtree(folder, ignore_errors=True)  # one that was interrupted
        folder.mkdir(parents=True)
        archive = folder / "tree.tar"
        _git("archive", "--output", str(archive), commit)
        _run(["tar", "-xf", str(archive), "-C", str(folder)], ROOT)
        archive.unlink()
        _run(["make", "--silent", str(ready.relative_to(folder))], folder)
    return folder


def revision() -> str:
    """Return what is checked out here, and whether it was changed; `unknown` without git."""
    try:
        changed = _git("status", "--porcelain", "--untracked-files=no")
        return _git("rev-parse", "--short=7", "HEAD") + (", changed" if changed else "")
    except NoBaselineError:
        return "unknown"


def _git(*arguments: str) -> str:
    return _run(["git", *arguments], ROOT)


def _run(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=_INSTALL_S)
    except subprocess.CalledProcessError as error:
        raise NoBaselineError(f"{' '.join(command[:2])}: {error.stderr.strip() or 'failed'}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoBaselineError(f"{' '.join(command[:2])}: {error}") from error
    return done.stdout.strip()

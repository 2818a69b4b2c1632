"""Programs on PATH that write down how they are called, and answer as they were told."""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy import overlay, readiness
from deploy.commands import ROOT, Commands
from shop.doctor.reading import Document

BOUND = {"spec": {"template": {"spec": {"containers": [{"env": [{"name": "PORT"}, {"name": "K_SINK"}]}]}}}}
"""What the cluster would make of a Service that has a binding."""

STORAGE = {"items": [{"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}}]}
"""A class of volumes, of those that name none."""

_PROGRAM = """#!/usr/bin/env -S {python} -IS
import json, os, sys
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
if [name, *words[:1]] == ["kubectl", "kustomize"]:
    os.execv({kubectl!r}, ["kubectl", *words])
with open({log!r}, "a+") as log:
    log.seek(0)
    before = [json.loads(line) for line in log]
    log.write(json.dumps([name, *words]) + "\\n")
with open({answers!r}) as file:
    answers = json.load(file)
for start, outputs, error in answers:
    if [name, *words][: len(start)] == start:
        again = sum(call[: len(start)] == start for call in before)
        sys.stdout.write(outputs[min(again, len(outputs) - 1)])
        sys.stderr.write(error)
        sys.exit(1 if error else 0)
"""


class StandIns:
    """A folder of such programs, and what was asked of them."""

    def __init__(self, folder: Path, *names: str) -> None:
        self._folder, self._log, self._told = folder / "bin", folder / "calls", folder / "answers"
        self._folder.mkdir()
        self._answers: list[tuple[Sequence[str], Sequence[str], str]] = []
        self.said: list[str] = []
        """What was shown to whoever ran the verb."""

        kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl") or ""
        python = str(Path(sys.executable).resolve())
        self._places = {"python": python, "log": str(self._log), "answers": str(self._told), "kubectl": kubectl}
        self.add(*names)
        self._write()

    def add(self, *names: str) -> None:
        """Have more programs."""
        for name in names:
            program = self._folder / name
            program.write_text(_PROGRAM.format(**self._places))
            program.chmod(0o755)

    def answer(self, *start: str, outputs: Sequence[str | Mapping[str, Any]] = ("",), error: str = "") -> None:
        """Answer calls that begin so, one output after the other and then the last again; `error` makes them fail."""
        texts = [output if isinstance(output, str) else json.dumps(output) for output in outputs]
        self._answers.insert(0, (start, texts, error))
        self._write()

    def _write(self) -> None:
        self._told.write_text(json.dumps(self._answers))

    @property
    def calls(self) -> list[list[str]]:
        """All calls, in their order."""
        return [json.loads(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []

    def commands(self, folder: Path = ROOT) -> Commands:
        """Commands that find these programs and no others."""
        return Commands(self.said.append, str(self._folder), folder)


def everything_ready(folder: Path, home: Path, name: str) -> StandIns:
    """Stand in for kubectl and kn of a cluster on which all objects of an overlay are ready at once."""
    there = StandIns(folder, "kubectl", "kn")
    there.answer("kubectl", "get", outputs=[_ready(overlay.read(there.commands(home), name, "").documents)])
    there.answer("kubectl", "get", "customresourcedefinitions")
    there.answer("kubectl", "get", "storageclasses", outputs=[STORAGE])
    there.answer("kubectl", "get", "sinkbindings.sources.knative.dev,pingsources.sources.knative.dev")
    there.answer("kubectl", "apply", "--dry-run=server", outputs=[BOUND])
    return there


def _ready(documents: Sequence[Document]) -> dict[str, Any]:
    """What kubectl says of objects that are all ready."""
    conditions = [{"type": each, "status": "True"} for each in ("Ready", "Complete")]
    told = {"observedGeneration": 1, "conditions": conditions, "readyReplicas": 1}
    return {
        "items": [
            {**document.content, "metadata": {**document.metadata, "generation": 1}, "status": told}
            for document in readiness.watched(documents)
        ]
    }

"""The manifests as they stand, for tests."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
BASE = ROOT / "knative" / "base"


@dataclass(frozen=True)
class Document:
    """One document of a manifest file."""

    file: str
    content: dict[str, Any]

    @property
    def kind(self) -> str:
        """Return its kind."""
        return self.content["kind"]

    @property
    def name(self) -> str:
        """Return its name."""
        return self.content["metadata"]["name"]

    @property
    def spec(self) -> dict[str, Any]:
        """Return what it specifies."""
        return self.content["spec"]

    @property
    def container(self) -> dict[str, Any]:
        """Return the only container of a Service."""
        (container,) = self.spec["template"]["spec"]["containers"]
        return container

    def __str__(self) -> str:
        return f"{self.file}:{self.kind}/{self.name}"


def documents(*kinds: str) -> list[Document]:
    """Return the documents of these kinds, of every kind when none is named; kustomization.yaml apart."""
    return [document for document in _all() if not kinds or document.kind in kinds]


def _all() -> Iterator[Document]:
    for file in sorted(BASE.glob("*.yaml")):
        if file.name != "kustomization.yaml":
            for content in yaml.safe_load_all(file.read_text(encoding="utf-8")):
                yield Document(file.name, content)

"""The manifests as they stand, for tests."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from wire.delivery import DeliverySpec, duration_s

ROOT = Path(__file__).parents[2]
KNATIVE = ROOT / "knative"
BASE = KNATIVE / "base"
FOLDERS = (BASE, KNATIVE / "components" / "strimzi", KNATIVE / "components" / "gateway")
"""The shop with its topics and its public paths: what local/ runs."""


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


def resources() -> list[str]:
    """Return the files that the kustomization applies, in its order."""
    return yaml.safe_load((BASE / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]


def delivery(source: str) -> DeliverySpec:
    """Return how a KafkaSource delivers: the stand-in's reading of it, which recordings of the real one hold."""
    (spec,) = (document.spec["delivery"] for document in documents("KafkaSource") if document.name == source)
    return DeliverySpec(
        retry=spec["retry"],
        linear=spec["backoffPolicy"] == "linear",
        backoff_delay_s=duration_s(spec["backoffDelay"]),
        timeout_s=duration_s(spec["timeout"]),
    )


def waits_s(source: str) -> list[float]:
    """Return the seconds that a KafkaSource waits before each retry, in order."""
    how = delivery(source)
    return [how.wait_s(retry) for retry in range(1, how.retry + 1)]


def documents_in(folder: Path) -> list[Document]:
    """Return the documents of a folder's files; kustomization.yaml apart."""
    return [
        Document(file.name, content)
        for file in sorted(folder.glob("*.yaml"))
        if file.name != "kustomization.yaml"
        for content in yaml.load_all(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    ]


@cache
def _all() -> tuple[Document, ...]:
    """Read them once: tests ask for them hundreds of times."""
    return tuple(document for folder in FOLDERS for document in documents_in(folder))

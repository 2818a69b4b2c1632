"""What manifests say, put together: the rules ask one another's documents here."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shop.doctor.reading import Document, listed, mapping
from wire.delivery import duration_s

FUNCTIONS: Final = Path(__file__).parents[2] / "functions"

SERVING: Final = "serving.knative.dev"
VISIBILITY: Final = "networking.knative.dev/visibility"
MIN_SCALE: Final = "autoscaling.knative.dev/min-scale"


@dataclass(frozen=True)
class Topic:
    """A topic that the manifests make, and where they say so."""

    document: Document
    field: str
    name: str
    partitions: int | None
    replicas: int | None
    config: Mapping[str, Any]


class Shop:
    """All documents of one build, by what they are."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = documents
        self.services = self._of("Service", SERVING)
        self.bindings = self._of("SinkBinding", "sources.knative.dev")
        self.sources = self._of("KafkaSource", "sources.knative.dev")
        self.pings = self._of("PingSource", "sources.knative.dev")
        self.sinks = self._of("KafkaSink", "eventing.knative.dev")
        self.routes = self._of("HTTPRoute", "gateway.networking.k8s.io")
        self.topics = [*self._strimzi(), *self._made_by_job()]

    def _of(self, kind: str, group: str) -> list[Document]:
        return [each for each in self.documents if (each.kind, each.group) == (kind, group)]

    def _strimzi(self) -> Iterator[Topic]:
        for each in self._of("KafkaTopic", "kafka.strimzi.io"):
            spec = each.spec
            name = str(spec.get("topicName") or each.name)
            partitions, replicas = whole(spec.get("partitions")), whole(spec.get("replicas"))
            yield Topic(each, "spec", name, partitions, replicas, mapping(spec.get("config")))

    def _made_by_job(self) -> Iterator[Topic]:
        """Read the table of the component `topics-job`: a name, then key=value pairs."""
        for each in self._of("ConfigMap", ""):
            for line in str(mapping(each.content.get("data")).get("topics") or "").splitlines():
                name, *pairs = line.partition("#")[0].split() or [""]
                if name:
                    config: dict[str, Any] = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
                    partitions, replicas = whole(config.pop("partitions", None)), whole(config.pop("replicas", None))
                    yield Topic(each, f"data.topics, {name}", name, partitions, replicas, config)

    def called(self, owner: Document) -> Document | None:
        """Return the Service that a source calls, if it is among the manifests."""
        ref = mapping(mapping(owner.spec.get("sink")).get("ref"))
        if ref.get("kind") != "Service":
            return None
        return self.named(self.services, ref, owner.namespace)

    def named(self, among: Sequence[Document], ref: Mapping[str, Any], namespace: str) -> Document | None:
        """Return what a reference means, by name and namespace."""
        place = (str(ref.get("namespace") or namespace), ref.get("name"))
        return next((each for each in among if (each.namespace, each.name) == place), None)

    def consumers(self) -> Iterator[tuple[Document, Document]]:
        """Yield each Service that a source calls, with that source."""
        for source in (*self.sources, *self.pings):
            if service := self.called(source):
                yield service, source


def revision(service: Document) -> dict[str, Any]:
    """Return the spec of a Service's pods."""
    return mapping(mapping(service.spec.get("template")).get("spec"))


def annotations(service: Document) -> dict[str, Any]:
    """Return the annotations of a Service's revisions, where autoscaling is said."""
    return mapping(mapping(mapping(service.spec.get("template")).get("metadata")).get("annotations"))


def containers(document: Document) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the containers of whatever has pods, with the fields where they stand."""
    field, spec = "spec", document.spec
    if document.kind == "CronJob":
        field, spec = "spec.jobTemplate.spec", mapping(mapping(spec.get("jobTemplate")).get("spec"))
    pod = mapping(mapping(spec.get("template")).get("spec"))
    for name in ("initContainers", "containers"):
        for number, container in enumerate(listed(pod.get(name))):
            yield f"{field}.template.spec.{name}[{number}]", mapping(container)


def environment(container: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain variables of a container."""
    return {str(each.get("name")): each.get("value") for each in map(mapping, listed(container.get("env")))}


def whole(value: object) -> int | None:
    """Return a whole number, however YAML or a text wrote it; nothing for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    text = str(value).strip()
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None


_UNITS: Final = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_UNITS_OF_1024: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def quantity(value: object) -> float | None:
    """Return a quantity of Kubernetes as a number: 50m, 96Mi, 2. Nothing for what is none."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?", str(value))
    return None if found is None else float(found[1]) * (_UNITS | _UNITS_OF_1024)[found[2] or ""]


def seconds(value: object) -> float | None:
    """Return the seconds of an ISO 8601 duration, as the dispatcher reads it; nothing for what it does not read."""
    try:
        return duration_s(str(value))
    except ValueError:
        return None


def names(documents: Iterable[Document]) -> str:
    """Return the names of documents, for a fix to choose from."""
    return ", ".join(sorted(each.name for each in documents)) or "none is there"

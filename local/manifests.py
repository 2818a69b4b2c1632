"""Read manifests into what the one-machine stack starts, and refuse whatever it would not do.

A cluster accepts fields that mean nothing to it; a stand-in that did so would let a manifest promise what only a
cluster keeps, or what nobody keeps. So every field is read, named as meaning something in a cluster only, or an error.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from local.fields import Fields, ManifestError, documents_of
from local.stand_ins.schedule import Schedule

T = TypeVar("T")

VISIBILITY: Final = "networking.knative.dev/visibility"


@dataclass(frozen=True)
class Patch:
    """Another value for one field, as an overlay would set it: `pointer` is a JSON pointer, `/spec/delivery/retry`."""

    kind: str
    name: str
    pointer: str
    value: object


@dataclass(frozen=True)
class SecretKey:
    """Where an environment variable gets its value from: one key of a Secret."""

    secret: str
    key: str


@dataclass(frozen=True)
class Service:
    """A Knative Service: one function."""

    namespace: str
    name: str
    public: bool
    env: Mapping[str, str | SecretKey]
    ready_path: str
    timeout_s: int


@dataclass(frozen=True)
class Ref:
    """An addressable: a Knative `Service` or a `KafkaSink`."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True)
class SinkBinding:
    """Gives the Service `subject` the address of `sink` as K_SINK."""

    name: str
    subject: Ref
    sink: Ref


@dataclass(frozen=True)
class Delivery:
    """How often, for how long, and where to in the end. Durations are as in the manifest, ISO 8601."""

    retry: int
    backoff_policy: str
    backoff_delay: str
    timeout: str
    dead_letter_sink: Ref


@dataclass(frozen=True)
class KafkaSource:
    """A consumer group whose records are POSTed to `sink`."""

    namespace: str
    name: str
    topics: Sequence[str]
    consumer_group: str
    consumers: int
    initial_offset: str
    ordering: str
    delivery: Delivery
    sink: Ref


@dataclass(frozen=True)
class KafkaSink:
    """A topic that takes events over HTTP."""

    namespace: str
    name: str
    topic: str
    content_mode: str


@dataclass(frozen=True)
class PingSource:
    """A timer whose ticks are POSTed to `sink`, as events without data."""

    namespace: str
    name: str
    schedule: Schedule
    sink: Ref


@dataclass(frozen=True)
class Topic:
    """A Kafka topic."""

    name: str
    partitions: int


@dataclass(frozen=True)
class Route:
    """A public path, and the Service that answers it."""

    path: str
    service: Ref


@dataclass(frozen=True)
class Manifests:
    """Everything a folder of manifests says."""

    services: Sequence[Service]
    bindings: Sequence[SinkBinding]
    sources: Sequence[KafkaSource]
    sinks: Sequence[KafkaSink]
    pings: Sequence[PingSource]
    topics: Sequence[Topic]
    routes: Sequence[Route]


def read(folder: Path, patches: Iterable[Patch] = ()) -> Manifests:
    """Read what `folder`/kustomization.yaml lists, folders that it names included, with `patches` applied.

    Raises:
        ManifestError: a field or value that local/ does not implement, a reference to nothing, or a patch of nothing.

    """
    documents = list(_listed(folder))
    for patch in patches:
        _apply(patch, documents)
    found: list[object] = []
    for document in documents:
        api_version, kind = document.take("apiVersion", str), document.take("kind", str)
        if (api_version, kind) not in _READERS:
            raise document.error("kind", f"{kind} of {api_version} is not implemented by local/")
        found.extend(_READERS[api_version, kind](document))
        document.close()
    return _checked(_all(found, Service), found)


def _checked(services: Sequence[Service], found: Sequence[object]) -> Manifests:
    manifests = Manifests(
        services,
        bindings=_all(found, SinkBinding),
        sources=_all(found, KafkaSource),
        sinks=_all(found, KafkaSink),
        pings=_all(found, PingSource),
        topics=_all(found, Topic),
        routes=_all(found, Route),
    )
    addressable = {Ref("Service", service.namespace, service.name) for service in services}
    addressable |= {Ref("KafkaSink", sink.namespace, sink.name) for sink in manifests.sinks}
    for owner, ref in _references(manifests):
        if ref not in addressable:
            raise ManifestError(f"{owner} refers to {ref.kind} {ref.name}, which is nowhere in the manifests")
    topics = {topic.name for topic in manifests.topics}
    for topic in {
        *(sink.topic for sink in manifests.sinks),
        *(t for source in manifests.sources for t in source.topics),
    }:
        if topic not in topics:
            raise ManifestError(f"no KafkaTopic is called {topic}, so local/ would not create it")
    public = {Ref("Service", service.namespace, service.name) for service in services if service.public}
    for route in manifests.routes:
        if route.service not in public:
            raise ManifestError(f"{route.path} leads to {route.service.name}, which is cluster-local")
    return manifests


def _references(manifests: Manifests) -> Iterator[tuple[str, Ref]]:
    for binding in manifests.bindings:
        yield f"SinkBinding {binding.name}", binding.subject
        yield f"SinkBinding {binding.name}", binding.sink
    for source in manifests.sources:
        yield f"KafkaSource {source.name}", source.sink
        yield f"KafkaSource {source.name}", source.delivery.dead_letter_sink
    for ping in manifests.pings:
        yield f"PingSource {ping.name}", ping.sink
    for route in manifests.routes:
        yield f"HTTPRoute path {route.path}", route.service


def _all(found: Iterable[object], kind: type[T]) -> list[T]:
    return [item for item in found if isinstance(item, kind)]


def _service(document: Fields) -> Iterator[Service]:
    metadata = document.within("metadata")
    namespace, name = _named(metadata)
    labels = metadata.within("labels")
    private = VISIBILITY in labels.content and labels.only(VISIBILITY, "cluster-local")
    template = document.within("spec").within("template")
    template.within("metadata").within("annotations").cluster_only(
        "autoscaling.knative.dev/min-scale", why="there is always exactly one process per function"
    )
    pod = template.within("spec")
    pod.only("containerConcurrency", 0)
    container = pod.the_one("containers")
    container.cluster_only("image", why="a function runs from this folder")
    container.cluster_only("resources", why="memory and CPU belong to one user, who can look at them")
    container.cluster_only("securityContext", why="a function runs as whoever started the stack")
    env: dict[str, str | SecretKey] = {}
    for variable in container.each("env"):
        key = variable.take("name", str)
        if key in env:
            raise variable.error("name", f"{key} is there twice")
        env[key] = _value(variable)
    yield Service(
        namespace,
        name,
        public=not private,
        env=env,
        ready_path=container.within("readinessProbe").within("httpGet").take("path", str),
        timeout_s=pod.take("timeoutSeconds", int),
    )


def _value(variable: Fields) -> str | SecretKey:
    if "value" in variable.content:
        return variable.take("value", str)
    secret = variable.within("valueFrom").within("secretKeyRef")
    return SecretKey(secret.take("name", str), secret.only("key", "uri"))


def _sink_binding(document: Fields) -> Iterator[SinkBinding]:
    namespace, name = _named(document.within("metadata"))
    spec = document.within("spec")
    yield SinkBinding(name, subject=_ref(spec.within("subject"), namespace), sink=_sink(spec, namespace))


def _kafka_source(document: Fields) -> Iterator[KafkaSource]:
    namespace, name = _named(document.within("metadata"))
    spec = document.within("spec")
    _bootstrap_servers(spec)
    delivery = spec.within("delivery")
    yield KafkaSource(
        namespace,
        name,
        topics=spec.texts("topics"),
        consumer_group=spec.take("consumerGroup", str),
        consumers=spec.take("consumers", int),
        initial_offset=spec.only("initialOffset", "earliest", "latest"),
        ordering=spec.only("ordering", "ordered", "unordered"),
        delivery=Delivery(
            retry=delivery.take("retry", int),
            backoff_policy=delivery.only("backoffPolicy", "exponential", "linear"),
            backoff_delay=delivery.take("backoffDelay", str),
            timeout=delivery.take("timeout", str),
            dead_letter_sink=_ref(delivery.within("deadLetterSink").within("ref"), namespace),
        ),
        sink=_sink(spec, namespace),
    )


def _kafka_sink(document: Fields) -> Iterator[KafkaSink]:
    namespace, name = _named(document.within("metadata"))
    spec = document.within("spec")
    _bootstrap_servers(spec)
    yield KafkaSink(
        namespace, name, topic=spec.take("topic", str), content_mode=spec.only("contentMode", "binary", "structured")
    )


def _ping_source(document: Fields) -> Iterator[PingSource]:
    namespace, name = _named(document.within("metadata"))
    spec = document.within("spec")
    try:
        schedule = Schedule.parse(spec.take("schedule", str))
    except ValueError as reason:
        raise spec.error("schedule", str(reason)) from None
    yield PingSource(namespace, name, schedule, sink=_sink(spec, namespace))


def _topic(document: Fields) -> Iterator[Topic]:
    metadata = document.within("metadata")
    _, name = _named(metadata)
    metadata.within("labels").cluster_only("strimzi.io/cluster", why="there is one Kafka")
    spec = document.within("spec")
    spec.cluster_only("replicas", why="one broker holds one copy")
    config = spec.within("config")
    config.cluster_only("min.insync.replicas", why="one broker holds one copy")
    config.cluster_only("retention.ms", why="Kafka's default, 7 days, outlives a stack on one machine")
    yield Topic(spec.take("topicName", str, name), partitions=spec.take("partitions", int))


def _http_route(document: Fields) -> Iterator[Route]:
    namespace, _ = _named(document.within("metadata"))
    spec = document.within("spec")
    spec.cluster_only("parentRefs", why="there is one gateway")
    spec.cluster_only("hostnames", why="one machine answers to whatever name it is called by")
    for rule in spec.each("rules"):
        path = rule.the_one("matches").within("path")
        path.only("type", "Exact")
        rewrite = rule.the_one("filters")
        rewrite.only("type", "URLRewrite")
        hostname = rewrite.within("urlRewrite")
        service, _, rest = hostname.take("hostname", str).partition(".")
        if rest != f"{namespace}.svc.cluster.local":
            raise hostname.error("hostname", f"is not that of a Service in {namespace}")
        rule.cluster_only("backendRefs", why="Envoy is the public and the internal gateway at once")
        yield Route(path.take("value", str), Ref("Service", namespace, service))


def _nothing(document: Fields) -> Iterator[object]:
    """Pass over a kind that says only who may do what in a cluster."""
    document.cluster_only("metadata", "spec", why="one machine has no namespaces and no grants")
    return iter(())


_READERS: Final[Mapping[tuple[str, str], Callable[[Fields], Iterator[object]]]] = {
    ("v1", "Namespace"): _nothing,
    ("serving.knative.dev/v1", "Service"): _service,
    ("sources.knative.dev/v1", "SinkBinding"): _sink_binding,
    ("sources.knative.dev/v1", "KafkaSource"): _kafka_source,
    ("sources.knative.dev/v1", "PingSource"): _ping_source,
    ("eventing.knative.dev/v1alpha1", "KafkaSink"): _kafka_sink,
    ("kafka.strimzi.io/v1", "KafkaTopic"): _topic,
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): _http_route,
    ("gateway.networking.k8s.io/v1beta1", "ReferenceGrant"): _nothing,
}


def _named(metadata: Fields) -> tuple[str, str]:
    return metadata.take("namespace", str), metadata.take("name", str)


def _sink(spec: Fields, namespace: str) -> Ref:
    return _ref(spec.within("sink").within("ref"), namespace)


def _ref(ref: Fields, namespace: str) -> Ref:
    """Read a reference; without a namespace it means that of its owner."""
    kind = ref.only("kind", "Service", "KafkaSink")
    ref.only("apiVersion", "serving.knative.dev/v1" if kind == "Service" else "eventing.knative.dev/v1alpha1")
    return Ref(kind, ref.take("namespace", str, namespace), ref.take("name", str))


def _bootstrap_servers(spec: Fields) -> None:
    """Check that it names the one Kafka there is; the stack puts its own address in the place of this name."""
    spec.only("bootstrapServers", ["shop-kafka-bootstrap.kafka.svc:9092"])


def _apply(patch: Patch, documents: Iterable[Fields]) -> None:
    for document in documents:
        target: Any = document.content
        if target.get("kind") == patch.kind and target["metadata"]["name"] == patch.name:
            *parents, last = patch.pointer.removeprefix("/").split("/")
            try:
                for step in parents:
                    target = target[int(step) if isinstance(target, list) else step]
                target[int(last) if isinstance(target, list) else last] = copy.deepcopy(patch.value)
            except (LookupError, TypeError, ValueError):
                raise ManifestError(f"{patch.kind} {patch.name} has no {patch.pointer} that could be patched") from None
            return
    raise ManifestError(f"no {patch.kind} is called {patch.name}, so it cannot be patched")


def _listed(folder: Path) -> Iterator[Fields]:
    """Yield what a kustomization lists. Nothing here renames, so what keeps its references together is passed over."""
    (kustomization,) = documents_of(folder / "kustomization.yaml")
    kustomization.only("apiVersion", "kustomize.config.k8s.io/v1beta1", "kustomize.config.k8s.io/v1alpha1")
    kustomization.only("kind", "Kustomization", "Component")
    kustomization.cluster_only("images", why="a function runs from this folder")
    kustomization.cluster_only("configurations", why="names and namespaces are those of the files")
    for name in (*kustomization.texts("resources"), *kustomization.texts("components", [])):
        place = folder / name
        yield from _listed(place) if place.is_dir() else documents_of(place)
    kustomization.close()

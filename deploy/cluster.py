"""Put an overlay onto a cluster, with kubectl alone or with kn; and take the shop away again, without its data."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from deploy import overlay, readiness
from deploy.commands import WHICH_CLUSTER, Commands, Failed, Missing
from deploy.overlay import BINDING, JOB, PING, SERVICE, SINK, SOURCE, Overlay, kind, resource
from shop.doctor.reading import Document, listed, mapping

_NEEDED: Final = {
    "services.serving.knative.dev": "Knative Serving",
    "sinkbindings.sources.knative.dev": "Knative Eventing",
    "kafkasources.sources.knative.dev": "the KafkaSource of Knative's Kafka broker",
    "kafkasinks.eventing.knative.dev": "the KafkaSink of Knative's Kafka broker",
}
"""What even the base needs, and what brings it."""

_NOT_BOUND: Final = "binding context"
"""What Eventing's webhook says of a Service whose binding it knows, and whose KafkaSink has no address yet."""

_DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"

_POLL_S: Final = 2.0

_REMOVED: Final = (
    ("gateway.networking.k8s.io", "HTTPRoute"),  # first nobody comes in, then nothing is delivered, then nothing runs
    ("gateway.networking.k8s.io", "ReferenceGrant"),
    ("keda.sh", "ScaledObject"),
    PING,
    SOURCE,
    ("batch", "CronJob"),
    JOB,
    SERVICE,
    BINDING,
    ("eventing.knative.dev", "EventPolicy"),
    SINK,
)
"""What undeploy removes, in this order. All else stays: databases, topics, Secrets, and the namespace that has them."""


def check(commands: Commands) -> None:
    """See that a cluster answers, and that it has Knative. Raises Failed, saying what to do, when not."""
    try:
        commands.read("kubectl", "get", "customresourcedefinitions", *_NEEDED, "-o", "name")
    except Missing:
        raise
    except Failed as failure:
        if "Forbidden" in str(failure):
            commands.say("You may not look at what is installed there; if something is missing, apply says so")
            return
        if "NotFound" not in str(failure):
            raise Failed(f"{failure}\nNo cluster answers. {WHICH_CLUSTER}") from failure
        absent = [what for name, what in _NEEDED.items() if name in str(failure)]
        raise Failed(
            f"the cluster lacks {', '.join(absent)}. Install Serving, Eventing, and the Kafka broker with KafkaSource "
            "and KafkaSink: docs/deploy.md has the commands"
        ) from failure


def deploy(commands: Commands, name: str, image: str, timeout_s: float) -> None:
    """Apply an overlay, and wait. Raises Failed, saying what to do, when that fails or it is not ready in time."""
    give_up_at = time.monotonic() + timeout_s
    wanted = _looked_at(commands, name, image)
    left = _begin(commands, wanted, timeout_s)
    commands.run("kubectl", "apply", "-k", f"{wanted.folder}")
    readiness.wait(commands, left, max(give_up_at - time.monotonic(), 0))
    _show_urls(commands, wanted)


def _begin(commands: Commands, wanted: Overlay, timeout_s: float) -> list[Document]:
    """Apply what is not Knative's, wait for it, and return the rest. Raises Failed when it is not ready in time.

    A KafkaSink that finds no topic looks again after twice as long, each time; Serving gives up a function that is not
    ready after ten minutes. So both come when the servers are there, and what the Jobs make.
    """
    first = [document for document in wanted.documents if not document.group.endswith("knative.dev")]
    commands.run("kubectl", "apply", "-f", f"{wanted.write('first.yaml', first)}")
    if readiness.watched(first):
        readiness.wait(commands, first, timeout_s)
    return [document for document in wanted.documents if document not in first]


def deploy_with_kn(
    commands: Commands,
    name: str,
    image: str,
    timeout_s: float,
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Do the same with kn for what it can make: bindings first, so that each Service gets one revision and not two.

    A Service that is there before its binding starts without K_SINK, and a second time with it.
    """
    commands.need("kn")
    give_up_at = now() + timeout_s
    wanted = _looked_at(commands, name, image)
    left = _begin(commands, wanted, timeout_s)
    bindings, pings = wanted.of(BINDING), wanted.of(PING)
    by_kn = [document for document in (*bindings, *pings) if _flags(document)]
    by_kubectl = [document for document in left if document not in by_kn]

    sinks = [document for document in by_kubectl if kind(document) not in (SERVICE, SOURCE, PING)]
    if sinks:
        commands.run("kubectl", "apply", "-f", f"{wanted.write('sinks.yaml', sinks)}")
    there = _there(commands, by_kn)
    for document in bindings:
        _make(commands, document, there)
    bound = {(binding.namespace, mapping(binding.spec.get("subject")).get("name")) for binding in bindings}
    # Those without a binding first: they start while the KafkaSinks look for their topics.
    for document in sorted(wanted.of(SERVICE), key=lambda each: (each.namespace, each.name) in bound):
        # From a file, for kn has no flag for some of what it says: a root file system that cannot be written.
        file = wanted.write(f"services/{document.name}.yaml", [document])
        if (document.namespace, document.name) in bound:
            while not (is_bound := _is_bound(commands, file)) and now() < give_up_at:
                sleep(_POLL_S)
            if not is_bound:
                raise Failed(
                    f"{document} would get no K_SINK after {timeout_s:.0f} s: its KafkaSink is not ready, and `kubectl "
                    f"get kafkasinks -n {document.namespace}` says why"
                )
        commands.run("kn", "service", "apply", document.name, "-n", document.namespace, "-f", f"{file}", "--no-wait")
    last = [document for document in by_kubectl if kind(document) in (SOURCE, PING)]
    if last:
        commands.run("kubectl", "apply", "-f", f"{wanted.write('sources.yaml', last)}")
    for document in pings:
        _make(commands, document, there)
    readiness.wait(commands, left, max(give_up_at - now(), 0))
    _show_urls(commands, wanted)


def _is_bound(commands: Commands, service: Path) -> bool:
    """Ask whether a Service would get K_SINK if it was applied now.

    No condition says so: a SinkBinding is not ready before its Service is there, nor does it show whether Eventing's
    webhook, which puts K_SINK in, knows of it already.
    """
    try:
        told = commands.read("kubectl", "apply", "--dry-run=server", "-f", f"{service}", "-o", "json")
    except Failed as failure:
        if _NOT_BOUND not in str(failure):
            raise
        return False
    template = mapping(mapping(mapping(json.loads(told).get("spec")).get("template")).get("spec"))
    containers = [mapping(container) for container in listed(template.get("containers"))]
    return all(any(mapping(each).get("name") == "K_SINK" for each in listed(one.get("env"))) for one in containers)


def undeploy(commands: Commands, name: str) -> None:
    """Remove the functions, and what calls them. Data stays, and so does what it takes to read it."""
    wanted = overlay.read(commands, name, "")
    removed = sorted(
        (each for each in wanted.of(*_REMOVED) if not _owns_a_topic(each)), key=lambda each: _REMOVED.index(kind(each))
    )
    file = wanted.write("undeploy.yaml", removed)
    commands.run("kubectl", "delete", "-f", f"{file}", "--ignore-not-found")
    kept = [str(document) for document in wanted.documents if document not in removed]
    commands.say(f"Kept: {', '.join(kept)}")
    commands.say("What was ordered is in MongoDB, and events wait in the topics: make deploy goes on from there")


def _owns_a_topic(document: Document) -> bool:
    """Whether an object takes a topic along when it goes: a KafkaSink that says its size has made it."""
    return kind(document) == SINK and "numPartitions" in document.spec


def _looked_at(commands: Commands, name: str, image: str) -> Overlay:
    """Return an overlay that may be applied, to a cluster that can take it."""
    wanted = overlay.read(commands, name, image)
    overlay.refuse_traps(wanted, commands.say)
    check(commands)
    if (lost := overlay.volatile(wanted.documents)) and not _has_storage(commands):
        names = ", ".join(map(str, lost))
        commands.say(
            f"No StorageClass is the default of this cluster, so it makes no volumes: data of {names} goes with its pod"
        )
        wanted = overlay.read(commands, name, image, has_storage=False)
    for job in wanted.of(JOB):
        # A Job cannot be changed, and another image is a change. Each of ours may run again.
        words = ("kubectl", "delete", "jobs.batch", job.name, "-n", job.namespace, "--ignore-not-found")
        commands.run(*words)
    return wanted


def _has_storage(commands: Commands) -> bool:
    """Ask whether the cluster makes a volume for a claim that names no class."""
    try:
        told = json.loads(commands.read("kubectl", "get", "storageclasses", "-o", "json"))
    except Failed:  # whoever may not look finds out by a pod that no node takes
        return True
    classes = [mapping(mapping(each).get("metadata")) for each in listed(told.get("items"))]
    return any(mapping(each.get("annotations")).get(_DEFAULT_CLASS) == "true" for each in classes)


def _there(commands: Commands, documents: Sequence[Document]) -> set[tuple[str, str]]:
    """Return which of some objects there are already, by namespace and as kubectl names them."""
    found: set[tuple[str, str]] = set()
    for namespace in sorted({document.namespace for document in documents}):
        kinds = dict.fromkeys(resource(document) for document in documents if document.namespace == namespace)
        told = commands.read("kubectl", "get", ",".join(kinds), "-n", namespace, "-o", "name", "--ignore-not-found")
        found |= {(namespace, line) for line in told.split()}
    return found


def _make(commands: Commands, document: Document, there: set[tuple[str, str]]) -> None:
    """Make a binding or a timer with kn, or change the one that is there; nothing, if kubectl has made it."""
    if flags := _flags(document):
        is_there = (document.namespace, f"{document.kind.lower()}.{document.group}/{document.name}") in there
        verb = "update" if is_there else "create"
        what = "binding" if kind(document) == BINDING else "ping"
        commands.run("kn", "source", what, verb, document.name, "-n", document.namespace, *flags)


def _flags(document: Document) -> list[str]:
    """Return what kn is to be told of a binding or a timer; nothing, when it has no flag for some of it."""
    if document.metadata.keys() - {"name", "namespace"}:
        return []
    spec, ref = document.spec, mapping(mapping(document.spec.get("sink")).get("ref"))
    if mapping(spec.get("sink")).keys() != {"ref"} or ref.get("namespace", document.namespace) != document.namespace:
        return []
    group = str(ref.get("apiVersion"))
    is_service = group.startswith("serving.knative.dev/")
    sink = f"ksvc:{ref.get('name')}" if is_service else f"{group}/{str(ref.get('kind')).lower()}s:{ref.get('name')}"
    if kind(document) == PING:
        told = {name: str(spec[name]) for name in ("schedule", "data") if name in spec}
        if spec.keys() - {"sink", "schedule", "data"}:
            return []
        return [word for name, value in told.items() for word in (f"--{name}", value)] + ["--sink", sink]
    subject = mapping(spec.get("subject"))
    if spec.keys() != {"sink", "subject"} or subject.keys() - {"apiVersion", "kind", "name", "namespace"}:
        return []
    return ["--subject", f"{subject.get('kind')}:{subject.get('apiVersion')}:{subject.get('name')}", "--sink", sink]


def _show_urls(commands: Commands, wanted: Overlay) -> None:
    namespaces = sorted({service.namespace for service in wanted.of(SERVICE)})
    more = "" if namespaces == ["shop"] else f" NAMESPACE={namespaces[0]}"
    commands.say(f"Ready. `make status{more}` shows where, and `make smoke{more}` orders something")

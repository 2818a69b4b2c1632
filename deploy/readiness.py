"""Wait until everything that was applied is ready, and say in words what is not, why, and what to do."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from deploy.commands import Commands, Failed
from deploy.image import LOADED
from deploy.overlay import BINDING, JOB, PING, SERVICE, SINK, SOURCE, STATEFUL, kind, resource
from shop.doctor.reading import Document, listed, mapping

_POLL_S: Final = 2.0

_READY: Final = {SERVICE: "Ready", BINDING: "Ready", SOURCE: "Ready", PING: "Ready", SINK: "Ready", JOB: "Complete"}
"""The condition by which a kind says that it does its work."""

_REPLICATED: Final = (("apps", "Deployment"), STATEFUL)
"""What is ready when as many pods are as were asked for."""

Key = tuple[str, str, str]
"""Kind, namespace and name."""


@dataclass(frozen=True)
class Unready:
    """One object that is not ready: why, and what to do."""

    key: Key
    why: str
    do: str = ""

    def __str__(self) -> str:
        kind, _, name = self.key
        return f"{kind} {name}: {self.why}" + (f"\n  {self.do}" if self.do else "")


def watched(documents: Iterable[Document]) -> list[Document]:
    """Return the objects that say whether they are ready."""
    return [document for document in documents if kind(document) in _READY or kind(document) in _REPLICATED]


def wait(
    commands: Commands,
    documents: Iterable[Document],
    timeout_s: float,
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until all that can be ready is. Raises Failed, with words for each that is not, when the time is up."""
    wanted = watched(documents)
    began, said = now(), -1
    done: set[Key] = set()
    """Jobs that are complete: they go some time later, and stay done."""

    while True:
        objects = _objects(commands, wanted, quiet=said >= 0)
        left = [document for document in wanted if _key(document) not in done]
        unready = [found for document in left if (found := _look(document, objects.get(_key(document))))]
        done |= {_key(document) for document in left if kind(document) == JOB} - {each.key for each in unready}
        ready = len(wanted) - len(unready)
        if ready != said:
            commands.say(f"{ready} of {len(wanted)} ready after {now() - began:.0f} s")
            said = ready
        if not unready:
            return
        if now() - began >= timeout_s:
            break
        sleep(_POLL_S)
    for each in explained(unready, _pods(commands, wanted)):
        commands.say(str(each))
    raise Failed(
        f"{len(unready)} of {len(wanted)} are not ready after {timeout_s:.0f} s, named above. Whatever was mended "
        "starts by itself; then the same command goes on from there"
    )


def _key(document: Document) -> Key:
    return document.kind, document.namespace, document.name


def _objects(commands: Commands, documents: Sequence[Document], *, quiet: bool) -> dict[Key, dict[str, Any]]:
    """Ask for what is there of the kinds and namespaces of some objects."""
    found: dict[Key, dict[str, Any]] = {}
    for namespace in sorted({document.namespace for document in documents}):
        kinds = dict.fromkeys(resource(document) for document in documents if document.namespace == namespace)
        told = commands.read("kubectl", "get", ",".join(kinds), "-n", namespace, "-o", "json", quiet=quiet)
        for each in json.loads(told)["items"]:
            found[each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]] = each
    return found


def _look(document: Document, found: Mapping[str, Any] | None) -> Unready | None:
    """Say what an object lacks to be ready; nothing, when it is."""
    key = _key(document)
    if found is None:
        return Unready(key, "it is not there", "apply it again: make deploy")
    status = mapping(found.get("status"))
    if kind(document) in _REPLICATED:
        wanted = mapping(found.get("spec")).get("replicas", 1)
        ready = status.get("readyReplicas", 0)
        return None if ready >= wanted else Unready(key, f"{ready} of its {wanted} pods are ready")
    conditions = {condition.get("type"): condition for condition in listed(status.get("conditions"))}
    condition = conditions.get(_READY[kind(document)], {})
    is_seen = status.get("observedGeneration", 0) >= mapping(found.get("metadata")).get("generation", 0)
    if condition.get("status") == "True" and (is_seen or kind(document) == JOB):  # a Job does not say what it has seen
        return None
    failed = conditions.get("Failed", {})
    told = failed if failed.get("status") == "True" else condition
    reason, message = told.get("reason", ""), told.get("message", "")
    do = ""
    if "resolve image to digest" in message:
        do = f"push it to a registry that the cluster reaches; or call it {LOADED[0]}..., and load it into the nodes"
    return Unready(key, ": ".join(filter(None, (reason, message))) or "it has said nothing yet", do)


def _pods(commands: Commands, documents: Sequence[Document]) -> list[dict[str, Any]]:
    """Ask for the pods, which know best why they do not run."""
    found: list[dict[str, Any]] = []
    for namespace in sorted({document.namespace for document in documents}):
        found += json.loads(commands.read("kubectl", "get", "pods", "-n", namespace, "-o", "json"))["items"]
    return found


def explained(unready: Iterable[Unready], pods: Sequence[Mapping[str, Any]]) -> Iterator[Unready]:
    """Say what the pods of an object say, where they say more than the object; what waits for another comes last."""
    found = []
    for each in unready:
        told = next((words for pod in pods if _is_of(pod, each.key) and (words := _words(pod))), None)
        found.append(Unready(each.key, *told) if told else each)
    yield from sorted(found, key=lambda each: not each.do)


def _is_of(pod: Mapping[str, Any], key: Key) -> bool:
    kind, namespace, name = key
    metadata = mapping(pod.get("metadata"))
    if metadata.get("namespace", "") != namespace:
        return False
    if kind == "Service":
        return bool(mapping(metadata.get("labels")).get("serving.knative.dev/service") == name)
    owners = [mapping(owner) for owner in listed(metadata.get("ownerReferences"))]
    if kind == "Deployment":  # its pods belong to a ReplicaSet, whose name begins with its own
        return any(owner.get("kind") == "ReplicaSet" and str(owner["name"]).startswith(f"{name}-") for owner in owners)
    return any((owner.get("kind"), owner.get("name")) == (kind, name) for owner in owners)


def _words(pod: Mapping[str, Any]) -> tuple[str, str] | None:
    """Say why a pod does not do its work, and what to do; nothing, when it does."""
    name, namespace = pod["metadata"]["name"], pod["metadata"].get("namespace", "")
    logs = f"kubectl logs -n {namespace} {name}"
    status = mapping(pod.get("status"))
    for condition in map(mapping, listed(status.get("conditions"))):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            message = condition.get("message", "")
            if "unbound" in message:
                do = "give the cluster a default StorageClass, which makes volumes: `kubectl get storageclasses`"
            else:
                do = "make room, or ask for less in its resources"
            return f"no node takes its pod: {message}", do
    for container in map(
        mapping, listed(status.get("initContainerStatuses")) + listed(status.get("containerStatuses"))
    ):
        waiting = mapping(mapping(container.get("state")).get("waiting"))
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        image = container.get("image", "")
        if reason in ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"):
            return (
                f"its image {image} cannot be pulled ({reason})",
                f"push it; or load it into the nodes: kind load docker-image {image}, minikube image load {image}",
            )
        if reason in ("CreateContainerConfigError", "CreateContainerError"):
            return f"it cannot be started: {message}", "make what is named there; the pod then starts by itself"
        if reason == "CrashLoopBackOff":
            return "it ends as soon as it was started", f"its log says why: {logs} -c {container['name']} --previous"
    for container in map(mapping, listed(status.get("containerStatuses"))):
        if container.get("name") == "user-container" and not container.get("ready"):
            return (
                "it runs, and does not answer /healthz with 200 yet: setup has not run, or has ended before its end",
                f"its log says what is missing: {logs} -c user-container",
            )
    return None

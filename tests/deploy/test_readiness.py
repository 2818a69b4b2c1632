"""What is not ready is said in words: why, and what to do about it."""

from pathlib import Path
from typing import Any

import pytest

from deploy import readiness
from deploy.commands import Failed
from deploy.readiness import Unready
from shop.doctor.reading import Document
from tests.deploy.standing_in import StandIns


def document(kind: str, name: str, group: str = "serving.knative.dev/v1", **spec: Any) -> Document:
    """An object as it was applied."""
    metadata = {"name": name, "namespace": "shop"}
    return Document("", {"apiVersion": group, "kind": kind, "metadata": metadata, "spec": spec})


BASKET = document("Service", "get-basket")
BINDING = document("SinkBinding", "create-order", "sources.knative.dev/v1")


def stored(of: Document, status: str, reason: str = "", message: str = "", *, seen: int = 1) -> dict[str, Any]:
    """The same as the cluster has it."""
    type_ = "Complete" if of.kind == "Job" else "Ready"
    condition = {"type": type_, "status": status, "reason": reason, "message": message}
    told = {"observedGeneration": seen, "conditions": [condition]}
    return {**of.content, "metadata": {**of.metadata, "generation": 1}, "status": told}


def pod(**status: Any) -> dict[str, Any]:
    """A pod of get-basket."""
    labels = {"serving.knative.dev/service": "get-basket"}
    return {"metadata": {"name": "get-basket-1-a", "namespace": "shop", "labels": labels}, "status": status}


def waiting(reason: str, message: str = "", name: str = "user-container") -> dict[str, Any]:
    """A container of a pod that does not start."""
    return {"name": name, "image": "a/b:1", "state": {"waiting": {"reason": reason, "message": message}}}


def waited(programs: StandIns, *documents: Document) -> None:
    """Wait on a clock of our own, for ten seconds of it."""
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    readiness.wait(programs.commands(), documents, 10, now=lambda: clock[0], sleep=sleep)


def test_it_waits_until_everything_is_ready(tmp_path: Path) -> None:
    """One object after the other, and a line for each step; the question is shown once."""
    programs = StandIns(tmp_path, "kubectl")
    states = [("Unknown", "Unknown"), ("True", "Unknown"), ("True", "Unknown"), ("True", "True")]
    outputs = [{"items": [stored(BASKET, one), stored(BINDING, other)]} for one, other in states]
    programs.answer("kubectl", "get", outputs=outputs)
    waited(programs, BASKET, BINDING, document("Namespace", "shop", "v1"))
    assert [line for line in programs.said if "ready after" in line] == [
        "0 of 2 ready after 0 s",
        "1 of 2 ready after 2 s",
        "2 of 2 ready after 6 s",
    ]
    kinds = "services.serving.knative.dev,sinkbindings.sources.knative.dev"
    assert programs.calls == [["kubectl", "get", kinds, "-n", "shop", "-o", "json"]] * 4
    assert len([line for line in programs.said if line.startswith("$ ")]) == 1


def test_what_is_not_ready_in_time_is_said_with_its_reason(tmp_path: Path) -> None:
    """What its pod says goes before what Serving makes of that."""
    programs = StandIns(tmp_path, "kubectl")
    basket = stored(BASKET, "False", "RevisionMissing", "no ready Revision")
    binding = stored(BINDING, "False", "SinkMissing", "payments not found")
    programs.answer("kubectl", "get", outputs=[{"items": [basket, binding]}])
    programs.answer(
        "kubectl", "get", "pods", outputs=[{"items": [pod(containerStatuses=[waiting("ImagePullBackOff")])]}]
    )
    with pytest.raises(Failed, match="2 of 2 are not ready after 10 s"):
        waited(programs, BASKET, BINDING)
    said = "\n".join(programs.said)
    assert "Service get-basket: its image a/b:1 cannot be pulled (ImagePullBackOff)" in said
    assert "kind load docker-image a/b:1" in said
    assert "SinkBinding create-order: SinkMissing: payments not found" in said


UNREADY = Unready(("Service", "shop", "get-basket"), "RevisionMissing")
SAID = {
    "no Secret": (
        {"containerStatuses": [waiting("CreateContainerConfigError", 'secret "orders-mongodb" not found')]},
        'it cannot be started: secret "orders-mongodb" not found',
        "make what is named there",
    ),
    "ends at once": (
        {"containerStatuses": [waiting("CrashLoopBackOff")]},
        "it ends as soon as it was started",
        "kubectl logs -n shop get-basket-1-a -c user-container --previous",
    ),
    "no room": (
        {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient cpu"}]},
        "no node takes its pod: 0/1 nodes: Insufficient cpu",
        "make room",
    ),
    "no volume": (
        {"conditions": [{"type": "PodScheduled", "status": "False", "message": "pod has unbound immediate claims"}]},
        "no node takes its pod: pod has unbound immediate claims",
        "a default StorageClass",
    ),
    "no setup": (
        {"containerStatuses": [{"name": "user-container", "ready": False, "state": {"running": {}}}]},
        "it runs, and does not answer /healthz with 200",
        "kubectl logs -n shop get-basket-1-a -c user-container",
    ),
}


@pytest.mark.parametrize(("status", "why", "do"), SAID.values(), ids=SAID)
def test_a_pod_says_why(status: dict[str, Any], why: str, do: str) -> None:
    """In words that say what to do, for whoever never read of pods."""
    (found,) = readiness.explained([UNREADY], [pod(**status)])
    assert why in found.why
    assert do in found.do


def test_a_pod_of_another_says_nothing() -> None:
    """Neither of another function, nor of one of that name elsewhere, nor one that does its work."""
    well = pod(containerStatuses=[{"name": "user-container", "ready": True, "state": {"running": {}}}])
    elsewhere = pod(containerStatuses=[waiting("CrashLoopBackOff")])
    elsewhere["metadata"]["namespace"] = "other"
    other = pod(containerStatuses=[waiting("CrashLoopBackOff")])
    other["metadata"]["labels"] = {"serving.knative.dev/service": "get-order"}
    assert list(readiness.explained([UNREADY], [well, elsewhere, other])) == [UNREADY]


@pytest.mark.parametrize(
    ("kind", "owner"),
    [("Job", ("Job", "setup")), ("StatefulSet", ("StatefulSet", "setup")), ("Deployment", ("ReplicaSet", "setup-7f"))],
)
def test_other_kinds_have_pods_too(kind: str, owner: tuple[str, str]) -> None:
    """Found by who owns them."""
    found = pod(containerStatuses=[waiting("CrashLoopBackOff", name="main")])
    found["metadata"]["labels"] = {}
    found["metadata"]["ownerReferences"] = [{"kind": owner[0], "name": owner[1]}]
    (explained,) = readiness.explained([Unready((kind, "shop", "setup"), "0 of 1")], [found])
    assert explained.why == "it ends as soon as it was started"


def test_a_job_and_a_stateful_set_are_ready_in_their_own_way(tmp_path: Path) -> None:
    """A Job when it is complete, and it says so when it failed; a StatefulSet when its pods are."""
    programs = StandIns(tmp_path, "kubectl")
    job, kafka = document("Job", "setup", "batch/v1"), document("StatefulSet", "kafka", "apps/v1", replicas=2)
    done = {**stored(job, "True"), "status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "has failed"}
    programs.answer("kubectl", "get", "pods", outputs=[{"items": []}])
    programs.answer("kubectl", "get", "jobs.batch,statefulsets.apps", outputs=[
        {"items": [{**done, "status": {"conditions": [failed]}}, {**kafka.content, "status": {"readyReplicas": 1}}]},
    ])  # fmt: skip
    with pytest.raises(Failed):
        waited(programs, job, kafka)
    assert "Job setup: BackoffLimitExceeded: has failed" in programs.said
    assert "StatefulSet kafka: 1 of its 2 pods are ready" in programs.said
    programs.answer("kubectl", "get", "jobs.batch,statefulsets.apps", outputs=[
        {"items": [done, {**kafka.content, "status": {"readyReplicas": 2}}]},
    ])  # fmt: skip
    waited(programs, job, kafka)


def test_what_the_cluster_has_not_seen_yet_is_not_ready(tmp_path: Path) -> None:
    """Its condition is of what was there before; and what is not there at all is not ready either."""
    programs = StandIns(tmp_path, "kubectl")
    programs.answer("kubectl", "get", "pods", outputs=[{"items": []}])
    programs.answer(
        "kubectl", "get", "services.serving.knative.dev", outputs=[{"items": [stored(BASKET, "True", seen=0)]}]
    )
    with pytest.raises(Failed):
        waited(programs, BASKET)
    programs.answer("kubectl", "get", "services.serving.knative.dev", outputs=[{"items": []}])
    with pytest.raises(Failed):
        waited(programs, BASKET)
    assert any("it is not there" in line for line in programs.said)

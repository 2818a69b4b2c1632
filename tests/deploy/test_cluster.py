"""The verbs for a cluster, against programs that stand in for kubectl and kn: which commands run, in which order."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import cluster, overlay
from deploy.commands import Failed
from shop.doctor.reading import Document
from tests.deploy.standing_in import BOUND, StandIns, everything_ready
from tests.support.manifests import KNATIVE

IMAGE = "registry.internal/shop:7"

JOB = """\
apiVersion: batch/v1
kind: Job
metadata: {name: setup, namespace: shop}
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: setup
          image: dev.local/shop:0.1.0
          command: [python3, -m, shop.setup]
          resources: {requests: {cpu: 50m, memory: 96Mi}, limits: {memory: 256Mi}}
          securityContext:
            allowPrivilegeEscalation: false
            capabilities: {drop: [ALL]}
            readOnlyRootFilesystem: true
            runAsNonRoot: true
            seccompProfile: {type: RuntimeDefault}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: mongodb, namespace: shop}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
"""


NOT_BOUND = {"spec": {"template": {"spec": {"containers": [{"env": [{"name": "PORT"}]}]}}}}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with one overlay: the base, its topics, a Job of the same image, and data."""
    folder = tmp_path / "home" / "knative" / "overlays" / "small"
    folder.mkdir(parents=True)
    base, topics = (os.path.relpath(KNATIVE / each, folder) for each in ("base", "components/strimzi"))
    (folder / "job.yaml").write_text(JOB)
    content = {"resources": [base, "job.yaml"], "components": [topics]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "home"


@pytest.fixture
def programs(tmp_path: Path, home: Path) -> StandIns:
    """The cluster's kubectl and kn."""
    return everything_ready(tmp_path, home, "small")


def of(calls: Sequence[Sequence[str]], *start: str) -> list[int]:
    """Where the calls are that begin so."""
    return [place for place, call in enumerate(calls) if tuple(call[: len(start)]) == start]


def test_deploy_applies_the_overlay_with_the_image_and_waits(programs: StandIns, home: Path) -> None:
    """The Job goes first, for it cannot be changed; each command is shown, and can be repeated by hand."""
    cluster.deploy(programs.commands(home), "small", IMAGE, 600)
    calls = programs.calls
    assert [call[:3] for call in calls] == [
        ["kubectl", "get", "customresourcedefinitions"],
        ["kubectl", "delete", "jobs.batch"],
        ["kubectl", "apply", "-f"],
        ["kubectl", "get", "jobs.batch"],
        ["kubectl", "apply", "-k"],
        ["kubectl", "get", calls[5][2]],
    ]
    assert calls[1][3:] == ["setup", "-n", "shop", "--ignore-not-found"]
    # Functions and KafkaSinks come when setup has run and the topics are there.
    assert calls[2][3] == ".deploy/small/first.yaml"
    assert kinds_of(home / calls[2][3]) == {"Namespace", "KafkaTopic", "Job", "PersistentVolumeClaim"}
    assert calls[4][3] == ".deploy/small"
    assert "services.serving.knative.dev" in calls[5][2]
    shown = [line for line in programs.said if line.startswith("$ ") and not line.startswith("$ kubectl kustomize ")]
    assert [re.sub(r"^\$ ", "", line).split()[:3] for line in shown] == [call[:3] for call in calls]
    applied = overlay.read(programs.commands(home), ".deploy/small", "").documents
    containers = [
        container
        for document in applied
        if document.kind in ("Service", "Job")
        for container in document.spec["template"]["spec"]["containers"]
    ]
    assert len(containers) == 12
    assert {container["image"] for container in containers} == {IMAGE}


def test_deploy_by_kn_makes_bindings_before_services(programs: StandIns, home: Path) -> None:
    """So that each Service has K_SINK from its first revision; what kn cannot make, kubectl applies."""
    cluster.deploy_with_kn(programs.commands(home), "small", IMAGE, 600)
    calls = programs.calls
    bindings, pings = of(calls, "kn", "source", "binding", "create"), of(calls, "kn", "source", "ping", "create")
    looks, services = of(calls, "kubectl", "apply", "--dry-run=server"), of(calls, "kn", "service", "apply")
    first, sinks, last = of(calls, "kubectl", "apply", "-f")
    (setup,) = of(calls, "kubectl", "get", "jobs.batch")
    assert len(services) == 11
    assert first < setup < sinks < min(bindings)
    assert max(bindings) < min(services)
    assert max(services) < last < min(pings)
    # Each that is bound is looked at before it is applied, and those without a binding do not wait for them.
    assert [calls[look + 1][3] for look in looks] == ["billing-handler", "create-order", "resend-orders"]
    assert all(calls[look][4] == calls[look + 1][7] for look in looks)
    assert set(services[:8]).isdisjoint(look + 1 for look in looks)
    assert calls[bindings[1]][4:] == [
        *("create-order", "-n", "shop", "--subject", "Service:serving.knative.dev/v1:create-order"),
        *("--sink", "eventing.knative.dev/v1alpha1/kafkasinks:payments"),
    ]
    assert calls[pings[0]][4:] == [
        *("resend-orders", "-n", "shop", "--schedule", "* * * * *", "--sink", "ksvc:resend-orders"),
    ]
    assert len(bindings) == 3
    apply = calls[next(place for place in services if calls[place][3] == "get-basket")]
    assert apply[3:] == ["get-basket", "-n", "shop", "-f", ".deploy/small/services/get-basket.yaml", "--no-wait"]
    (service,) = yaml.safe_load_all((home / ".deploy/small/services/get-basket.yaml").read_text())
    (container,) = service["spec"]["template"]["spec"]["containers"]
    assert container["image"] == IMAGE
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert [kinds_of(home / ".deploy" / "small" / f"{name}.yaml") for name in ("first", "sinks", "sources")] == [
        {"Namespace", "KafkaTopic", "Job", "PersistentVolumeClaim"},
        {"KafkaSink"},
        {"KafkaSource"},
    ]


@pytest.mark.parametrize("name", ["quickstart", "production"])
@pytest.mark.parametrize("deploy", [cluster.deploy, cluster.deploy_with_kn])
def test_the_overlays_of_the_project_deploy(name: str, deploy: Any, tmp_path: Path) -> None:
    """All of their objects are applied, each once, and those that say so are ready."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "knative").symlink_to(KNATIVE)
    there = everything_ready(tmp_path, home, name)
    deploy(there.commands(home), name, IMAGE, 600)
    assert there.said[-1].startswith("Ready. ")
    wanted = overlay.read(there.commands(home), name, IMAGE).documents
    by_kn = sum(call[0] == "kn" for call in there.calls)
    files = [call[3] for call in there.calls if call[:3] == ["kubectl", "apply", "-f"]]
    applied = sum(len(list(yaml.safe_load_all((home / file).read_text()))) for file in files)
    assert (by_kn + applied if by_kn else len(wanted)) == len(wanted)
    jobs = {call[3] for call in there.calls if call[:3] == ["kubectl", "delete", "jobs.batch"]}
    assert jobs == {document.name for document in wanted if document.kind == "Job"}


@pytest.mark.parametrize("image", ["", IMAGE])
def test_quickstart_asks_for_no_volume_where_nobody_makes_one(image: str, tmp_path: Path) -> None:
    """Its pods would wait for ever. It says what that means, and nothing but quickstart loses data so."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "knative").symlink_to(KNATIVE)
    there = everything_ready(tmp_path, home, "quickstart")
    there.answer("kubectl", "get", "storageclasses", outputs=[{"items": [{"metadata": {"name": "slow"}}]}])
    cluster.deploy(there.commands(home), "quickstart", image, 600)
    assert any("StatefulSet/kafka, StatefulSet/mongodb goes with its pod" in line for line in there.said)
    assert of(there.calls, "kubectl", "apply", "-k", ".deploy/quickstart")
    applied = overlay.read(there.commands(home), ".deploy/quickstart", "").documents
    stateful = [document.spec for document in applied if document.kind == "StatefulSet"]
    assert len(stateful) == 2
    for spec in stateful:
        assert "volumeClaimTemplates" not in spec
        pod = spec["template"]["spec"]
        mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        assert {"name": "data", "emptyDir": {}} in pod["volumes"]

    there.answer("kubectl", "get", "storageclasses", error="Error from server (Forbidden): no")
    cluster.deploy(there.commands(home), "quickstart", "", 600)
    assert there.calls[-2] == ["kubectl", "apply", "-k", "knative/overlays/quickstart"]
    content = {"kind": "StatefulSet", "apiVersion": "apps/v1", "spec": {"volumeClaimTemplates": [{}]}}
    assert overlay.volatile([Document("", content)]) == []


def kinds_of(file: Path) -> set[str]:
    """The kinds of the objects in a file."""
    return {content["kind"] for content in yaml.safe_load_all(file.read_text())}


def test_a_service_waits_until_its_binding_reaches_it(programs: StandIns, home: Path) -> None:
    """The webhook does not know the binding yet, or its KafkaSink has no address; a wait has its end."""
    programs.answer("kubectl", "apply", "--dry-run=server", outputs=[NOT_BOUND, NOT_BOUND, BOUND])
    slept: list[float] = []
    cluster.deploy_with_kn(programs.commands(home), "small", IMAGE, 600, sleep=slept.append)
    assert len(of(programs.calls, "kubectl", "apply", "--dry-run=server")) == 3 + 2
    assert len(slept) == 2

    error = 'admission webhook "sinkbindings" denied the request: unable to setup binding context'
    programs.answer("kubectl", "apply", "--dry-run=server", error=error)
    with pytest.raises(Failed, match=r"Service/billing-handler would get no K_SINK.*kubectl get kafkasinks -n shop"):
        cluster.deploy_with_kn(
            programs.commands(home), "small", IMAGE, 10, now=iter(range(0, 100, 4)).__next__, sleep=slept.append
        )
    assert programs.calls[-1][:3] == ["kubectl", "apply", "--dry-run=server"]

    programs.answer("kubectl", "apply", "--dry-run=server", error="Error from server (Forbidden): no")
    with pytest.raises(Failed, match="Forbidden"):
        cluster.deploy_with_kn(programs.commands(home), "small", IMAGE, 600)


def test_what_is_there_already_is_updated_by_kn(programs: StandIns, home: Path) -> None:
    """`kn source binding create` refuses a second one."""
    asked = "sinkbindings.sources.knative.dev,pingsources.sources.knative.dev"
    names = "sinkbinding.sources.knative.dev/create-order\npingsource.sources.knative.dev/resend-orders\n"
    programs.answer("kubectl", "get", asked, outputs=[names])
    cluster.deploy_with_kn(programs.commands(home), "small", IMAGE, 600)
    made = {(call[2], call[4]): call[3] for call in programs.calls if call[:2] == ["kn", "source"]}
    assert made == {
        ("binding", "billing-handler"): "create",
        ("binding", "create-order"): "update",
        ("binding", "resend-orders"): "create",
        ("ping", "resend-orders"): "update",
    }


def test_kn_is_told_nothing_that_it_would_lose(programs: StandIns, home: Path) -> None:
    """A binding with a label, or with what kn has no flag for, is applied by kubectl."""
    folder = home / "knative" / "overlays" / "small"
    content = yaml.safe_load((folder / "kustomization.yaml").read_text())
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({**content, "labels": [{"pairs": {"team": "checkout"}}]}))
    cluster.deploy_with_kn(programs.commands(home), "small", IMAGE, 600)
    assert of(programs.calls, "kn", "source") == []
    assert "SinkBinding" in kinds_of(home / ".deploy" / "small" / "sinks.yaml")
    assert "PingSource" in kinds_of(home / ".deploy" / "small" / "sources.yaml")


def test_undeploy_never_removes_data(programs: StandIns, home: Path) -> None:
    """Nobody calls any more before anything stops; the namespace, topics, claims and Secrets stay."""
    cluster.undeploy(programs.commands(home), "small")
    assert programs.calls == [["kubectl", "delete", "-f", ".deploy/small/undeploy.yaml", "--ignore-not-found"]]
    removed = [each["kind"] for each in yaml.safe_load_all((home / ".deploy/small/undeploy.yaml").read_text())]
    assert list(dict.fromkeys(removed)) == ["PingSource", "KafkaSource", "Job", "Service", "SinkBinding", "KafkaSink"]
    (kept,) = (line for line in programs.said if line.startswith("Kept: "))
    for each in ("Namespace/shop", "KafkaTopic/payments", "PersistentVolumeClaim/mongodb"):
        assert each in kept


def test_a_sink_that_owns_its_topic_is_data(home: Path) -> None:
    """A KafkaSink that says a size deletes its topic when it goes."""
    spec = {"topic": "payments", "numPartitions": 10}
    assert cluster._owns_a_topic(
        Document("", {"kind": "KafkaSink", "apiVersion": "eventing.knative.dev/v1", "spec": spec})
    )
    assert not cluster._owns_a_topic(
        Document("", {"kind": "KafkaSink", "apiVersion": "eventing.knative.dev/v1", "spec": {"topic": "payments"}})
    )


def test_what_the_doctor_finds_is_not_applied(programs: StandIns, home: Path) -> None:
    """The cluster would take it without a word."""
    remove = "- op: remove\n  path: /spec/delivery/deadLetterSink\n"
    patch = {"target": {"kind": "KafkaSource", "name": "order-handler"}, "patch": remove}
    folder = home / "knative" / "overlays" / "small"
    content = yaml.safe_load((folder / "kustomization.yaml").read_text())
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({**content, "patches": [patch]}))
    with pytest.raises(Failed, match=r"\.deploy/small was not applied: 1 to mend"):
        cluster.deploy(programs.commands(home), "small", IMAGE, 600)
    assert programs.calls == []
    assert any("KafkaSource/order-handler" in line for line in programs.said)


def test_a_cluster_without_knative_is_told_what_it_lacks(programs: StandIns, home: Path) -> None:
    """By the name of what brings it, not of a CRD."""
    error = 'Error from server (NotFound): customresourcedefinitions "kafkasinks.eventing.knative.dev" not found'
    programs.answer("kubectl", "get", "customresourcedefinitions", error=error)
    with pytest.raises(Failed, match="the cluster lacks the KafkaSink of Knative's Kafka broker"):
        cluster.deploy(programs.commands(home), "small", IMAGE, 600)
    programs.answer("kubectl", "get", "customresourcedefinitions", error="The connection to the server was refused")
    with pytest.raises(Failed, match=r"(?s)refused.*No cluster answers.*kn quickstart"):
        cluster.deploy(programs.commands(home), "small", IMAGE, 600)
    assert of(programs.calls, "kubectl", "apply") == []
    programs.answer("kubectl", "get", "customresourcedefinitions", error="Error from server (Forbidden): no")
    cluster.deploy(programs.commands(home), "small", IMAGE, 600)
    assert of(programs.calls, "kubectl", "apply") != []


def test_a_missing_program_is_named_with_what_to_do(tmp_path: Path, home: Path) -> None:
    """Not as "No such file"."""
    (tmp_path / "none").mkdir()
    none = StandIns(tmp_path / "none").commands(home)
    with pytest.raises(Failed, match=r"kubectl is missing.*install it"):
        cluster.deploy(none, "small", IMAGE, 600)
    with pytest.raises(Failed, match=r"kn is missing.*make deploy"):
        cluster.deploy_with_kn(none, "small", IMAGE, 600)


def test_an_overlay_that_is_not_there_is_told_which_are(programs: StandIns, home: Path) -> None:
    """A misspelt name applies nothing."""
    with pytest.raises(Failed, match="'quick' is no overlay: use OVERLAY=small"):
        cluster.deploy(programs.commands(home), "quick", IMAGE, 600)


def test_a_command_that_fails_ends_the_verb(programs: StandIns, home: Path) -> None:
    """What comes after it would stand on nothing."""
    programs.answer("kubectl", "apply", error="Error from server")
    with pytest.raises(Failed, match=r"kubectl apply -f \.\.\. failed"):
        cluster.deploy(programs.commands(home), "small", IMAGE, 600)
    assert programs.calls[-1][:2] == ["kubectl", "apply"]

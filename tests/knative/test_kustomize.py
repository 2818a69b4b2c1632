"""What kustomize makes of the manifests: whatever an overlay renames or moves, each still finds what it names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from shop.doctor.reading import Document, Unreadable
from shop.doctor.shop import Shop
from tests.support.functions import TOOLS
from tests.support.kustomize import COMPONENTS, alone, built, named, one
from tests.support.manifests import KNATIVE

MENDED = [component / "references" for component in COMPONENTS if (component / "references").is_dir()]
"""Of the components whose objects name others by text, or live in another namespace."""


_WHOLE: dict[str, list[Document]] = {}


def whole(tmp_path: Path, **fields: Any) -> list[Document]:
    """Build the base with all components; once for all tests with the same fields, which only read."""
    if repr(fields) not in _WHOLE:
        _WHOLE[repr(fields)] = built(tmp_path, [KNATIVE / "base"], components=COMPONENTS, transformers=MENDED, **fields)
    return _WHOLE[repr(fields)]


def references(documents: list[Document]) -> Iterator[tuple[str, str, str]]:
    """Yield what the documents refer to."""
    for document in documents:
        refs = [document.spec.get("subject"), document.spec.get("sink", {}).get("ref")]
        refs.append(document.spec.get("delivery", {}).get("deadLetterSink", {}).get("ref"))
        refs += [each["ref"] for side in ("to", "from") for each in document.spec.get(side, []) if "ref" in each]
        for ref in filter(None, refs):
            yield ref["kind"], ref.get("namespace", document.namespace), ref["name"]
        for volume in document.spec.get("template", {}).get("spec", {}).get("volumes", []):
            if "configMap" in volume:
                yield "ConfigMap", document.namespace, volume["configMap"]["name"]
        for rule in document.spec["rules"] if document.kind == "HTTPRoute" else []:
            (rewrite,) = rule["filters"]
            service, namespace, rest = rewrite["urlRewrite"]["hostname"].split(".", 2)
            assert rest == "svc.cluster.local"
            yield "Service", namespace, service


DIGEST = "sha256:" + "0" * 64
FIELDS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "namespace": {"namespace": "other"},
    "namePrefix": {"namePrefix": "blue-"},
    "both": {"namespace": "other", "namePrefix": "blue-"},
    "images": {"images": [{"name": "dev.local/shop", "newName": "registry.internal/shop", "digest": DIGEST}]},
    "labels": {"labels": [{"pairs": {"team": "checkout"}, "includeTemplates": True}]},
    "annotations": {"commonAnnotations": {"team": "checkout"}},
}  # fmt: skip


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_every_reference_leads_to_something(tmp_path: Path, fields: dict[str, Any]) -> None:
    """Services, sinks and host names are named as they are called now, in the namespace where they are now."""
    documents = whole(tmp_path, **fields)
    found = list(references(documents))
    assert set(found) <= named(documents)
    kinds = [document.kind for document in documents]
    routes = sum(len(document.spec["rules"]) for document in documents if document.kind == "HTTPRoute")
    policies = [document.spec for document in documents if document.kind == "EventPolicy"]
    granted = sum(len(policy["to"]) + len(policy["from"]) for policy in policies)
    each = {"SinkBinding": 2, "KafkaSource": 2, "PingSource": 1}
    tables = 1  # of topics, for their Job
    assert len(found) == sum(kinds.count(kind) * count for kind, count in each.items()) + routes + granted + tables
    assert routes > 0
    assert granted > 0


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_what_lives_elsewhere_stays_there(tmp_path: Path, fields: dict[str, Any]) -> None:
    """Topics belong to Kafka's namespace and the grant to the gateway's; the grant lets the shop's own namespace in."""
    documents = whole(tmp_path, **fields)
    namespace = fields.get("namespace", "shop")
    elsewhere = {"KafkaTopic": "kafka", "ReferenceGrant": "kourier-system", "Namespace": ""}
    for document in documents:
        assert document.namespace == elsewhere.get(document.kind, namespace), document
        if document.kind == "ReferenceGrant":
            assert [source["namespace"] for source in document.spec["from"]] == [namespace]
        if document.kind == "HTTPRoute":
            backends = {backend["namespace"] for rule in document.spec["rules"] for backend in rule["backendRefs"]}
            assert backends == {"kourier-system"}
    assert [document.name for document in documents if document.kind == "Namespace"] == [namespace]


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_topics_and_groups_keep_their_names(tmp_path: Path, fields: dict[str, Any]) -> None:
    """A topic or a group of another name is empty: what is under way would be left behind."""
    documents = whole(tmp_path, **fields)
    topics = {topic.name for topic in Shop(documents).topics}
    assert topics == {document.spec["topic"] for document in documents if document.kind == "KafkaSink"}
    sources = {document.spec["consumerGroup"]: document for document in documents if document.kind == "KafkaSource"}
    assert {topic for source in sources.values() for topic in source.spec["topics"]} <= topics
    for group, source in sources.items():
        assert source.name == fields.get("namePrefix", "") + group


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_all_functions_have_one_image(tmp_path: Path, fields: dict[str, Any]) -> None:
    """The one that the base or an overlay says, once, for the Job that sets up too; an operator's tool has another."""
    documents = whole(tmp_path, **fields)
    tools = {str(fields.get("namePrefix", "")) + tool for tool in TOOLS}
    services = [each for each in documents if each.group == "serving.knative.dev" and each.name not in tools]
    images = {pod(each)["containers"][0]["image"] for each in [*services, one(documents, "Job", job("setup", fields))]}
    assert images == {f"registry.internal/shop@{DIGEST}" if "images" in fields else "dev.local/shop:0.1.0"}


def job(name: str, fields: dict[str, Any]) -> str:
    """Return what a Job is called now."""
    return str(fields.get("namePrefix", "")) + name


def pod(document: Document) -> dict[str, Any]:
    """Return what the pods of a document are."""
    spec = document.spec["jobTemplate"]["spec"] if document.kind == "CronJob" else document.spec
    pods: dict[str, Any] = spec["template"]["spec"]
    return pods


def test_a_layer_below_a_layer_is_followed_too(tmp_path: Path) -> None:
    """Whoever takes an overlay as a base says `transformers` again."""
    (tmp_path / "below").mkdir()
    whole(tmp_path / "below", namePrefix="a-")
    documents = built(tmp_path, [tmp_path / "below"], namespace="other", namePrefix="b-", transformers=MENDED)
    assert set(references(documents)) <= named(documents)
    assert ("Service", "other", "b-a-create-user") in set(references(documents))


def secrets_asked_for(value: object) -> Iterator[str]:
    """Yield the names of the Secrets that a document names, wherever its kind has them."""
    if isinstance(value, list):
        for each in value:
            yield from secrets_asked_for(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key in {"secretKeyRef", "secretRef"}:
                yield each["name"]
            elif key == "secretName":
                yield each
            elif key == "secret" and "ref" in each:
                yield each["ref"]["name"]
            else:
                yield from secrets_asked_for(each)


SECRETS = (
    "orders-mongodb",
    "billing-mongodb",
    "notify-mongodb",
    "setup-mongodb",
    "verify-mongodb",
    "kafka",
    "kafka-admin",
    "webhooks",
    "traces",
)


def test_a_generated_secret_is_found_under_its_hash(tmp_path: Path) -> None:
    """The generator puts a hash behind the name of what it generates; whoever needs it asks for that name."""
    secrets = [{"name": name, "namespace": "shop", "literals": ["uri=mongodb://x/?replicaSet=r"]} for name in SECRETS]
    documents = whole(tmp_path, secretGenerator=secrets, namePrefix="blue-")
    generated = {document.name for document in documents if document.kind == "Secret"}
    assert {name.rpartition("-")[0] for name in generated} == {f"blue-{name}" for name in SECRETS}
    assert {name for document in documents for name in secrets_asked_for(document.content)} == generated


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_topics_are_made_and_looked_at_in_the_kafka_of_the_sinks(tmp_path: Path, fields: dict[str, Any]) -> None:
    """Whichever an overlay says."""
    other = {"op": "replace", "path": "/spec/bootstrapServers", "value": ["kafka.elsewhere.svc:9093"]}
    patches = [{"patch": yaml.safe_dump([other]), "target": {"kind": "KafkaSink|KafkaSource"}}]
    documents = whole(tmp_path, patches=patches, **fields)
    (container,) = pod(one(documents, "Job", job("topics", fields)))["containers"]
    assert container["env"][0] == {"name": "KAFKA_BOOTSTRAP_SERVERS", "value": "kafka.elsewhere.svc:9093"}
    console = one(documents, "Service", f"{fields.get('namePrefix', '')}console")
    assert variables(console)["KAFKA_BOOTSTRAP_SERVERS"] == "kafka.elsewhere.svc:9093"


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_the_servers_of_quickstart_are_found_where_they_are(tmp_path: Path, fields: dict[str, Any]) -> None:
    """By the names of their Services: Kafka from every namespace, MongoDB from its own."""
    quickstart = KNATIVE / "overlays" / "quickstart"
    documents = built(tmp_path, [quickstart], transformers=[quickstart / "references"], **fields)
    prefix, namespace = fields.get("namePrefix", ""), fields.get("namespace", "shop")
    assert {("Service", namespace, f"{prefix}{name}") for name in ("kafka", "mongodb")} <= named(documents)
    address = f"{prefix}kafka.{namespace}.svc:9092"
    kafka = [document for document in documents if document.kind in {"KafkaSink", "KafkaSource"}]
    assert {tuple(document.spec["bootstrapServers"]) for document in kafka} == {(address,)}
    assert variables(one(documents, "StatefulSet", prefix + "kafka"))["ADDRESS"] == address
    assert variables(one(documents, "Job", job("topics", fields)))["KAFKA_BOOTSTRAP_SERVERS"] == address
    secrets = [document.content["stringData"] for document in documents if document.kind == "Secret"]
    assert {uri for data in secrets for uri in data.values()} == {f"mongodb://{prefix}mongodb/?replicaSet=shop"}
    for document in documents:
        if document.kind == "StatefulSet":
            assert document.spec["serviceName"] == document.name
        assert document.namespace == ("" if document.kind == "Namespace" else namespace)
    assert {name for document in documents for name in secrets_asked_for(document.content)} - {"kafka-admin"} == {
        document.name for document in documents if document.kind == "Secret"
    }


def variables(document: Document) -> dict[str, str]:
    """Return the variables of the only container of a document's pods."""
    (container,) = pod(document)["containers"]
    return {variable["name"]: variable.get("value") for variable in container["env"]}


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_a_component_builds_on_the_base_alone(tmp_path: Path, component: Path) -> None:
    """None needs another one, but those that change one: kustomize says so when it is missing."""
    assert len(built(tmp_path, [KNATIVE / "base"], components=alone(component))) > 0
    if len(alone(component)) > 1:
        with pytest.raises(Unreadable, match="no resource matches"):
            built(tmp_path, [KNATIVE / "base"], components=[component])


def test_the_base_needs_knative_alone(tmp_path: Path) -> None:
    """Neither Strimzi's nor the Gateway API's kinds: an apply would end with errors where they are not installed."""
    kinds = {(document.group, document.kind) for document in built(tmp_path, [KNATIVE / "base"])}
    assert kinds == {
        ("", "Namespace"),
        ("serving.knative.dev", "Service"),
        ("sources.knative.dev", "SinkBinding"),
        ("sources.knative.dev", "KafkaSource"),
        ("sources.knative.dev", "PingSource"),
        ("eventing.knative.dev", "KafkaSink"),
    }

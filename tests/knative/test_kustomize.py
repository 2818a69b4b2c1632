"""What kustomize makes of the manifests: whatever an overlay renames or moves, each still finds what it names."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from shop.doctor.reading import Document, Unreadable, build
from tests.support.manifests import KNATIVE

COMPONENTS = sorted(file.parent for file in KNATIVE.glob("components/*/kustomization.yaml"))
SHOP = [KNATIVE / "components" / name for name in ("gateway", "strimzi")]
"""The components whose objects name others by text, or live in another namespace."""


def built(tmp_path: Path, resources: list[Path], **fields: Any) -> list[Document]:
    """Build an overlay of these folders with these fields, paths in them made relative to it."""

    def relative(value: Any) -> Any:
        if isinstance(value, Path):
            return os.path.relpath(value, tmp_path)
        return [relative(item) for item in value] if isinstance(value, list) else value

    overlay = {"resources": relative(resources)} | {name: relative(value) for name, value in fields.items()}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    try:
        return build(tmp_path)
    except Unreadable as error:
        if "kubectl is missing" in str(error):
            pytest.skip(str(error))
        raise


def whole(tmp_path: Path, **fields: Any) -> list[Document]:
    """Build the base with its topics and its public paths."""
    references = [component / "references" for component in SHOP]
    return built(tmp_path, [KNATIVE / "base"], components=SHOP, transformers=references, **fields)


def named(documents: list[Document]) -> set[tuple[str, str, str]]:
    """Return what can be referred to: kind, namespace and name."""
    return {(document.kind, document.namespace, document.name) for document in documents}


def references(documents: list[Document]) -> Iterator[tuple[str, str, str]]:
    """Yield what the documents refer to."""
    for document in documents:
        refs = [document.spec.get("subject"), document.spec.get("sink", {}).get("ref")]
        refs.append(document.spec.get("delivery", {}).get("deadLetterSink", {}).get("ref"))
        for ref in filter(None, refs):
            yield ref["kind"], ref.get("namespace", document.namespace), ref["name"]
        for rule in document.spec.get("rules", []):
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
    each = {"SinkBinding": 2, "KafkaSource": 2, "PingSource": 1}
    assert len(found) == sum(kinds.count(kind) * count for kind, count in each.items()) + routes
    assert routes > 0


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
    topics = {document.spec["topicName"] for document in documents if document.kind == "KafkaTopic"}
    assert topics == {document.spec["topic"] for document in documents if document.kind == "KafkaSink"}
    sources = {document.spec["consumerGroup"]: document for document in documents if document.kind == "KafkaSource"}
    assert {topic for source in sources.values() for topic in source.spec["topics"]} <= topics
    for group, source in sources.items():
        assert source.name == fields.get("namePrefix", "") + group


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_all_functions_have_one_image(tmp_path: Path, fields: dict[str, Any]) -> None:
    """The one that the base or an overlay says, once."""
    services = [document for document in whole(tmp_path, **fields) if document.group == "serving.knative.dev"]
    images = {container["image"] for service in services for container in revision(service)["containers"]}
    assert images == {f"registry.internal/shop@{DIGEST}" if "images" in fields else "dev.local/shop:0.1.0"}


def revision(service: Document) -> dict[str, Any]:
    """Return what a Service's pods are."""
    spec: dict[str, Any] = service.spec["template"]["spec"]
    return spec


def test_a_layer_below_a_layer_is_followed_too(tmp_path: Path) -> None:
    """Whoever takes an overlay as a base says `transformers` again."""
    (tmp_path / "below").mkdir()
    whole(tmp_path / "below", namePrefix="a-")
    again = [component / "references" for component in SHOP]
    documents = built(tmp_path, [tmp_path / "below"], namespace="other", namePrefix="b-", transformers=again)
    assert set(references(documents)) <= named(documents)
    assert ("Service", "other", "b-a-create-user") in set(references(documents))


def test_a_generated_secret_is_found_under_its_hash(tmp_path: Path) -> None:
    """The generator puts a hash behind the name of what it generates; each function asks for that name."""
    secrets = [{"name": name, "namespace": "shop", "literals": ["uri=mongodb://x/?replicaSet=r"]} for name in SECRETS]
    documents = built(tmp_path, [KNATIVE / "base"], secretGenerator=secrets, namePrefix="blue-")
    generated = {document.name for document in documents if document.kind == "Secret"}
    assert all(re.fullmatch(r"blue-\w+-mongodb-\w{10}", name) for name in generated)
    services = [document for document in documents if document.group == "serving.knative.dev"]
    variables = [env for service in services for env in revision(service)["containers"][0]["env"]]
    asked = {env["valueFrom"]["secretKeyRef"]["name"] for env in variables if "valueFrom" in env}
    assert asked == generated


SECRETS = ("orders-mongodb", "billing-mongodb", "notify-mongodb")


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_a_component_builds_on_the_base_alone(tmp_path: Path, component: Path) -> None:
    """None needs another one."""
    assert len(built(tmp_path, [KNATIVE / "base"], components=[component])) > 0


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

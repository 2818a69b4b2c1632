"""The manifests against the CRDs of Knative and the Gateway API: a cluster drops in silence what these do not know."""

import copy
from functools import cache
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.knative.documents import ROOT, Document, documents

CRDS = ROOT.parent / "shared" / "knative-crds"
FILES = {
    "Service": "serving-service.yaml",
    "SinkBinding": "eventing-sinkbindings.yaml",
    "KafkaSource": "kafka-source.yaml",
    "KafkaSink": "kafka-sink.yaml",
    "PingSource": "eventing-pingsource.yaml",
    "HTTPRoute": "gateway-httproute.yaml",
}
NOT_CHECKED = {  # kinds without a CRD beside the others
    "Namespace": "is Kubernetes' own",
    "KafkaTopic": "is Strimzi's; its few fields are read strictly by local/manifests.py",
    "ReferenceGrant": "is checked field by field in test_admission.py",
}

pytestmark = pytest.mark.skipif(not CRDS.is_dir(), reason="the CRDs are not in ../shared/knative-crds")


def closed(schema: Any) -> Any:
    """Return the schema with unknown fields forbidden wherever an API server would prune them."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result["additionalProperties"] = False
    return result


@cache
def validator(kind: str, api_version: str) -> Draft202012Validator:
    """Return the checker of one kind in one version."""
    crd = yaml.safe_load((CRDS / FILES[kind]).read_text(encoding="utf-8"))["spec"]
    (version,) = (v for v in crd["versions"] if f"{crd['group']}/{v['name']}" == api_version)
    schema = closed(version["schema"]["openAPIV3Schema"])
    schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}  # some CRDs leave them out
    names = {name: {"type": "string"} for name in ("name", "namespace")}
    texts = {name: {"additionalProperties": {"type": "string"}} for name in ("labels", "annotations")}
    schema["properties"]["metadata"] = {
        "properties": names | texts,
        "required": ["name"],
        "additionalProperties": False,
    }
    return Draft202012Validator(schema)


def errors(content: dict[str, Any]) -> list[str]:
    """Return what is wrong with a document."""
    found = validator(content["kind"], content["apiVersion"]).iter_errors(content)
    return [f"{error.json_path}: {error.message}" for error in found]


@pytest.mark.parametrize("document", documents(*FILES), ids=str)
def test_every_document_fits_its_schema(document: Document) -> None:
    """Every field is known to the CRD of its kind and version, and has its type."""
    assert errors(document.content) == []


def test_no_kind_is_left_out() -> None:
    """A kind is either checked against its CRD or named with the reason why not."""
    assert {document.kind for document in documents()} <= FILES.keys() | NOT_CHECKED.keys()


@pytest.mark.parametrize("document", documents(*FILES), ids=str)
def test_a_misspelt_field_does_not_fit(document: Document) -> None:
    """The check notices an unknown field, so passing it means something."""
    content = copy.deepcopy(document.content)
    content["spec"]["ordring"] = "unordered"
    content["metadata"]["anotations"] = {}
    assert len(errors(content)) == 2


def test_an_unknown_field_deep_inside_does_not_fit() -> None:
    """Lists and nested mappings are closed too."""
    content = copy.deepcopy(documents("Service")[0].content)
    content["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["httpGet"]["pth"] = "/healthz"
    assert errors(content)

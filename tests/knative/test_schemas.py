"""The manifests against the CRDs of Knative and the Gateway API: a cluster drops in silence what these do not know."""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.knative.structure import SCHEMAS, errors, stored, structure, write
from tests.support.manifests import Document, documents

KINDS = sorted(file.stem for file in SCHEMAS.glob("*.yaml"))


@pytest.mark.parametrize("document", documents(*KINDS), ids=str)
def test_every_document_fits_its_schema(document: Document) -> None:
    """Every field is known to the CRD of its kind and version, and has its type."""
    assert errors(document.content) == []


@pytest.mark.parametrize("document", documents(*KINDS), ids=str)
def test_a_misspelt_field_does_not_fit(document: Document) -> None:
    """The check notices an unknown field, so passing it means something."""
    content = copy.deepcopy(document.content)
    content["spec"]["ordring"] = "unordered"
    content["metadata"]["anotations"] = {}
    assert len(errors(content)) == 2


Fields = dict[str, Any]


def _revision(service: Fields) -> Fields:
    spec: Fields = service["spec"]["template"]["spec"]
    return spec


def _limits(service: Fields) -> Fields:
    limits: Fields = _revision(service)["containers"][0]["resources"]["limits"]
    return limits


def _probe(service: Fields) -> Fields:
    probe: Fields = _revision(service)["containers"][0]["readinessProbe"]["httpGet"]
    return probe


def _rule(route: Fields) -> Fields:
    rule: Fields = route["spec"]["rules"][0]
    return rule


DAMAGED: dict[str, tuple[str, Callable[[Fields], object]]] = {
    "deep inside": ("Service", lambda service: _probe(service).update(pth="/healthz")),
    "of the wrong type": ("Service", lambda service: _revision(service).update(timeoutSeconds="30")),
    "a quantity that is none": ("Service", lambda service: _limits(service).update(memory="256 MB")),
    "a list that is none": ("KafkaSource", lambda source: source["spec"].update(topics="payments")),
    "a required one is missing": ("KafkaSource", lambda source: source["spec"].pop("topics")),
    "deep in the delivery": ("KafkaSource", lambda source: source["spec"]["delivery"].update(retires=5)),
    "not a port": ("HTTPRoute", lambda route: _rule(route)["backendRefs"][0].update(port=0)),
    "not a value that is known": ("HTTPRoute", lambda route: _rule(route)["filters"][0].update(type="Rewrite")),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_field_does_not_fit(damage: str) -> None:
    """Lists and nested mappings are closed too; types, patterns and required fields came along."""
    kind, do = DAMAGED[damage]
    content = copy.deepcopy(documents(kind)[0].content)
    do(content)
    assert errors(content)


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_structure_only_and_its_origin_is_named(kind: str) -> None:
    """No prose came along, and the README has a line for each file: repository, path and commit."""
    assert structure(stored(kind)["schema"]) == stored(kind)["schema"]
    origin = re.search(
        rf"^\| {kind}\.yaml \| [\w-]+/[\w-]+ \| \S+ \| \S+ \|$", (SCHEMAS / "README.md").read_text(), re.MULTILINE
    )
    assert origin is not None


def test_what_is_written_anew_keeps_what_validates(tmp_path: Any) -> None:
    """From a whole CRD: the version in use, closed as upstream has it, without its words and its status."""
    schema = {
        "description": "words",
        "properties": {
            "spec": {
                "description": "words",
                "type": "object",
                "required": ["topic"],
                "properties": {"topic": {"type": "string", "default": "words"}, "description": {"type": "string"}},
            },
            "status": {"type": "object"},
        },
    }
    versions = [{"name": name, "schema": {"openAPIV3Schema": schema}} for name in ("v1beta1", "v1alpha1")]
    spec = {"group": "eventing.knative.dev", "names": {"kind": "KafkaSink"}, "versions": versions}
    write({"spec": spec}, documents("KafkaSink"), tmp_path)
    assert yaml.safe_load((tmp_path / "KafkaSink.yaml").read_text()) == {
        "apiVersion": "eventing.knative.dev/v1alpha1",
        "schema": {
            "properties": {
                "spec": {
                    "type": "object",
                    "required": ["topic"],
                    "properties": {"topic": {"type": "string"}, "description": {"type": "string"}},
                }
            }
        },
    }

"""What a cluster gets from the base, each component and each overlay, against the schemas of every kind in it."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import pytest

from shop.doctor.reading import Document
from tests.knative.structure import SCHEMAS, errors
from tests.support.kustomize import COMPONENTS, OVERLAYS, alone, built, overlay
from tests.support.manifests import KNATIVE

KEPT = {file.stem for file in SCHEMAS.glob("*.yaml")}
OWN = {"", "apps", "batch", "networking.k8s.io"}
"""Kubernetes' own groups, as far as something is in them."""

KUBERNETES = "1.35"
NOT_CHECKED = {  # kinds without a schema here
    "KafkaTopic": "is Strimzi's; its few fields are read strictly by local/manifests.py",
    "PrometheusRule": "is parsed and run by promtool in test_observability.py",
    "PodMonitor": "has few fields, held to what they read in test_observability.py",
    "ReferenceGrant": "is checked field by field in test_admission.py",
}


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    """Everything, each document once."""
    found = [
        *(document for component in COMPONENTS for document in whole(tmp_path_factory.mktemp("built"), component)),
        *(document for folder in OVERLAYS for document in overlay(folder)),
    ]
    return list({json.dumps(document.content, sort_keys=True): document for document in found}.values())


def whole(tmp_path: Path, component: Path) -> list[Document]:
    """Build the base with one component."""
    return built(tmp_path, [KNATIVE / "base"], components=alone(component))


def misfits(document: Document) -> Iterator[str]:
    """Yield what is wrong with a document."""
    if document.group in OWN:
        try:
            kubernetes_validate.validate(document.content, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{document}: {error.message}"
    elif document.kind not in NOT_CHECKED:
        yield from (f"{document}: {error}" for error in errors(document.content))


def test_everything_fits_its_schema(documents: list[Document]) -> None:
    """Every field is known, and has its type: a cluster drops in silence, or refuses, what it does not know."""
    assert [misfit for document in documents for misfit in misfits(document)] == []


def test_no_kind_is_left_out(documents: list[Document]) -> None:
    """A kind is checked, or named with the reason why not; no schema is kept for nothing."""
    theirs = {document.kind for document in documents if document.group not in OWN}
    assert theirs == {*KEPT, *NOT_CHECKED}


def test_a_misspelt_field_of_kubernetes_own_does_not_fit(documents: list[Document]) -> None:
    """Passing means something: the schemas are closed, deep inside too."""
    own = [document for document in documents if document.group in OWN and document.spec]
    assert {document.kind for document in own} >= {"Job", "CronJob", "NetworkPolicy", "StatefulSet", "Service"}
    for document in own:
        content = copy.deepcopy(document.content)
        content["spec"]["slector"] = {}
        assert list(misfits(Document(document.file, content))), document
    job = copy.deepcopy(next(document.content for document in own if document.kind == "Job"))
    job["spec"]["template"]["spec"]["containers"][0]["enviroment"] = []
    assert list(misfits(Document("", job)))

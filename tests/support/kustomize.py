"""What kustomize makes of folders of manifests, for tests: skipped where kubectl is missing."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from shop.doctor.reading import Document, Unreadable, build
from tests.support.manifests import KNATIVE

COMPONENTS = sorted(file.parent for file in KNATIVE.glob("components/*/kustomization.yaml"))
OVERLAYS = sorted(file.parent for file in KNATIVE.glob("overlays/*/kustomization.yaml"))

CHANGES = {"users": "setup"}
"""The components that change another one, which an overlay lists before: kustomize refuses them alone."""


def alone(component: Path) -> list[Path]:
    """Return what an overlay lists in order to have one component."""
    return [component.parent / CHANGES[component.name], component] if component.name in CHANGES else [component]


def built(tmp_path: Path, resources: list[Path], **fields: Any) -> list[Document]:
    """Build an overlay of these folders with these fields, paths in them made relative to it."""

    def relative(value: Any) -> Any:
        if isinstance(value, Path):
            return os.path.relpath(value, tmp_path)
        return [relative(item) for item in value] if isinstance(value, list) else value

    overlay = {"resources": relative(resources)} | {name: relative(value) for name, value in fields.items()}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return or_skipped(tmp_path)


@cache
def overlay(folder: Path) -> tuple[Document, ...]:
    """Build an overlay of the project, once."""
    return tuple(or_skipped(folder))


def or_skipped(folder: Path) -> list[Document]:
    """Build a folder; skip the test when there is no kubectl."""
    try:
        return build(folder)
    except Unreadable as error:
        if "kubectl is missing" in str(error):
            pytest.skip(str(error))
        raise


def named(documents: list[Document]) -> set[tuple[str, str, str]]:
    """Return what can be referred to: kind, namespace and name."""
    return {(document.kind, document.namespace, document.name) for document in documents}


def one(documents: list[Document] | tuple[Document, ...], kind: str, name: str) -> Document:
    """Return the document of this kind and name."""
    (found,) = (document for document in documents if (document.kind, document.name) == (kind, name))
    return found

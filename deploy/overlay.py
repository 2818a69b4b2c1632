"""An overlay with an image of one's own, and which of its objects are what."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import path
from pathlib import Path
from typing import Any, Final

import yaml

from deploy import image
from deploy.commands import Commands, Failed
from shop.doctor.reading import Document, Unreadable, build, listed, mapping
from shop.doctor.rules import examine

OVERLAYS: Final = Path("knative/overlays")

WRITTEN: Final = Path(".deploy")
"""What a verb writes, and names in its commands; git ignores it, and it may be removed at any time."""

SERVICE: Final = ("serving.knative.dev", "Service")
BINDING: Final = ("sources.knative.dev", "SinkBinding")
SOURCE: Final = ("sources.knative.dev", "KafkaSource")
PING: Final = ("sources.knative.dev", "PingSource")
SINK: Final = ("eventing.knative.dev", "KafkaSink")
JOB: Final = ("batch", "Job")
STATEFUL: Final = ("apps", "StatefulSet")

VOLATILE: Final = "shop/without-storage"
"""The annotation by which a StatefulSet says what becomes of it on a cluster that makes no volumes. `lose` is the only
word: its data may go with its pod. Without it data is never put there."""


def kind(document: Document) -> tuple[str, str]:
    """Return the group and the kind of an object."""
    return document.group, document.kind


def resource(document: Document) -> str:
    """Return an object's kind as kubectl takes it, with the group: there is more than one kind Service."""
    return f"{document.kind.lower()}s.{document.group}" if document.group else f"{document.kind.lower()}s"


@dataclass(frozen=True)
class Overlay:
    """What is applied: a folder that kustomize builds, where verbs write what they need of it, and its objects.

    Both are relative to where commands run, so that a command is short to read.
    """

    home: Path
    folder: Path
    written: Path
    documents: Sequence[Document]

    def of(self, *kinds: tuple[str, str]) -> list[Document]:
        """Return the objects of some kinds."""
        return [document for document in self.documents if kind(document) in kinds]

    def write(self, name: str, documents: Iterable[Document]) -> Path:
        """Write some objects to a file, and return its name as commands use it."""
        content: list[dict[str, Any]] = [document.content for document in documents]
        file = self.home / self.written / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump_all(content, sort_keys=False), encoding="utf-8")
        return self.written / name


def find(home: Path, name: str) -> Path:
    """Return the folder of an overlay: by its name, or wherever it is. Raises Failed when there is none."""
    for folder in (OVERLAYS / name, Path(name)):
        if name and (home / folder / "kustomization.yaml").is_file():
            return folder
    there = sorted(file.parent.name for file in (home / OVERLAYS).glob("*/kustomization.yaml"))
    raise Failed(
        f"{name!r} is no overlay: use OVERLAY={' or OVERLAY='.join(there or ['FOLDER'])}, or a folder of yours"
    )


def volatile(documents: Iterable[Document]) -> list[Document]:
    """Return the objects that ask for a volume of whatever kind the cluster makes, and would do without."""
    return [
        document
        for document in documents
        if kind(document) == STATEFUL
        and mapping(document.metadata.get("annotations")).get(VOLATILE) == "lose"
        and any("storageClassName" not in _claim(each) for each in listed(document.spec.get("volumeClaimTemplates")))
    ]


def _claim(template: Any) -> Mapping[str, Any]:
    return mapping(mapping(template).get("spec"))


def read(commands: Commands, name: str, image_name: str, *, has_storage: bool = True) -> Overlay:
    """Build an overlay, with another image if one is named. Raises Failed when it does not build.

    On a cluster that has no storage, data of what is volatile goes with its pod.
    """
    home = commands.folder
    folder = find(home, name)
    written = WRITTEN / (home / folder).resolve().name
    documents = _built(commands, folder)
    changes: dict[str, Any] = {}
    if image_name:
        image.checked(image_name)
        changes["images"] = [_images(_image(documents), image_name)]
    if not has_storage:
        changes["patches"] = [_without_claims(document) for document in volatile(documents)]
    if not changes:
        return Overlay(home, folder, written, documents)
    what = [f"the image {image_name}"] * bool(image_name) + ["no volumes"] * (not has_storage)
    commands.say(f"{written}/kustomization.yaml is {folder}, with {' and '.join(what)}")
    _write_layer(home / written, home / folder, changes)
    return Overlay(home, written, written, _built(commands, written))


def _built(commands: Commands, folder: Path) -> list[Document]:
    commands.show("kubectl", "kustomize", f"{folder}")
    try:
        return build(commands.folder / folder, commands.path)
    except Unreadable as error:
        raise Failed(str(error)) from error


def _image(documents: Iterable[Document]) -> str:
    """Return what the image of the functions is called so far: most of them have it, and the console another."""
    services = [document for document in documents if kind(document) == SERVICE]
    containers = [
        mapping(container)
        for service in services
        for container in listed(mapping(mapping(service.spec.get("template")).get("spec")).get("containers"))
    ]
    counted = Counter(image.without_version(str(container.get("image"))) for container in containers)
    if not counted:
        raise Failed("the overlay has no function to set an image of")
    return counted.most_common(1)[0][0]


def _images(before: str, image_name: str) -> dict[str, str]:
    """Return what kustomize is told of an image."""
    name = image.without_version(image_name)
    digest = image_name.partition("@")[2]
    version = {"digest": digest} if digest else {"newTag": image_name.removeprefix(f"{name}:")}
    return {"name": before, "newName": name, **version}


def _without_claims(document: Document) -> dict[str, Any]:
    """Return the patch by which what is claimed is a folder of the pod's own."""
    names = [
        mapping(mapping(each).get("metadata")).get("name") for each in listed(document.spec["volumeClaimTemplates"])
    ]
    pod = mapping(mapping(document.spec.get("template")).get("spec"))
    volumes = [*listed(pod.get("volumes")), *({"name": name, "emptyDir": {}} for name in names)]
    patch = [
        {"op": "remove", "path": "/spec/volumeClaimTemplates"},
        {"op": "add", "path": "/spec/template/spec/volumes", "value": volumes},
    ]
    target = {"group": document.group, "kind": document.kind, "name": document.name, "namespace": document.namespace}
    return {"target": target, "patch": yaml.safe_dump(patch)}


def _write_layer(written: Path, folder: Path, changes: Mapping[str, Any]) -> None:
    layer = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [path.relpath(folder.resolve(), written.resolve())],
        **changes,
    }
    written.mkdir(parents=True, exist_ok=True)
    (written / "kustomization.yaml").write_text(yaml.safe_dump(layer, sort_keys=False), encoding="utf-8")


def refuse_traps(overlay: Overlay, say: Callable[[str], None]) -> None:
    """Have the doctor look first: a cluster would accept what it finds. Raises Failed when it finds anything."""
    findings = examine(overlay.documents)
    for finding in findings:
        say(f"{finding}\n")
    if findings:
        raise Failed(f"{overlay.folder} was not applied: {len(findings)} to mend, named above")

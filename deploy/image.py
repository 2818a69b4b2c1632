"""Build the image of all functions, with whichever engine is there."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from deploy.commands import Commands, Failed
from shop.process.version import VERSION

_LABEL: Final = "org.opencontainers.image"

LOADED: Final = ("dev.local/", "kind.local/", "ko.local/")
"""Where Knative looks for no digest, so that an image needs no registry, and may be loaded into the nodes."""

ENGINES: Final = ("docker", "podman", "buildah")
"""In the order of how many use them; each reads the same Containerfile."""

# Whether an engine can work, not only whether its program is there: docker without its daemon builds nothing.
_WORKS: Final = {"docker": ("docker", "version", "--format", "{{.Server.Version}}"), "podman": ("podman", "info")}

_NAME: Final = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9._:/-]*?)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]*))?(?:@sha256:[0-9a-f]{64})?"
)


def checked(image: str) -> str:
    """Return the name of an image that a cluster can use. Raises Failed for one that it cannot, or not reliably."""
    match = _NAME.fullmatch(image)
    if match is None or "//" in image:
        raise Failed(f"{image!r} is no name of an image: write name:tag, such as IMAGE=registry.internal/shop:0.1.0")
    if "@" not in image and match["tag"] in (None, "latest"):
        raise Failed(
            f"{image!r} needs a tag of its own, such as :0.1.0. What `latest` is, changes: a node pulls it anew for "
            "each container, and an image that was loaded into the node is not found"
        )
    if len(match["name"].rpartition("/")[2]) == 1:
        raise Failed(f"Knative refuses {image!r}: the last part of the name needs two letters or more")
    return image


def without_version(image: str) -> str:
    """Return the name of an image without its tag and digest, as kustomize names it."""
    name = image.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


def engine(commands: Commands) -> str:
    """Return the first engine that works, and say which. Raises Failed when there is none."""
    refused = []
    for name in ENGINES:
        if not commands.has(name):
            continue
        try:
            if name in _WORKS:
                commands.read(*_WORKS[name])
        except Failed as error:
            refused.append(f"{name} is there, but does not work: {str(error).splitlines()[-1]}")
            continue
        commands.say(f"Building with {name}")
        return name
    why = "; ".join(refused) or f"none of {', '.join(ENGINES)} is on PATH"
    raise Failed(f"nothing here can build an image: {why}. Install one of them, such as: apt-get install buildah")


def labels(commands: Commands, title: str = "shop") -> dict[str, str]:
    """Return what an image says of itself: what it is, its version, and the commit and the place it was built from."""
    found = {f"{_LABEL}.title": title, f"{_LABEL}.licenses": "Apache-2.0", f"{_LABEL}.version": VERSION}
    try:
        revision = commands.read("git", "rev-parse", "HEAD").strip()
        is_changed = commands.read("git", "status", "--porcelain", "--untracked-files=no").strip()
    except Failed as error:
        commands.say(f"The image will not say its revision: {str(error).splitlines()[-1]}")
        return found
    found[f"{_LABEL}.revision"] = revision + ("-changed" if is_changed else "")
    try:
        found[f"{_LABEL}.source"] = _public(commands.read("git", "remote", "get-url", "origin").strip())
    except Failed:
        commands.say("The image will not say its source: this checkout has no remote `origin`")
    return found


def _public(url: str) -> str:
    """Return a URL without what it may hold of a name and a password: an image shows its labels to everybody."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.scheme else url


def build_command(engine: str, image: str, base: str, labels: Mapping[str, str], lock: str = "functions") -> list[str]:
    """Return the words that build the image: the same for every engine."""
    words = [engine, "build", "-f", "Containerfile", "-t", image]
    if base:
        words += ["--build-arg", f"BASE={base}"]
    if lock != "functions":
        words += ["--build-arg", f"LOCK={lock}"]
    for name, value in labels.items():
        words += ["--label", f"{name}={value}"]
    return [*words, "."]


def build(commands: Commands, image: str, base: str, lock: str = "functions") -> None:
    """Build the image of a lock under a name. Raises Failed when that is no name, or nothing can build."""
    checked(image)
    chosen = engine(commands)
    title = "shop" if lock == "functions" else lock
    commands.run(*build_command(chosen, image, base, labels(commands, title), lock))
    commands.say(f"Built {image}. To a registry: {chosen} push {image}")
    if image.startswith(LOADED):
        commands.say(f"Into the nodes of a cluster on this machine: {_load(chosen, image)}")


def _load(engine: str, image: str) -> str:
    """Return the command that puts an image into the nodes of kind: it reads docker's images, or a file."""
    if engine == "docker":
        return f"kind load docker-image {image} --name knative"
    return f"{engine} push {image} docker-archive:shop.tar:{image} && kind load image-archive shop.tar --name knative"

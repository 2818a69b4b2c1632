"""`make image` builds with the engine that works, says which, and says what to do when none does."""

import re
from pathlib import Path

import pytest

from deploy import image
from deploy.commands import ROOT, Failed
from shop.process.version import VERSION
from tests.deploy.standing_in import StandIns

NAME = "registry.internal/shop:0.1.0"
COMMIT = "0123456789012345678901234567890123456789"


@pytest.mark.parametrize("engine", image.ENGINES)
def test_the_engine_that_is_there_builds(engine: str, tmp_path: Path) -> None:
    """With the same words, whichever it is; the name of it is said, and the command is shown."""
    there = StandIns(tmp_path, engine)
    image.build(there.commands(), NAME, "python:3.12-slim")
    build = there.calls[-1]
    assert build[:6] == [engine, "build", "-f", "Containerfile", "-t", NAME]
    assert build[6:8] == ["--build-arg", "BASE=python:3.12-slim"]
    assert build[-1] == "."
    assert f"Building with {engine}" in there.said
    assert any(line.startswith(f"$ {engine} build -f Containerfile -t {NAME} ") for line in there.said)
    assert any(f"{engine} push {NAME}" in line for line in there.said)


def test_the_command_has_an_image_of_its_own(tmp_path: Path) -> None:
    """From the same Containerfile, by another lock."""
    there = StandIns(tmp_path, "buildah")
    image.build(there.commands(), "dev.local/orders:1", "", "orders")
    build = there.calls[-1]
    assert build[6:8] == ["--build-arg", "LOCK=orders"]
    assert "org.opencontainers.image.title=orders" in build
    assert any("kind load image-archive" in line for line in there.said)


def test_an_engine_that_does_not_work_is_passed_over(tmp_path: Path) -> None:
    """One such is docker without its daemon."""
    there = StandIns(tmp_path, "docker", "podman", "buildah")
    there.answer("docker", "version", error="Cannot connect to the Docker daemon")
    assert image.engine(there.commands()) == "podman"
    there.answer("podman", "info", error="no")
    assert image.engine(there.commands()) == "buildah"


def test_without_an_engine_it_says_what_to_install(tmp_path: Path) -> None:
    """And, of one that is there and does not work, why."""
    (tmp_path / "none").mkdir()
    with pytest.raises(Failed, match=r"none of docker, podman, buildah is on PATH\. Install .*apt-get install buildah"):
        image.engine(StandIns(tmp_path / "none").commands())
    (tmp_path / "one").mkdir()
    there = StandIns(tmp_path / "one", "docker")
    there.answer("docker", "version", error="warning\nCannot connect to the Docker daemon\n")
    with pytest.raises(Failed, match="docker is there, but does not work: Cannot connect to the Docker daemon"):
        image.engine(there.commands())


def test_an_image_says_its_source_version_and_revision(tmp_path: Path) -> None:
    """Neither a name nor a password that the remote's URL holds: everybody reads labels."""
    there = StandIns(tmp_path, "git")
    there.answer("git", "rev-parse", outputs=[f"{COMMIT}\n"])
    there.answer("git", "remote", outputs=["https://somebody:secret@git.internal/team/shop.git\n"])
    found = {name.rpartition(".")[2]: value for name, value in image.labels(there.commands()).items()}
    assert found["revision"] == COMMIT
    assert found["source"] == "https://git.internal/team/shop.git"
    assert found["version"] == VERSION
    there.answer("git", "status", outputs=[" M shop/serve.py\n"])
    assert image.labels(there.commands())["org.opencontainers.image.revision"] == f"{COMMIT}-changed"


def test_a_folder_without_git_is_built_all_the_same(tmp_path: Path) -> None:
    """From an archive of the project: what is not known is said, not made up."""
    there = StandIns(tmp_path, "git")
    there.answer("git", error="fatal: not a git repository")
    assert not any(name.endswith(("revision", "source")) for name in image.labels(there.commands()))
    assert "The image will not say its revision: fatal: not a git repository" in there.said


@pytest.mark.parametrize("name", [NAME, "shop:1", "localhost:5000/team/shop:0.1", f"shop@sha256:{'0' * 64}"])
def test_a_name_with_a_version_is_taken(name: str) -> None:
    """A registry with a port is no tag; a digest is as good as a tag, or better."""
    assert image.checked(name) == name
    assert image.without_version(name) == re.split(r":[^/]*$|@", name)[0]


@pytest.mark.parametrize(
    "name", ["shop", "localhost:5000/shop", "shop:latest", "Shop:1", "a b:1", "", "registry.internal/s:1"]
)
def test_a_name_that_a_cluster_would_not_take_is_refused(name: str) -> None:
    """Before anything is built, not after it was pushed."""
    with pytest.raises(Failed):
        image.checked(name)


def test_the_context_is_what_an_image_is_made_of() -> None:
    """Whatever the Containerfile copies is let through, and nothing else; each engine reads the same list."""
    ignored = (ROOT / ".containerignore").read_text().splitlines()
    assert (ROOT / ".dockerignore").readlink() == Path(".containerignore")
    copied = re.findall(r"^COPY (?!--from)(\S+) ", (ROOT / "Containerfile").read_text(), re.MULTILINE)
    assert sorted(line[1:] for line in ignored if line.startswith("!")) == sorted(copied)
    assert ignored.index("*") < min(ignored.index(f"!{each}") for each in copied)
    assert "shop/doctor" in ignored

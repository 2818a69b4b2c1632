"""The commands of docs/deploy.md, as far as they need no cluster: what they name is there, builds, and is clean."""

import re
import shlex
import subprocess
import sys
from itertools import pairwise

import pytest

from shop.doctor.reading import Document
from tests.knative.test_kustomize import secrets_asked_for
from tests.support.functions import FUNCTIONS
from tests.support.kustomize import COMPONENTS, OVERLAYS, overlay
from tests.support.manifests import KNATIVE, ROOT

TEXT = (ROOT / "docs" / "deploy.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [line.strip() for block in BLOCKS for line in block.splitlines()]
PRODUCTION = KNATIVE / "overlays" / "production"


def named(pattern: str) -> list[str]:
    """Return what the commands name at the place of the pattern's group."""
    return [match for command in COMMANDS for match in re.findall(pattern, command)]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_can_be_pasted_into_a_shell(block: str) -> None:
    """Each is whole."""
    done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_applied_builds() -> None:
    """Each folder behind -k."""
    applied = {folder for command in COMMANDS for folder in re.findall(r"kubectl apply -k (\S+)", command)}
    assert applied == {"knative/overlays/quickstart", "knative/overlays/production"}
    for folder in applied:
        assert overlay(ROOT / folder)


def test_the_doctor_is_run_as_it_says() -> None:
    """With the arguments of the text; it has nothing to say."""
    commands = [shlex.split(command) for command in COMMANDS if command.startswith("python -m shop.doctor")]
    assert commands
    for _, *arguments in commands:
        done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, timeout=60, check=False)
        if b"kubectl is missing" in done.stderr:
            pytest.skip("kubectl is missing")
        assert done.returncode == 0, done.stdout


def test_every_secret_that_production_asks_for_is_made() -> None:
    """And no other one, with the keys that are asked for."""
    made = set(named(r"kubectl create secret generic ([a-z-]+) -n shop"))
    asked = {name for document in overlay(PRODUCTION) for name in secrets_asked_for(document.content)}
    assert made == asked
    assert not [document for document in overlay(PRODUCTION) if document.kind == "Secret"]
    (kafka,) = (command for command in COMMANDS if "generic kafka " in command)
    keys = set(re.findall(r"--from-literal=([\w.]+)=|--from-file=(\S+)", kafka))
    assert {first or second for first, second in keys} == {"protocol", "sasl.mechanism", "user", "password", "ca.crt"}


def test_what_is_waited_for_or_deleted_is_there() -> None:
    """Jobs by their names, in both overlays."""
    jobs = {*named(r"job/([a-z-]+)"), *(job for names in named(r"delete job ([a-z ]+?) -n") for job in names.split())}
    assert jobs == {"topics", "setup"}
    for folder in OVERLAYS:
        assert jobs <= {document.name for document in overlay(folder) if document.kind == "Job"}


def test_functions_sinks_and_revisions_are_called_as_they_are() -> None:
    """Each name of a function that a command has is one."""
    functions = {function.deployed for function in FUNCTIONS.values()}
    called = {
        *named(r"\$\(at ([a-z-]+)\)"),
        *named(r"Service:serving\.knative\.dev/v1:([a-z-]+)"),
        *named(r"kn (?:service apply|service update|source binding create) ([a-z-]+)"),
        *named(r"kn revision list -s ([a-z-]+)"),
        *named(r"--traffic ([a-z-]+)-\d{5}="),
    }
    assert called
    assert called <= functions
    sinks = {document.name for document in overlay(PRODUCTION) if document.kind == "KafkaSink"}
    assert set(named(r"kafkasinks:([a-z-]+)")) <= sinks


def test_the_function_by_hand_is_the_one_of_the_base() -> None:
    """What kn is told is what the file says."""
    (command,) = (command for command in COMMANDS if command.startswith("kn service apply"))
    arguments = shlex.split(command)
    said = {name: value for name, value in pairwise(arguments) if name.startswith("--")}
    service = next(each for each in overlay(KNATIVE / "overlays" / "quickstart") if served(each, arguments[3]))
    revision = service.spec["template"]["spec"]
    container = revision["containers"][0]
    target, uri = container["env"]
    reference = uri["valueFrom"]["secretKeyRef"]
    assert said["--image"] == container["image"]
    assert said["--env"] == f"FUNCTION_TARGET={target['value']}"
    assert said["--env-value-from"] == f"MONGODB_URI=secret:{reference['name']}:{reference['key']}"
    assert (said["--timeout"], said["--concurrency-limit"]) == (str(revision["timeoutSeconds"]), "0")
    assert said["--probe-readiness"].endswith(container["readinessProbe"]["httpGet"]["path"])
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    assert said["--request"] == f"cpu={requests['cpu']},memory={requests['memory']}"
    assert said["--limit"] == f"memory={limits['memory']}"


def served(document: Document, name: str) -> bool:
    """Tell whether a document is this function's Service."""
    return document.group == "serving.knative.dev" and document.name == name


def test_every_component_and_overlay_has_its_line() -> None:
    """And the tables have no other one."""
    rows = re.findall(r"^\| `([a-z-]+)` \|", TEXT, re.MULTILINE)
    assert sorted(rows) == sorted(folder.name for folder in (*COMPONENTS, *OVERLAYS))

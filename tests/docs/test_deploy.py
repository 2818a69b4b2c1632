"""The commands of docs/deploy.md, as far as they need no cluster: what they name is there, builds, and is clean."""

import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from pymongo.uri_parser import parse_uri

import deploy.__main__ as deploying
from shop.doctor.reading import Document
from shop.process.settings import Settings
from shop.setup.users import AUDIT, password_variable
from shop.state import SERVICES
from tests.deploy.standing_in import everything_ready
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


MAKES = sorted({command.rstrip(" &") for command in COMMANDS if re.match(r"(TOKEN=\S+ )?make ", command)})


def test_every_verb_for_a_cluster_is_shown() -> None:
    """And each has its line in the table; those of make that are not for a cluster are elsewhere."""
    listed = re.findall(r"^\| `make ([a-z-]+)` \|", TEXT, re.MULTILINE)
    assert set(listed) == {"image", "sbom", "deploy", "deploy-kn", "status", "smoke", "undeploy"}
    assert {re.sub(r".*make ([a-z-]+).*", r"\1", command) for command in MAKES} <= set(listed)


@pytest.mark.parametrize("command", MAKES)
def test_a_verb_does_what_it_says(command: str, tmp_path: Path) -> None:
    """With its arguments, on a cluster that is stood in for; of smoke, which needs a real one, they are read."""
    words = words_of(command)
    home = tmp_path / "home"
    home.mkdir()
    (home / "knative").symlink_to(KNATIVE)
    name = next((word.partition("=")[2] for word in words if word.startswith("--overlay=")), "quickstart")
    there = everything_ready(tmp_path, home, name)
    there.add("docker", "git")
    if words[0] == "smoke":
        assert deploying.parsed(words).url in command
        return
    deploying.main(words, there.commands(home))
    assert there.calls
    assert all(call[0] in ("kubectl", "kn", "docker", "git") for call in there.calls)


def words_of(command: str) -> list[str]:
    """Return what a command of make gives to `python -m deploy`."""
    arguments = shlex.split(command)
    done = subprocess.run(
        ["make", "-n", *arguments[arguments.index("make") + 1 :]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (line,) = (line for line in done.stdout.replace("\\\n", " ").splitlines() if " -m deploy " in line)
    return shlex.split(line.partition(" -m deploy ")[2])


def test_the_doctor_is_run_as_it_says() -> None:
    """With the arguments of the text; it has nothing to say."""
    commands = [shlex.split(command) for command in COMMANDS if command.startswith("python -m shop.doctor")]
    assert commands
    for _, *arguments in commands:
        done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, timeout=60, check=False)
        if b"kubectl is missing" in done.stderr:
            pytest.skip("kubectl is missing")
        assert done.returncode == 0, done.stdout


RECORDING = """#!/bin/sh
printf '%s\\n' "$@" > "$CALLS/$(ls "$CALLS" | wc -l)"
"""


def test_every_secret_that_production_asks_for_is_made(tmp_path: Path) -> None:
    """And no other one, with its keys: the commands are run, with a kubectl that writes them down."""
    (block,) = (block for block in BLOCKS if "kubectl create namespace shop" in block)
    (tmp_path / "kubectl").write_text(RECORDING)
    (tmp_path / "kubectl").chmod(0o755)
    (tmp_path / "calls").mkdir()
    told = {"CALLS": str(tmp_path / "calls"), "SETUP_MONGODB_URI": "mongodb://setup:x@h", "KAFKA_PASSWORD": "x"}
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["sh", "-euc", block], env={"PATH": path, **told}, timeout=60, check=True)
    calls = [(tmp_path / "calls" / str(number)).read_text().splitlines() for number in range(8)]
    made = {call[3]: literals(call) for call in calls if call[:3] == ["create", "secret", "generic"]}
    asked = {name for document in overlay(PRODUCTION) for name in secrets_asked_for(document.content)}
    assert set(made) == asked
    assert not [document for document in overlay(PRODUCTION) if document.kind == "Secret"]
    assert set(made["kafka"]) == {"protocol", "sasl.mechanism", "user", "password", "ca.crt"}
    audit = made["verify-mongodb"].pop(password_variable(AUDIT))
    for service in SERVICES:
        function = Settings.read({"MONGODB_URI": made[f"{service}-mongodb"]["uri"]}).mongodb_uri
        password = made[f"{service}-mongodb"]["password"]
        assert who(function) == (service, password, service)
        assert who(made["verify-mongodb"][f"{service.upper()}_MONGODB_URI"]) == (AUDIT, audit, service)
    passwords = {audit, *(made[f"{service}-mongodb"]["password"] for service in SERVICES)}
    assert len(passwords) == 4
    assert min(len(password) for password in passwords) > 20


def literals(call: list[str]) -> dict[str, str]:
    """Return what a Secret is made of, by its keys."""
    pairs = [argument.partition("=")[2].partition("=") for argument in call if argument.startswith("--from-")]
    return {key: value for key, _, value in pairs}


def who(uri: str) -> tuple[str, str, str]:
    """Return the user of a URI, the password, and the database that knows them."""
    parsed = parse_uri(uri)
    return parsed["username"], parsed["password"], parsed["options"]["authSource"]


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
    service = next(each for each in overlay(KNATIVE / "base") if served(each, arguments[3]))
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

"""The manifests against the code: neither says anything the other does not know."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from shop.messages import TOPICS
from tests.support.functions import FUNCTIONS, OPTIONAL, PATHS, folders, triggered
from tests.support.kustomize import COMPONENTS
from tests.support.manifests import BASE, KNATIVE, ROOT, Document, documents, documents_in

SERVICES = {document.name: document for document in documents("Service")}
ADDED = {
    document.name
    for folder in COMPONENTS
    for document in documents_in(folder)
    if isinstance(document.content, dict) and document.kind == "Service"  # and no list of patches
}
"""The Services that components bring."""
DEPLOYED = {function.deployed: function for function in FUNCTIONS.values()}

services = pytest.mark.parametrize("document", SERVICES.values(), ids=str)


def references(kind: str) -> dict[str, str]:
    """Return what the sources of a kind call, by their own names."""
    return {document.name: document.spec["sink"]["ref"]["name"] for document in documents(kind)}


def test_every_function_has_its_service_and_no_other_is_there() -> None:
    """One folder, one Service, in the base or in a component; one decorator that says what it is for."""
    assert SERVICES.keys() == {name.replace("_", "-") for name in folders() if name not in OPTIONAL}
    assert {name.replace("_", "-") for name in OPTIONAL} <= ADDED
    assert SERVICES.keys() == DEPLOYED.keys()


@services
def test_a_service_runs_the_function_of_its_name(document: Document) -> None:
    """File, Service and FUNCTION_TARGET are one name, all have one image, and the Service comes first in its file."""
    env = {variable["name"]: variable.get("value") for variable in document.container["env"]}
    assert env["FUNCTION_TARGET"] == document.name.replace("-", "_")
    assert document.container["image"] == "shop"
    assert document.file == f"{document.name}.yaml"
    in_file = [other for other in documents() if other.file == document.file]
    assert in_file[0] == document
    assert {other.name for other in in_file} == {document.name}


KUSTOMIZATIONS = sorted(KNATIVE.rglob("kustomization.yaml"))


@pytest.mark.parametrize("file", KUSTOMIZATIONS, ids=lambda file: file.parent.relative_to(KNATIVE).as_posix())
def test_a_kustomization_lists_every_file_once(file: Path) -> None:
    """A file that is not listed is never applied. One patch may have several targets."""
    kustomization = yaml.safe_load(file.read_text())
    listed = [
        *kustomization.get("resources", []),
        *kustomization.get("configurations", []),
        *{patch["path"] for patch in kustomization.get("patches", []) if "path" in patch},
        *(name for generated in kustomization.get("configMapGenerator", []) for name in generated.get("files", [])),
    ]
    own = [
        *(other.name for other in file.parent.glob("*") if other.is_file() and other != file),
        *(other.relative_to(file.parent).as_posix() for other in file.parent.glob("configurations/*")),
    ]
    assert sorted(name for name in listed if not name.startswith("..")) == sorted(own)


def test_the_image_is_set_once() -> None:
    """In the base, and of this version: an overlay has one name to replace."""
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert kustomization["images"] == [{"name": "shop", "newName": "dev.local/shop", "newTag": version}]


def test_the_route_leads_a_path_to_each_function_that_customers_call() -> None:
    """All of them, and no other, each by its whole path."""
    (route,) = documents("HTTPRoute")
    for rule in route.spec["rules"]:
        (match,), (rewrite,) = rule["matches"], rule["filters"]
        assert match["path"]["type"] == "Exact"
        assert rewrite["urlRewrite"]["hostname"].partition(".")[2] == "shop.svc.cluster.local"
    assert PATHS.keys() == triggered("GET", "POST").keys()


def test_sources_bring_each_consumer_the_topic_of_its_event() -> None:
    """A consumer without its source would never hear of an event; the event says its topic itself."""
    topics = {source.name: source.spec["topics"] for source in documents("KafkaSource")}
    assert topics == {function.deployed: [function.topic] for function in triggered("event").values()}
    assert references("KafkaSource") == {name: name for name in topics}


def test_timers_call_the_functions_that_wait_for_them() -> None:
    """What is triggered by a PingSource has one, of its own name."""
    assert references("PingSource") == {name: name for name in (each.deployed for each in triggered("tick").values())}


def test_bindings_lead_to_the_topic_of_what_the_function_emits() -> None:
    """What emits has its SinkBinding, and nothing else has one."""
    topics = {sink.name: sink.spec["topic"] for sink in documents("KafkaSink")}
    bound = {
        binding.spec["subject"]["name"]: topics[binding.spec["sink"]["ref"]["name"]]
        for binding in documents("SinkBinding")
    }
    assert bound == {name: TOPICS[each.label.emits] for name, each in DEPLOYED.items() if each.label.emits}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_a_module_says_of_itself_is_what_its_decorators_say(name: str) -> None:
    """Trigger and Emits of the docstring; `Once per` is what tests of the function show."""
    label, said = FUNCTIONS[name].label, sys.modules[f"functions.{name}.main"].__doc__ or ""
    trigger = {
        "event": f"{label.takes and label.takes.DESCRIPTOR.name} on topic `{FUNCTIONS[name].topic}`",
        "tick": "PingSource, ",
    }.get(label.trigger, f"{label.trigger} {PATHS.get(name)}")
    emits = f"{label.emits.DESCRIPTOR.name} on topic `{TOPICS[label.emits]}`" if label.emits else ""
    assert re.search(rf"^Trigger   {re.escape(trigger)}", said, re.MULTILINE)
    assert re.findall(r"^Emits     ([^,\n]+)", said, re.MULTILINE) == [emits] * bool(emits)


def test_every_topic_is_written_and_read() -> None:
    """Each topic has a KafkaSink; all but the dead letters, which a person redrives, have a KafkaSource."""
    topics = {document.name for document in documents("KafkaTopic")}
    written = {sink.spec["topic"] for sink in documents("KafkaSink")}
    read = {topic for source in documents("KafkaSource") for topic in source.spec["topics"]}
    assert written == topics
    assert read == topics - {"dead-letters"}


def test_dead_letters_are_dead_letters() -> None:
    """Every source gives up to one topic, which no function writes to otherwise."""
    for source in documents("KafkaSource"):
        assert source.spec["delivery"]["deadLetterSink"]["ref"]["name"] == "dead-letters"


@services
def test_every_variable_has_a_reader(document: Document) -> None:
    """A variable that nobody reads is a setting that does nothing."""
    code = "\n".join(file.read_text() for folder in ("shop", "functions") for file in (ROOT / folder).rglob("*.py"))
    for variable in document.container["env"]:
        assert f'"{variable["name"]}"' in code, variable["name"]


@services
def test_a_service_has_the_secret_of_its_own_database_alone(document: Document) -> None:
    """Orders, billing and notifications never read each other's databases."""
    secrets = [
        variable["valueFrom"]["secretKeyRef"]["name"]
        for variable in document.container["env"]
        if "value" not in variable
    ]
    assert secrets == [f"{DEPLOYED[document.name].label.service}-mongodb"]


@services
def test_array_limits_are_set_where_arrays_grow(document: Document) -> None:
    """The functions that archive are told when, and no other is."""
    archives = document.name in {"billing-handler", "deposit-cash"}
    names = {variable["name"] for variable in document.container["env"]}
    assert ({"ARRAY_LIMIT", "ARCHIVE_BATCH"} <= names) == archives
    assert names - {"ARRAY_LIMIT", "ARCHIVE_BATCH"} == {"FUNCTION_TARGET", "MONGODB_URI"}


@services
def test_only_functions_that_customers_call_are_public(document: Document) -> None:
    """Whoever could reach a consumer could forge a decision."""
    called_by_sources = document.name in {*references("KafkaSource").values(), *references("PingSource").values()}
    labels = document.content["metadata"].get("labels", {})
    assert (labels.get("networking.knative.dev/visibility") == "cluster-local") == called_by_sources

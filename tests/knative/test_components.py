"""What each component adds, held to the code and to the other components."""

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from shop.doctor.identity import AUTH
from shop.doctor.reading import Document
from shop.doctor.shop import Shop, Topic
from shop.messages import TOPICS
from shop.process.settings import Auth, Settings, Traces
from shop.setup.users import AUDIT, password_variable
from shop.state import SERVICES
from tests.support.functions import FUNCTIONS
from tests.support.kustomize import COMPONENTS, OVERLAYS, alone, built, one, overlay
from tests.support.manifests import KNATIVE, ROOT
from wire.login import CA, MECHANISM, PASSWORD, PROPERTIES, PROTOCOL, USERNAME

Size = tuple[int | None, int | None, dict[str, str]]


def component(tmp_path: Path, name: str) -> list[Document]:
    """Build the base with one component."""
    return built(tmp_path, [KNATIVE / "base"], components=alone(KNATIVE / "components" / name))


def sizes(topics: list[Topic]) -> dict[str, Size]:
    """Return what topics are to be, by name."""
    return {
        topic.name: (topic.partitions, topic.replicas, {key: str(value) for key, value in topic.config.items()})
        for topic in topics
    }


# --- topics-job ------------------------------------------------------------------------------------------------------


def test_the_job_makes_the_topics_that_strimzi_makes(tmp_path: Path) -> None:
    """Same partitions, replicas and settings: the two components are one decision."""
    job, strimzi = (Shop(component(tmp_path, name)).topics for name in ("topics-job", "strimzi"))
    assert sizes(job) == sizes(strimzi)


PROGRAM = """#!/bin/sh
echo "${0##*/} $*" >> "$CALLS"
case "$*" in *--list) [ "$(grep -c -e --list "$CALLS")" -gt "$AWAY" ] || exit 1 ;; esac
case "$*" in *--describe*) printf 'Topic: x\\tTopicId: y\\tPartitionCount: %s\\tReplicationFactor: 3\\n' "$HAS" ;; esac
case "$*" in *"$REFUSED"*) exit 1 ;; esac
cat > /dev/null # a program that reads would eat the table
"""


def made(tmp_path: Path, has: int = 1, refused: str = "nothing", away: int = 0) -> tuple[int, list[str]]:
    """Run the Job's script with programs that write down their calls; return its exit code and them.

    Kafka answers after it was `away` for some calls.
    """
    documents = component(tmp_path, "topics-job")
    (container,) = one(documents, "Job", "topics").spec["template"]["spec"]["containers"]
    for name, program in {"kafka-topics.sh": PROGRAM, "kafka-configs.sh": PROGRAM, "sleep": "#!/bin/sh\n"}.items():
        (tmp_path / name).write_text(program)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "topics").write_text(one(documents, "ConfigMap", "topics").content["data"]["topics"])
    (script,) = container["args"]
    variables = {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "HAS": str(has),
        "AWAY": str(away),
        "REFUSED": refused,
        "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
    }
    command = [*container["command"], script.replace("/etc/topics/", f"{tmp_path}/")]
    done = subprocess.run(command, env=variables, timeout=30, check=False)
    return done.returncode, (tmp_path / "calls").read_text().splitlines()


def test_topics_are_made_and_set_as_the_table_says(tmp_path: Path) -> None:
    """Each is made unless it is there, gets the partitions that it lacks, and its settings."""
    code, calls = made(tmp_path)
    assert code == 0
    kafka, settings = "--bootstrap-server kafka:9092", "min.insync.replicas=2,retention.ms=604800000"
    assert calls[:5] == [
        f"kafka-topics.sh {kafka} --list",
        f"kafka-topics.sh {kafka} --create --if-not-exists --topic payments --partitions 10 --replication-factor 3",
        f"kafka-topics.sh {kafka} --describe --topic payments",
        f"kafka-topics.sh {kafka} --alter --topic payments --partitions 10",
        f"kafka-configs.sh {kafka} --alter --entity-type topics --entity-name payments --add-config {settings}",
    ]
    assert sum("--create" in call for call in calls) == 3


def test_a_topic_that_has_more_partitions_keeps_them(tmp_path: Path) -> None:
    """Kafka cannot take one away, and refuses."""
    code, calls = made(tmp_path, has=12)
    assert code == 0
    assert not [call for call in calls if "kafka-topics.sh" in call and "--alter" in call]


def test_a_topic_that_cannot_be_made_fails_the_job(tmp_path: Path) -> None:
    """It is tried again; the next topic is not made before."""
    code, calls = made(tmp_path, refused="--topic payments")
    assert code != 0
    assert len(calls) == 2


def test_the_job_waits_for_kafka_and_not_for_ever(tmp_path: Path) -> None:
    """It may come up beside it; one that never answers fails the Job, which says so."""
    code, calls = made(tmp_path, away=3)
    assert code == 0
    assert sum("--list" in call for call in calls) == 4
    (tmp_path / "calls").unlink()
    code, calls = made(tmp_path, away=1000)
    assert code != 0
    assert {call.rpartition(" ")[2] for call in calls} == {"--list"}


# --- setup and verify ------------------------------------------------------------------------------------------------


def test_setup_runs_the_image_of_the_functions_and_verify_another(tmp_path: Path) -> None:
    """Of this version; the functions' image has no `orders`, because what it locks has nothing of the command's."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    setup = one(component(tmp_path, "setup"), "Job", "setup").spec["template"]["spec"]["containers"][0]
    assert (setup["image"], setup["command"]) == (f"dev.local/shop:{version}", ["python3", "-m", "shop.setup"])
    cron = one(component(tmp_path, "verify"), "CronJob", "verify").spec["jobTemplate"]["spec"]
    verify = cron["template"]["spec"]["containers"][0]
    assert (verify["image"], verify["command"]) == (f"dev.local/orders:{version}", ["orders", "verify", "--json"])
    assert cron["backoffLimit"] == 0
    assert "typer" not in (ROOT / "requirements" / "functions.txt").read_text()


def test_users_has_setup_make_a_user_a_service_with_the_password_of_its_secret(tmp_path: Path) -> None:
    """Each variable that setup asks for, from the Secret that holds the URI of that user; nothing in the arguments."""
    (container,) = one(component(tmp_path, "users"), "Job", "setup").spec["template"]["spec"]["containers"]
    assert (container["command"], container["args"]) == (["python3", "-m", "shop.setup"], ["--users"])
    secrets = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"]}
    assert secrets == {
        **{password_variable(each): {"name": f"{each}-mongodb", "key": "password"} for each in SERVICES},
        password_variable(AUDIT): {"name": "verify-mongodb", "key": password_variable(AUDIT)},
    }
    assert container["envFrom"] == [{"secretRef": {"name": "setup-mongodb"}}]


# --- kafka-sasl-tls --------------------------------------------------------------------------------------------------


def test_every_source_and_sink_logs_in_from_one_secret(tmp_path: Path) -> None:
    """By the keys that a KafkaSink reads without being told."""
    documents = component(tmp_path, "kafka-sasl-tls")
    for sink in Shop(documents).sinks:
        assert sink.spec["auth"] == {"secret": {"ref": {"name": "kafka"}}}
    said = {
        "sasl": {"enable": True} | {field: key(name) for field, name in SASL.items()},
        "tls": {"enable": True, "caCert": key("ca.crt")},
    }
    for source in Shop(documents).sources:
        assert source.spec["net"] == said


def test_the_console_logs_in_from_the_same_secret(tmp_path: Path) -> None:
    """By all the variables that there are, each from its key; the certificate is a file, and that alone."""
    listed = [KNATIVE / "components" / name for name in ("console", "kafka-sasl-tls")]
    spec = one(built(tmp_path, [KNATIVE / "base"], components=listed), "Service", "console").spec["template"]["spec"]
    (container,) = spec["containers"]
    told = {each["name"]: each for each in container["env"] if each["name"] in PROPERTIES}
    (mount,), (volume,) = container["volumeMounts"], spec["volumes"]
    assert told.pop(CA)["value"] == f"{mount['mountPath']}/ca.crt"
    assert {name: each["valueFrom"] for name, each in told.items()} == {
        PROTOCOL: key("protocol"),
        MECHANISM: key("sasl.mechanism"),
        USERNAME: key("user"),
        PASSWORD: key("password"),
    }
    assert told.keys() | {CA} == PROPERTIES.keys()
    assert volume["secret"] == {"secretName": "kafka", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    assert mount["name"] == volume["name"]


SASL = {"type": "sasl.mechanism", "user": "user", "password": "password"}


def key(name: str) -> dict[str, Any]:
    """Return how a KafkaSource names a key of the Secret."""
    return {"secretKeyRef": {"name": "kafka", "key": name}}


# --- network-policies ------------------------------------------------------------------------------------------------


def test_a_function_is_reached_through_knative_alone(tmp_path: Path) -> None:
    """From the gateway and the activator, at its queue-proxy; its own port is open to nobody."""
    policy = one(component(tmp_path, "network-policies"), "NetworkPolicy", "functions-ingress").spec
    assert policy["podSelector"] == {"matchExpressions": [{"key": "serving.knative.dev/service", "operator": "Exists"}]}
    for rule in policy["ingress"]:
        namespaces = {each["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for each in rule["from"]}
        assert namespaces <= {"kourier-system", "knative-serving"}
        assert 8080 not in {each["port"] for each in rule["ports"]}


def test_a_function_reaches_mongodb_and_the_sinks_and_no_kafka(tmp_path: Path) -> None:
    """Emission goes through the receiver, so a function that was broken into writes no topic by itself."""
    policy = one(component(tmp_path, "network-policies"), "NetworkPolicy", "functions-egress").spec
    ports = {each["port"] for rule in policy["egress"] for each in rule["ports"]}
    assert ports == {53, 27017, 8080, 8443}


@pytest.mark.parametrize("name", ["topics-job", "setup", "verify"])
def test_each_job_is_selected_by_its_policy(tmp_path: Path, name: str) -> None:
    """By the labels of its pods."""
    wanted = one(component(tmp_path, "network-policies"), "NetworkPolicy", "jobs").spec["podSelector"]["matchLabels"]
    jobs = [document for document in component(tmp_path, name) if document.kind in {"Job", "CronJob"}]
    for document in jobs:
        spec = document.spec["jobTemplate"]["spec"] if document.kind == "CronJob" else document.spec
        assert wanted.items() <= spec["template"]["metadata"]["labels"].items()
    assert jobs


# --- auth ------------------------------------------------------------------------------------------------------------


def test_whatever_customers_reach_demands_tokens_and_nothing_else_does(tmp_path: Path) -> None:
    """All of it from one ConfigMap, whose absence keeps a function from starting; the roles' claim has a default."""
    wanted = {name: name.removeprefix("AUTH_").lower().replace("_", "-") for name in (*AUTH, "AUTH_ROLES_CLAIM")}
    for service in Shop(component(tmp_path, "auth")).services:
        (container,) = service.spec["template"]["spec"]["containers"]
        said = {
            each["name"]: each["valueFrom"]["configMapKeyRef"] for each in container["env"] if "AUTH" in each["name"]
        }
        public = FUNCTIONS[service.name.replace("-", "_")].label.trigger in ("GET", "POST")
        assert {name: (ref["name"], ref["key"]) for name, ref in said.items()} == (
            {name: ("auth", key) for name, key in wanted.items()} if public else {}
        )
        assert [name for name, ref in said.items() if ref.get("optional")] == ["AUTH_ROLES_CLAIM"] * public


def test_what_the_component_sets_is_what_a_function_reads(tmp_path: Path) -> None:
    """Under these names, and no other."""
    given = {"AUTH_JWKS_URL": "https://a/keys", "AUTH_ISSUER": "b", "AUTH_AUDIENCE": "c", "AUTH_ROLES_CLAIM": "d"}
    assert given.keys() == {*AUTH, "AUTH_ROLES_CLAIM"}
    assert Settings.read(given).auth == Auth("https://a/keys", "b", "c", "d")


def test_whoever_demands_tokens_may_fetch_their_keys(tmp_path: Path) -> None:
    """By the label that the component gives; nobody else may talk to other hosts."""
    policy = one(component(tmp_path, "network-policies"), "NetworkPolicy", "keys-egress").spec
    wanted = policy["podSelector"]["matchLabels"]
    assert policy["egress"] == [{"ports": [{"port": 443}]}]
    for service in Shop(component(tmp_path, "auth")).services:
        labels = service.spec["template"].get("metadata", {}).get("labels", {})
        assert (wanted.items() <= labels.items()) == (AUTH[0] in str(service.content))


def test_a_config_map_that_an_overlay_makes_rolls_the_functions_out(tmp_path: Path) -> None:
    """Its name has a hash of its content, and each function names it by that."""
    literals = ["jwks-url=https://a/keys", "issuer=b", "audience=c"]
    made = built(
        tmp_path,
        [KNATIVE / "base"],
        components=alone(KNATIVE / "components" / "auth"),
        configMapGenerator=[{"name": "auth", "namespace": "shop", "literals": literals}],
    )
    (config,) = (each for each in made if each.kind == "ConfigMap")
    assert config.name != "auth"
    assert str(one(made, "Service", "get-user").content).count(f"'name': '{config.name}'") == 4


# --- traces ----------------------------------------------------------------------------------------------------------


def test_every_function_may_be_told_where_spans_go(tmp_path: Path) -> None:
    """By what it reads, and each of it is optional: whoever sets nothing sends nothing, under no common name."""
    wanted: dict[str, tuple[str, str]] = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": ("configMapKeyRef", "endpoint"),
        "OTEL_TRACES_SAMPLER": ("configMapKeyRef", "sampler"),
        "OTEL_TRACES_SAMPLER_ARG": ("configMapKeyRef", "sampler-arg"),
        "OTEL_EXPORTER_OTLP_HEADERS": ("secretKeyRef", "headers"),
    }
    services = Shop(component(tmp_path, "traces")).services
    assert services
    for service in services:
        (container,) = service.spec["template"]["spec"]["containers"]
        assert {each["name"]: each.get("valueFrom") for each in container["env"] if "OTEL" in each["name"]} == {
            name: {kind: {"name": "traces", "key": key, "optional": True}} for name, (kind, key) in wanted.items()
        }
    given = dict(zip(wanted, ("http://collector:4318", "parentbased_traceidratio", "0.01", "a=b"), strict=True))
    assert Traces.read(given | {"K_SERVICE": "get-user"}) == Traces("get-user", "", "parentbased_traceidratio", 0.01)


def test_whoever_sends_spans_may_reach_their_collector(tmp_path: Path) -> None:
    """By the label that the component gives, at the port of OTLP over HTTP, which the example has."""
    policy = one(component(tmp_path, "network-policies"), "NetworkPolicy", "traces-egress").spec
    for service in Shop(component(tmp_path, "traces")).services:
        labels = service.spec["template"]["metadata"]["labels"]
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    ((port,),) = (rule["ports"] for rule in policy["egress"])
    example = (KNATIVE / "components" / "traces" / "kustomization.yaml").read_text()
    assert f"http://otel-collector.monitoring.svc:{port['port']}\n" in example


# --- keda and oidc ---------------------------------------------------------------------------------------------------


def test_keda_keeps_a_consumer_and_makes_no_more_than_partitions(tmp_path: Path) -> None:
    """Both numbers are texts, as annotations must be."""
    partitions = {topic.name: topic.partitions for topic in Shop(component(tmp_path, "topics-job")).topics}
    for source in Shop(component(tmp_path, "keda")).sources:
        said = {name.rpartition("/")[2]: value for name, value in source.metadata["annotations"].items()}
        assert said["class"] == "keda.autoscaling.knative.dev"
        assert said["min-scale"] == "1"
        assert said["max-scale"] == str(partitions[source.spec["topics"][0]])


def test_a_topic_takes_events_from_those_who_emit_them(tmp_path: Path) -> None:
    """As the labels of the functions say; the sources write their dead letters."""
    documents = component(tmp_path, "oidc")
    allowed = {
        each.spec["to"][0]["ref"]["name"]: {(who["ref"]["kind"], who["ref"]["name"]) for who in each.spec["from"]}
        for each in documents
        if each.kind == "EventPolicy"
    }
    emitters: dict[str, set[tuple[str, str]]] = {
        "dead-letters": {("KafkaSource", each.name) for each in documents if each.kind == "KafkaSource"}
    }
    for function in FUNCTIONS.values():
        if function.label.emits:
            emitters.setdefault(TOPICS[function.label.emits], set()).add(("SinkBinding", function.deployed))
    assert allowed == emitters


# --- all -------------------------------------------------------------------------------------------------------------


def test_images_of_others_have_a_version_and_no_registry_address() -> None:
    """Whatever a cluster takes for granted, a mirror too, is where they come from."""
    images = {
        match[1]
        for folder in (*COMPONENTS, *OVERLAYS)
        for file in folder.glob("*.yaml")
        for match in re.finditer(r"^ +image: (\S+)", file.read_text(), re.MULTILINE)
    }
    assert {image for image in images if not image.startswith("dev.local/")} == {"apache/kafka:4.1.0", "mongo:7.0"}


@pytest.mark.parametrize("folder", OVERLAYS, ids=lambda folder: folder.name)
def test_an_overlay_has_all_topics_in_the_size_of_its_brokers(folder: Path) -> None:
    """Quickstart differs from the component in its replicas alone: there is one broker."""
    usual = sizes(Shop([Document("", each) for each in TABLE]).topics)
    brokers, least = (1, "1") if folder.name == "quickstart" else (3, "2")
    assert sizes(Shop(overlay(folder)).topics) == {
        name: (partitions, brokers, config | {"min.insync.replicas": least})
        for name, (partitions, _, config) in usual.items()
    }


TABLE = list(yaml.safe_load_all((KNATIVE / "components" / "topics-job" / "topics.yaml").read_text()))


def test_production_has_two_pods_of_whatever_an_order_goes_through() -> None:
    """The loss of a node leaves one; consumers have no limit of requests, and those that customers call have one."""
    shop = Shop(overlay(KNATIVE / "overlays" / "production"))
    least = {each.name: scale(each).get("min-scale") for each in shop.services}
    assert {name for name, number in least.items() if number == "2"} == {
        *("create-order", "get-order", "billing-handler", "order-handler"),
    }
    consumers = {service.name for service, _ in shop.consumers()}
    for service in shop.services:
        limit = service.spec["template"]["spec"]["containerConcurrency"]
        assert (limit == 0) == (service.name in consumers), service
        assert "max-scale" in scale(service), service


def scale(service: Document) -> dict[str, str]:
    """Return what a Service says of its scale."""
    annotations: dict[str, str] = service.spec["template"].get("metadata", {}).get("annotations", {})
    return {name.rpartition("/")[2]: value for name, value in annotations.items()}

"""Each rule of the doctor, on the shop's own manifests with one thing broken in them."""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from shop.doctor.finding import Finding
from shop.doctor.reading import Document
from shop.doctor.rules import RULES, examine
from shop.doctor.shop import Shop
from tests.support.manifests import documents

Fields = dict[str, Any]
IMAGE = "dev.local/shop:0.1.0"


def shop() -> list[Document]:
    """Return the base with its topics and its public paths, as kustomize would build it."""
    whole = [Document(document.file, copy.deepcopy(document.content)) for document in documents()]
    for document in whole:
        if document.group == "serving.knative.dev":
            container(document.content)["image"] = IMAGE
    return whole


def pod(service: Fields) -> Fields:
    """Return the spec of a Service's pods."""
    spec: Fields = service["spec"]["template"]["spec"]
    return spec


def container(service: Fields) -> Fields:
    """Return the only container of a Service."""
    only: Fields = pod(service)["containers"][0]
    return only


def env(name: str, value: str) -> Callable[[Fields], None]:
    """Set a variable of a function."""

    def change(service: Fields) -> None:
        for variable in container(service)["env"]:
            if variable["name"] == name:
                variable["value"] = value

    return change


def variables(**values: str) -> Callable[[Fields], None]:
    """Add variables to a function."""

    def change(service: Fields) -> None:
        container(service)["env"].extend({"name": name, "value": value} for name, value in values.items())

    return change


def on(*path: str | int, **values: Any) -> Callable[[Fields], None]:
    """Set fields below a path; dashes and dots of names come in as `__` and `___`."""

    def change(content: Fields) -> None:
        place: Any = content
        for step in path:
            place = place[step]
        place.update({name.replace("___", ".").replace("__", "-"): value for name, value in values.items()})

    return change


def without(*path: str | int) -> Callable[[Fields], None]:
    """Remove a field."""

    def change(content: Fields) -> None:
        place: Any = content
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return change


def says(**values: Any) -> Callable[[Fields], None]:
    """Set fields of a `spec`."""
    return on("spec", **values)


def delivers(**values: Any) -> Callable[[Fields], None]:
    """Set fields of a source's delivery."""
    return on("spec", "delivery", **values)


DELIVERY = ("spec", "delivery")
POD = ("spec", "template", "spec")
CONTAINER = (*POD, "containers", 0)
RESOURCES = (*CONTAINER, "resources")
RULE = ("spec", "rules", 0)
BILLING = ("Service", "billing-handler")
RESEND = ("Service", "resend-orders")
TIMER = ("PingSource", "resend-orders")
BINDING = ("SinkBinding", "create-order")
PAYMENTS = ("KafkaTopic", "payments")
LETTERS = ("KafkaTopic", "dead-letters")
RESULTS = ("KafkaTopic", "results")
SOURCE = ("KafkaSource", "billing-handler")
SCALE = "autoscaling.knative.dev/min-scale"
DAY_MS = 24 * 3600 * 1000

BROKEN: dict[str, tuple[tuple[str, str], Callable[[Fields], object], str]] = {
    # --- functions
    "a fixed revision name": (BILLING, on("spec", "template", "metadata", name="one"), "template.metadata.name"),
    "no such function": (BILLING, env("FUNCTION_TARGET", "bill"), "FUNCTION_TARGET"),
    "a consumer that is public": (BILLING, without("metadata", "labels"), "visibility"),
    "a consumer with a visibility that is none": (
        BILLING,
        lambda service: service["metadata"]["labels"].update({"networking.knative.dev/visibility": "private"}),
        "visibility",
    ),
    "a timer's function that is public": (RESEND, without("metadata", "labels"), "visibility"),
    "a handler without min-scale": (BILLING, without("spec", "template", "metadata", "annotations", SCALE), SCALE),
    "a handler with min-scale 0": (
        BILLING,
        lambda service: service["spec"]["template"]["metadata"]["annotations"].update({SCALE: "0"}),
        SCALE,
    ),
    "no requests": (BILLING, without(*CONTAINER, "resources", "requests"), "requests.cpu"),
    "no request of memory": (BILLING, without(*RESOURCES, "requests", "memory"), "requests.memory"),
    "no limit": (BILLING, without(*CONTAINER, "resources", "limits"), "limits.memory"),
    "a memory limit below its request": (BILLING, on(*RESOURCES, "limits", memory="64Mi"), "limits.memory"),
    "the same in other units": (BILLING, on(*RESOURCES, "limits", memory="100M"), "limits.memory"),
    "no securityContext": (BILLING, without(*CONTAINER, "securityContext"), "securityContext"),
    "a container that is root": (BILLING, on(*CONTAINER, "securityContext", runAsNonRoot=False), "runAsNonRoot"),
    "capabilities that stay": (BILLING, on(*CONTAINER, "securityContext", capabilities={}), "capabilities.drop"),
    "limits that differ": (BILLING, env("ARRAY_LIMIT", "128"), "ARRAY_LIMIT"),
    "a limit out of range": (BILLING, env("ARRAY_LIMIT", "5000"), "ARRAY_LIMIT"),
    "a limit that is no number": (BILLING, env("ARRAY_LIMIT", "many"), "ARRAY_LIMIT"),
    "a batch over its limit": (BILLING, env("ARCHIVE_BATCH", "65"), "ARCHIVE_BATCH"),
    "Serving before the function": (BILLING, on(*POD, timeoutSeconds=10), "timeoutSeconds"),
    "Serving before the end of draining": (BILLING, on(*POD, timeoutSeconds=22), "timeoutSeconds"),
    "Serving before the end of a wait": (("Service", "get-order"), on(*POD, timeoutSeconds=28), "timeoutSeconds"),
    "Serving before the end of a tick": (
        RESEND,
        on(*POD, timeoutSeconds=25),
        "timeoutSeconds",
    ),
    "ticks that overlap": (
        RESEND,
        on(*POD, timeoutSeconds=90),
        "timeoutSeconds",
    ),
    "Serving after the connection is closed": (
        ("Service", "get-user"),
        on(*POD, timeoutSeconds=300),
        "timeoutSeconds",
    ),
    "no time-out": (("Service", "get-user"), without("spec", "template", "spec", "timeoutSeconds"), "timeoutSeconds"),
    "ready when the port is open": (BILLING, without(*CONTAINER, "readinessProbe"), "readinessProbe"),
    "a probe that ends at once": (BILLING, on(*CONTAINER, "readinessProbe", timeoutSeconds=0), "readinessProbe"),
    "one event at a time": (BILLING, on(*POD, containerConcurrency=1), "containerConcurrency"),
    "a misspelt annotation": (
        BILLING,
        lambda service: service["spec"]["template"]["metadata"]["annotations"].update(
            {"autoscaling.knative.dev/minscale": "1"}
        ),
        "minscale",
    ),
    "an annotation of the Service": (
        BILLING,
        lambda service: service["metadata"].update(annotations={SCALE: "1"}),
        f"metadata.annotations {SCALE}",
    ),
    "what commonLabels leave": (BILLING, says(selector={"team": "a"}), "spec.selector"),
    "half of what verifies tokens": (
        ("Service", "get-user"),
        variables(AUTH_ISSUER="b", AUTH_AUDIENCE="c"),
        "AUTH_JWKS_URL",
    ),
    "an empty part of it": (
        ("Service", "get-user"),
        variables(AUTH_JWKS_URL="https://a/", AUTH_ISSUER="b", AUTH_AUDIENCE=""),
        "AUTH_AUDIENCE",
    ),
    # --- sources
    "no dead letter sink": (SOURCE, without(*DELIVERY, "deadLetterSink"), "deadLetterSink"),
    "no retry": (SOURCE, without(*DELIVERY, "retry"), "retry"),
    "no delivery": (SOURCE, without("spec", "delivery"), "deadLetterSink"),
    "retry 0": (SOURCE, delivers(retry=0), "retry"),
    "retries that are over before an election": (SOURCE, delivers(retry=3), "retry"),
    "a policy that is none": (SOURCE, delivers(backoffPolicy="random"), "backoffPolicy"),
    "a delay that is cut to nothing": (SOURCE, delivers(backoffDelay="PT0.05S"), "backoffDelay"),
    "a delay that is no duration": (SOURCE, delivers(backoffDelay="200ms"), "backoffDelay"),
    "KafkaSource before Serving": (SOURCE, delivers(timeout="PT20S"), "timeout"),
    "KafkaSource as long as Serving": (SOURCE, delivers(timeout="PT30S"), "timeout"),
    "a dead connection for ten minutes": (SOURCE, delivers(timeout="PT10M"), "timeout"),
    "no time-out of a delivery": (SOURCE, without(*DELIVERY, "timeout"), "timeout"),
    "latest": (SOURCE, says(initialOffset="latest"), "initialOffset"),
    "latest by default": (SOURCE, without("spec", "initialOffset"), "initialOffset"),
    "ordered": (SOURCE, says(ordering="ordered"), "ordering"),
    "no group": (SOURCE, without("spec", "consumerGroup"), "consumerGroup"),
    "the group of another": (("KafkaSource", "notify-handler"), says(consumerGroup="order-handler"), "consumerGroup"),
    "a source of no function": (SOURCE, on("spec", "sink", "ref", name="billing"), "sink.ref.name"),
    "a source of another namespace": (SOURCE, on("spec", "sink", "ref", namespace="other"), "sink.ref.name"),
    "a timer of no function": (TIMER, on("spec", "sink", "ref", name="gone"), "sink.ref.name"),
    "a source that calls nobody": (SOURCE, says(sink={}), "sink"),
    "a topic that nobody makes": (SOURCE, says(topics=["payment"]), "topics"),
    "no topic": (SOURCE, says(topics=[]), "topics"),
    "a sink of a topic that nobody makes": (("KafkaSink", "payments"), says(topic="payment"), "topic"),
    "more consumers than partitions": (SOURCE, says(consumers=11), "consumers"),
    "no consumer": (SOURCE, says(consumers=0), "consumers"),
    "a source of another Kafka": (SOURCE, says(bootstrapServers=["other:9092"]), "bootstrapServers"),
    "a sink of another Kafka": (("KafkaSink", "results"), says(bootstrapServers=["other:9092"]), "bootstrapServers"),
    # --- sinks, bindings, topics
    "a sink that owns its topic": (("KafkaSink", "payments"), says(numPartitions=10), "numPartitions"),
    "and its copies": (("KafkaSink", "payments"), says(replicationFactor=3), "replicationFactor"),
    "events that are written anew": (("KafkaSink", "payments"), says(contentMode="structured"), "contentMode"),
    "a binding without its subject": (
        BINDING,
        on("spec", "subject", name="order"),
        "subject.name",
    ),
    "two bindings of a Service": (
        BINDING,
        on("spec", "subject", name="billing-handler"),
        "subject.name",
    ),
    "a binding to nothing": (BINDING, on("spec", "sink", "ref", name="payment"), "sink.ref.name"),
    "dead letters to nothing": (
        SOURCE,
        delivers(deadLetterSink={"ref": {"kind": "KafkaSink", "name": "letters"}}),
        "deadLetterSink.ref.name",
    ),
    "replicas below those in sync": (PAYMENTS, says(replicas=1), "replicas"),
    "one broker is enough": (PAYMENTS, on("spec", "config", min___insync___replicas=1), "insync"),
    "no word of brokers": (PAYMENTS, without("spec", "config", "min.insync.replicas"), "insync"),
    "payments of a day": (PAYMENTS, on("spec", "config", retention___ms=DAY_MS), "retention.ms"),
    "dead letters of a week": (
        LETTERS,
        on("spec", "config", retention___ms=7 * DAY_MS),
        "retention.ms",
    ),
    "dead letters of no word": (LETTERS, without("spec", "config", "retention.ms"), "retention.ms"),
    "events up to a size": (RESULTS, on("spec", "config", retention___bytes=1000), "retention.bytes"),
    "the newest of each user": (RESULTS, on("spec", "config", cleanup___policy="compact"), "cleanup"),
    # --- timers, paths, placeholders
    "a tick each five minutes": (TIMER, says(schedule="*/5 * * * *"), "schedule"),
    "a tick each hour": (TIMER, says(schedule="@hourly"), "schedule"),
    "a tick at night alone": (TIMER, says(schedule="* 0-6 * * *"), "schedule"),
    "a path to nothing": (
        ("HTTPRoute", "shop"),
        on(*RULE, "filters", 0, "urlRewrite", hostname="create-user.other.svc.cluster.local"),
        "hostname",
    ),
    "a path to a consumer": (
        ("HTTPRoute", "shop"),
        on(*RULE, "filters", 0, "urlRewrite", hostname="billing-handler.shop.svc.cluster.local"),
        "hostname",
    ),
    "an image that is to be replaced": (BILLING, on(*CONTAINER, image="<registry>/shop:1"), "image"),
    "an image without a name": (BILLING, on(*CONTAINER, image="shop"), "image"),
    "an image of no version": (BILLING, on(*CONTAINER, image="dev.local/shop:latest"), "image"),
    "a host that is to be replaced": (("HTTPRoute", "shop"), says(hostnames=["shop.example.com"]), "hostnames"),
    "a value that is to be replaced": (BILLING, env("ARRAY_LIMIT", "CHANGE_ME"), "env[2].value"),
}


def broken(name: str) -> tuple[list[Document], Document]:
    """Return the shop with one thing broken, and the document that it was broken in."""
    (kind, called), change, _ = BROKEN[name]
    whole = shop()
    (document,) = (each for each in whole if (each.kind, each.name) == (kind, called))
    change(document.content)
    return whole, document


def test_nothing_is_found_in_what_is_whole() -> None:
    """The base with its topics and its public paths."""
    assert examine(shop()) == []


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_found_where_it_is(name: str) -> None:
    """A finding names the document and the field, and has words for what would happen and what to write."""
    whole, document = broken(name)
    field = BROKEN[name][2]
    found = [finding for finding in examine(whole) if finding.document is document and field in finding.field]
    assert found, [str(finding) for finding in examine(whole)]
    for finding in found:
        assert document.file in str(finding)
        assert finding.consequence
        assert finding.fix


def test_every_rule_finds_something() -> None:
    """None is left that no broken manifest of this list is for."""
    finds = {rule for name in BROKEN for rule in RULES if list(rule(Shop(broken(name)[0])))}
    for whole in (closed_to_kafka(), closed_to_kafka(but=SOURCE)):
        finds |= {rule for rule in RULES if list(rule(Shop(whole)))}
    assert {rule.__name__ for rule in RULES} == {rule.__name__ for rule in finds}


def closed_to_kafka(but: tuple[str, str] = ("", "")) -> list[Document]:
    """Return the shop with a password at Kafka, which one document lacks, and no token of customers."""
    whole = shop()
    for document in whole:
        if document.kind == "KafkaSink" and but != (document.kind, document.name):
            says(auth={"secret": {"ref": {"name": "kafka"}}})(document.content)
        if document.kind == "KafkaSource" and but != (document.kind, document.name):
            says(net={"tls": {"enable": True}})(document.content)
    return whole


@pytest.mark.parametrize(
    ("name", "field"),
    [(("KafkaSink", "results"), "spec.auth"), (("KafkaSource", "billing-handler"), "spec.net")],
)
def test_who_has_no_login_where_others_log_in_is_found(name: tuple[str, str], field: str) -> None:
    """What was listed behind the component that gives one."""
    assert (name[1], field) in {(each.document.name, each.field) for each in examine(closed_to_kafka(but=name))}


def test_a_tool_that_asks_another_kafka_or_has_no_login_is_found() -> None:
    """The console has an address of its own, which an overlay forgets, and is listed too late."""
    whole = closed_to_kafka()
    tool = next(each for each in whole if (each.kind, each.name) == BILLING)
    (usual,) = next(each for each in whole if each.kind == "KafkaSource").spec["bootstrapServers"]

    def found(**values: str) -> set[str]:
        variables(**values)(tool.content)
        return {each.field.rpartition(" ")[2] for each in examine(whole) if " KAFKA_" in each.field}

    assert found(KAFKA_BOOTSTRAP_SERVERS=f"{usual}1") == {"KAFKA_BOOTSTRAP_SERVERS", "KAFKA_SECURITY_PROTOCOL"}
    assert found(KAFKA_SECURITY_PROTOCOL="SASL_SSL") == {"KAFKA_BOOTSTRAP_SERVERS"}
    assert found(KAFKA_BOOTSTRAP_SERVERS=usual) == set()


def test_a_shop_that_is_closed_inside_and_open_to_customers_is_found() -> None:
    """What anybody may do there, by function; a laptop, which is closed nowhere, is not told."""
    found = {finding.document.name: str(finding) for finding in examine(closed_to_kafka())}
    assert found.keys() == {each.name for each in shop() if each.group == "serving.knative.dev"} - CLUSTER_LOCAL
    assert "whoever reaches the ingress adds to any balance: no token is demanded" in found["deposit-cash"]
    assert "acts for any user" in found["get-user"]
    assert all("components/auth" in text for text in found.values())


def test_one_function_that_was_forgotten_is_found() -> None:
    """All others demand tokens; a value from a ConfigMap is one."""
    whole = shop()
    given = {"AUTH_JWKS_URL": "https://a/keys", "AUTH_ISSUER": "b", "AUTH_AUDIENCE": "c"}
    for service in (each for each in whole if each.group == "serving.knative.dev"):
        if service.name != "deposit-cash":
            variables(**given)(service.content)
            container(service.content)["env"][-3] = {"name": "AUTH_JWKS_URL", "valueFrom": {"configMapKeyRef": {}}}
    (finding,) = examine(whole)
    assert finding.document.name == "deposit-cash"
    assert "demands one" in finding.consequence


CLUSTER_LOCAL = {"billing-handler", "order-handler", "notify-handler", "resend-orders"}


def test_two_limits_that_differ_are_one_finding() -> None:
    """It names both functions and both values."""
    whole, _ = broken("limits that differ")
    (finding,) = examine(whole)
    assert re.search(r"64 and 32 .* 128 and 32|128 and 32 .* 64 and 32", finding.consequence)


@pytest.mark.parametrize("place", ["KafkaTopic", "KafkaSink"])
def test_without_topics_what_is_written_counts(place: str) -> None:
    """The base alone makes no topic; a source of one that nobody writes to is found all the same."""
    whole = [document for document in shop() if document.kind != "KafkaTopic"]
    assert examine(whole) == []
    source = next(document for document in whole if document.kind == "KafkaSource")
    source.spec["topics"] = [place]
    assert [finding.field for finding in examine(whole)] == ["spec.topics"]


def test_topics_of_a_job_are_topics() -> None:
    """The table of the component `topics-job` is read as Strimzi's kind is."""
    table = "payments partitions=10 replicas=1 min.insync.replicas=2 retention.ms=1 # a comment\nresults partitions=2\n"
    job = Document("job.yaml", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {"topics": table}})
    whole = [document for document in shop() if document.kind != "KafkaTopic"]
    found = examine([*whole, job])
    assert {(finding.document.kind, finding.field) for finding in found} == {
        ("ConfigMap", "data.topics, payments replicas"),
        ("ConfigMap", "data.topics, payments retention.ms"),
        ("KafkaSink", "spec.topic"),  # dead-letters
    }


def test_a_finding_is_read_from_top_to_bottom() -> None:
    """File, document and field; what would happen; what to write."""
    document = Document("a.yaml", {"kind": "Service", "metadata": {"name": "b"}})
    assert str(Finding(document, "spec", "it ends", "begin")) == "a.yaml: Service/b: spec\n  it ends\n  fix: begin"

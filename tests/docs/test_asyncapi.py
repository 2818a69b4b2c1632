"""docs/asyncapi.yaml says which events travel, and how: the same as code, manifests and schema/events.proto."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from jsonschema import Draft7Validator, Draft202012Validator

from local.settings import Settings
from shop.emission.emit import _data, _headers
from shop.messages import EVENTS, SOURCES, TOPICS, Event
from shop.process.version import VERSION
from shop.schema import events_pb2
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested
from tests.support.functions import FUNCTIONS
from tests.support.manifests import ROOT, documents
from wire.event import parse

DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads((Path(__file__).parent / "asyncapi" / "3.0.0.json").read_text(encoding="utf-8"))
CHANNELS, OPERATIONS, PARTS = DOCUMENT["channels"], DOCUMENT["operations"], DOCUMENT["components"]

kinds = pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.DESCRIPTOR.name)

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
REQUESTED = PaymentRequested(user="Павел", basket="66f0c1d2e3a4b5c6d7e8f901", number=1, attempt=2, sum=10, epoch=3)
DECIDED = PaymentDecided(user="Павел", basket="66f0c1d2e3a4b5c6d7e8f901", number=1, attempt=2, sum=10, outcome=1)
REQUESTED.ordered_at.FromMilliseconds(1_795_000_000_250)
DECIDED.decided_at.FromMilliseconds(1_795_000_000_000)


def resolved(item: Any) -> Any:
    """Return the document, or a part of it, with what its references lead to in their places."""
    if isinstance(item, list):
        return [resolved(each) for each in item]
    if not isinstance(item, dict):
        return item
    if "$ref" not in item:
        return {name: resolved(each) for name, each in item.items()}
    found: Any = DOCUMENT
    for name in item["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return resolved(found)


def test_it_is_asyncapi() -> None:
    """As the specification's own schema says."""
    Draft7Validator(SCHEMA).validate(DOCUMENT)
    assert DOCUMENT["asyncapi"] == "3.0.0"


def test_its_version_is_the_project_s() -> None:
    """It is released with the code that it describes."""
    assert DOCUMENT["info"]["version"] == VERSION


def test_the_channels_are_the_topics_of_the_manifests() -> None:
    """With their sizes and how long they keep an event."""
    topics = {topic.spec["topicName"]: topic.spec for topic in documents("KafkaTopic")}
    assert CHANNELS.keys() == topics.keys()
    for name, topic in topics.items():
        told = CHANNELS[name]["bindings"]["kafka"]
        assert (CHANNELS[name]["address"], told["topic"]) == (name, name)
        assert (told["partitions"], told["replicas"]) == (topic["partitions"], topic["replicas"])
        assert told["topicConfiguration"] == topic["config"]


def test_the_servers_are_those_of_the_manifests_and_of_one_machine() -> None:
    """Nobody looks for Kafka elsewhere."""
    (servers,) = {tuple(source.spec["bootstrapServers"]) for source in documents("KafkaSource", "KafkaSink")}
    assert [DOCUMENT["servers"]["cluster"]["host"]] == list(servers)
    assert DOCUMENT["servers"]["machine"]["host"] == f"127.0.0.1:{Settings().kafka_port}"


def test_the_operations_are_what_the_functions_take_and_emit() -> None:
    """Each by its label, with its consumer group; only KafkaSource writes dead letters."""
    expected = {"dead_letters_sends": ("send", "dead-letters", None)}
    for name, function in FUNCTIONS.items():
        if function.topic:
            expected[f"{name}_receives"] = ("receive", function.topic, function.deployed)
        if function.label.emits:
            expected[f"{name}_sends"] = ("send", TOPICS[function.label.emits], None)
    told = {}
    for name, operation in OPERATIONS.items():
        group = operation.get("bindings", {}).get("kafka", {}).get("groupId", {}).get("const")
        told[name] = (operation["action"], operation["channel"]["$ref"].rpartition("/")[2], group)
        assert resolved(operation["messages"]) == list(resolved(operation["channel"])["messages"].values())
    assert told == expected
    groups = {source.spec["consumerGroup"] for source in documents("KafkaSource")}
    assert groups == {group for _, _, group in told.values() if group}


@kinds
def test_a_channel_has_the_messages_of_its_topic(kind: type[Event]) -> None:
    """Each event has one topic, and is described once beside what becomes of it as a dead letter."""
    name = kind.DESCRIPTOR.name
    assert list(CHANNELS[TOPICS[kind]]["messages"]) == [name]
    assert name in CHANNELS["dead-letters"]["messages"]


@pytest.mark.parametrize("event", [REQUESTED, DECIDED], ids=["PaymentRequested", "PaymentDecided"])
def test_the_described_headers_are_those_of_what_is_emitted(event: Event) -> None:
    """As a record has them; and each that is described is there, or may be left out."""
    headers = record_headers(event, TRACE)
    message = resolved(PARTS["messages"][event.DESCRIPTOR.name])
    Draft202012Validator(message["headers"]).validate(headers)
    for wrong in ({"ce_id": "1"}, {"ce_type": "other"}, {"ce_source": "/elsewhere"}, {"content-type": "text/plain"}):
        assert not Draft202012Validator(message["headers"]).is_valid(headers | wrong)
    attributes = PARTS["schemas"]["Attributes"]
    assert headers.keys() == attributes["properties"].keys() | {"ce_type", "ce_source"}
    assert record_headers(event, None).keys() == set(attributes["required"])
    (source,) = {part["properties"]["ce_source"]["const"] for part in message["headers"]["allOf"][1:]}
    assert source == SOURCES[type(event)]


def record_headers(event: Event, trace: str | None) -> dict[str, str]:
    """Return the attributes of an event as the headers of its record."""
    sent = {name: value for name, value in _headers(event, trace).items() if name != "traceparent"}
    return dict(parse(sent.items(), _data(event), "ce-").headers("ce_"))


def test_a_dead_letter_is_described_as_kafka_source_makes_it() -> None:
    """It adds these attributes, and no others."""
    added = set(re.findall(r'"(knativeerror\w+)"', (ROOT / "wire" / "delivery.py").read_text()))
    assert {f"ce_{name}" for name in added} == PARTS["schemas"]["DeadLetter"]["properties"].keys()


def without_options(proto: str) -> str:
    """Return what is of use to others: a .proto that needs no file of ours."""
    proto = re.sub(r'^import "shop/schema/options.proto";\n', "", proto, flags=re.MULTILINE)
    proto = re.sub(r"^  option \(options\.v1\..*\n", "", proto, flags=re.MULTILINE)
    proto = re.sub(r" \[\(options\.v1[^;]*\](?=;)", "", proto)
    return re.sub(r"(?<= \{\n)\n+", "", proto)


@kinds
def test_the_payload_is_schema_events_proto(kind: type[Event]) -> None:
    """Word for word, with a mark at the message that is meant."""
    name = kind.DESCRIPTOR.name
    proto = without_options((ROOT / "schema" / "events.proto").read_text())
    marked = proto.replace(f"\nmessage {name} ", f"\n// @RootNode\nmessage {name} ")
    assert PARTS["schemas"][name]["schema"].rstrip() == marked.rstrip()


@kinds
def test_the_payload_is_understood_without_a_file_of_ours(kind: type[Event], tmp_path: Path) -> None:
    """Protobuf makes the same fields of it, with the same numbers."""
    (tmp_path / "events.proto").write_text(PARTS["schemas"][kind.DESCRIPTOR.name]["schema"])
    included = Path(protoc.__file__).parent / "_proto"
    out = tmp_path / "out"
    status = protoc.main(["protoc", f"-I{tmp_path}", f"-I{included}", f"--descriptor_set_out={out}", "events.proto"])
    assert status == 0
    (made,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    ours = descriptor_pb2.FileDescriptorProto()
    events_pb2.DESCRIPTOR.CopyToProto(ours)
    assert described(made) == described(ours)
    assert list(made.enum_type) == list(ours.enum_type)


def described(file: descriptor_pb2.FileDescriptorProto) -> dict[str, list[tuple[str, int, int, str]]]:
    """Return the messages of a file, each with the names, numbers and types of its fields."""
    return {
        f"{file.package}.{message.name}": [
            (field.name, field.number, field.type, field.type_name) for field in message.field
        ]
        for message in file.message_type
    }

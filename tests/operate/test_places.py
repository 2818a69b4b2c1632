"""Where things are: a stack says it by itself, a cluster is named, and what cannot be reached ends with exit code 2."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from local import folder
from local.folder import ADDRESSES
from local.ports import Ports
from local.stack import Stack
from operate.errors import WrongUse
from operate.places import CONSUMERS, OPTIONAL, NotTold, Places, find
from shop.state import SERVICES
from tests.operate.command import Orders, hasty
from tests.support.kustomize import COMPONENTS
from tests.support.manifests import documents, documents_in
from tests.support.stack_fixtures import free
from wire.login import MECHANISM, PASSWORD, PROTOCOL, USERNAME


@contextmanager
def addresses(of: Path, said: object) -> Iterator[None]:
    """Have a stack run in a folder, as far as its lock and its addresses say."""
    text = said if isinstance(said, str) else json.dumps(said)
    with folder.take(of):
        (of / ADDRESSES).write_bytes(text.encode(errors="surrogateescape"))
        yield


def in_folder(folder: Path, **environment: str) -> Places:
    """Find the places of somebody whose stack is, or would be, in this folder."""
    return find({"LOCAL_DIR": str(folder), **environment})


def test_without_a_word_nothing_is_looked_at(tmp_path: Path) -> None:
    """Whatever listens on the ports of `make run` may be another stack's: no place is guessed."""
    places = in_folder(tmp_path / "no stack")
    for ask in (
        lambda: places.databases,
        lambda: places.kafka,
        lambda: places.sink("payments"),
        lambda: places.function("billing-handler"),
    ):
        with pytest.raises(NotTold, match=f"nothing says where .* no stack runs in {tmp_path / 'no stack'}"):
            ask()


def test_what_a_stopped_stack_has_left_is_not_believed(tmp_path: Path) -> None:
    """Its ports may be another's by now."""
    with addresses(tmp_path, {"mongodb_uri": "mongodb://127.0.0.1:1"}):
        assert in_folder(tmp_path).databases["orders"].at == "mongodb://127.0.0.1:1"
    with pytest.raises(NotTold, match="no stack runs"):
        _ = in_folder(tmp_path).databases


@pytest.mark.parametrize("left", ["{", "[]", '{"sinks": 1}', '{"mongodb_uri": 1}', "[" * 100_000, "\udcff"])
def test_addresses_that_cannot_be_read_are_named(tmp_path: Path, left: str) -> None:
    """With the file, and what to do."""
    with addresses(tmp_path, left), pytest.raises(WrongUse, match=r"addresses\.json cannot be read: .*make run"):
        in_folder(tmp_path)


def test_a_cluster_is_named_by_templates_and_a_file(tmp_path: Path) -> None:
    """Each database may be somewhere else, and Kafka may want a login."""
    config = tmp_path / "kafka.properties"
    config.write_text("# a comment\nsecurity.protocol = SASL_SSL\nsasl.password=a=b\n")
    places = find(
        {
            "LOCAL_DIR": str(tmp_path),
            "BILLING_MONGODB_URI": "mongodb://billing",
            "SINK_URL": "http://sinks/shop/{name}",
        },
        mongodb_uri="mongodb://all",
        kafka="broker:9093",
        kafka_config=str(config),
        function_url="http://{name}.shop.svc",
    )
    named = {service: address.at for service, address in places.databases.items()}
    assert named == {"orders": "mongodb://all", "billing": "mongodb://billing", "notify": "mongodb://all"}
    assert places.kafka == {"bootstrap.servers": "broker:9093", "security.protocol": "SASL_SSL", "sasl.password": "a=b"}
    assert places.sink("results") == "http://sinks/shop/results"
    assert places.function("order-handler") == "http://order-handler.shop.svc"
    assert places.consumer_at("http://order-handler.shop.svc/") == "order-handler"
    assert places.consumer_at("http://notify-handler.shop.svc.cluster.local") == "notify-handler"
    assert places.consumer_at("http://somebody.else") is None


LOGIN = {PROTOCOL: "SASL_SSL", MECHANISM: "PLAIN", USERNAME: "ann", PASSWORD: "secret"}


def test_a_login_to_kafka_may_stand_in_the_environment(tmp_path: Path) -> None:
    """A file comes first, line by line; half of a login is wrong use, and nobody is shown the password."""
    places = in_folder(tmp_path, KAFKA_BOOTSTRAP_SERVERS="k:9093", **LOGIN)
    said = {"bootstrap.servers": "k:9093", "security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}
    assert places.kafka == {**said, "sasl.username": "ann", "sasl.password": "secret"}
    assert "secret" not in repr(places) + str(places)
    (tmp_path / "kafka.properties").write_text("sasl.username=bob\n")
    config = str(tmp_path / "kafka.properties")
    filed = in_folder(tmp_path, KAFKA_BOOTSTRAP_SERVERS="k:9093", KAFKA_CONFIG=config, **LOGIN)
    assert filed.kafka == {**said, "sasl.username": "bob", "sasl.password": "secret"}
    with pytest.raises(WrongUse, match=f"SASL_SSL, but not {PASSWORD}: "):
        in_folder(tmp_path, **{**LOGIN, PASSWORD: ""})


def test_the_consumers_are_those_of_the_manifests() -> None:
    """Each KafkaSource calls one, with the events of its topic, as a group of the same name."""
    sources = {
        source.spec["sink"]["ref"]["name"]: (source.spec["topics"], source.spec["consumerGroup"])
        for source in documents("KafkaSource")
    }
    assert sources == {name: ([consumer.topic], name) for name, consumer in CONSUMERS.items()}
    assert {consumer.service for consumer in CONSUMERS.values()} == set(SERVICES)
    added = {
        source.spec["sink"]["ref"]["name"]: (source.spec["topics"], source.spec["consumerGroup"])
        for component in COMPONENTS
        for source in documents_in(component)
        if isinstance(source.content, dict)
        and source.kind == "KafkaSource"
        and "topics" in source.content.get("spec", {})
    }
    assert added == {name: ([consumer.topic], name) for name, consumer in OPTIONAL.items()}


def test_a_template_has_a_place_for_the_name() -> None:
    """Else all sinks would be one."""
    with pytest.raises(WrongUse, match="must be a template"):
        find({}, sink_url="http://sinks/payments")


async def test_a_stack_says_where_it_is(stack: Stack) -> None:
    """Everything, in the folder that LOCAL_DIR names."""
    places = in_folder(stack.folder)
    assert places.databases["notify"].at == stack.mongodb_uri
    assert places.kafka["bootstrap.servers"] == stack.kafka_bootstrap_servers
    assert places.sink("dead-letters") == stack.sink_url("dead-letters")
    assert places.function("order-handler") == stack.function_url("order-handler")
    assert places.consumer_at(stack.function_url("notify-handler")) == "notify-handler"


def test_functions_are_where_they_were_before_a_restart(tmp_path: Path) -> None:
    """A dead letter names the URL of the function that refused it."""
    before = f"http://127.0.0.1:{Ports().free()}"
    (tmp_path / ADDRESSES).write_text(json.dumps({"functions": {"billing-handler": before}}))
    assert Stack(free(tmp_path)).function_url("billing-handler") == before


def test_a_port_that_somebody_has_taken_meanwhile_is_not_insisted_on(tmp_path: Path) -> None:
    """A restart never fails over it; nor over a file that was written in half."""
    ports = Ports()
    taken = ports.free()
    assert ports.again(taken) != taken
    assert ports.again(None) > 0
    (tmp_path / ADDRESSES).write_text('{"functions": {')
    assert Stack(free(tmp_path)).function_url("billing-handler")


def test_an_option_counts_before_a_file_and_a_file_before_a_stack(tmp_path: Path) -> None:
    """What was said last, and nearest, is what was meant."""
    config = tmp_path / "kafka.properties"
    config.write_text("bootstrap.servers=in-the-file:1\n")
    with addresses(tmp_path, {"kafka_bootstrap_servers": "in-the-stack:1"}):
        with_file = {"LOCAL_DIR": str(tmp_path), "KAFKA_CONFIG": str(config)}
        assert in_folder(tmp_path).kafka["bootstrap.servers"] == "in-the-stack:1"
        assert find(with_file).kafka["bootstrap.servers"] == "in-the-file:1"
        with_variable = {**with_file, "KAFKA_BOOTSTRAP_SERVERS": "in-the-environment:1"}
        assert find(with_variable).kafka["bootstrap.servers"] == "in-the-environment:1"
        assert find(with_variable, kafka="said:1").kafka["bootstrap.servers"] == "said:1"


def test_a_stack_counts_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """A cluster's orders are never repaired through the topics of a stack that happens to run in this folder."""
    stack = {
        "mongodb_uri": "mongodb://127.0.0.1:1/?directConnection=true",
        "kafka_bootstrap_servers": "127.0.0.1:2",
        "sinks": {"payments": "http://127.0.0.1:3"},
    }
    with addresses(tmp_path, stack):
        here = {"LOCAL_DIR": str(tmp_path)}
        its_own = find(here, mongodb_uri="mongodb://127.0.0.1:1")  # the stack's own, said again
        assert its_own.sink("payments") == "http://127.0.0.1:3"
        assert find(here, kafka="127.0.0.1:2").sink("payments") == "http://127.0.0.1:3"
        assert find(here, sink_url="http://s/{name}").kafka["bootstrap.servers"] == "127.0.0.1:2"
        elsewhere = find(here, mongodb_uri="mongodb://cluster")
        for ask in (lambda: elsewhere.kafka, lambda: elsewhere.sink("payments")):
            with pytest.raises(NotTold, match="is of another shop than --mongodb-uri, so it is left aside"):
                ask()
        with pytest.raises(NotTold, match="is of another shop than --kafka"):
            _ = find(here, kafka="cluster:9092").databases
        with pytest.raises(NotTold, match=r"the MongoDB of orders is.*is of another shop than BILLING_MONGODB_URI"):
            _ = in_folder(tmp_path, BILLING_MONGODB_URI="mongodb://cluster").databases


async def test_what_cannot_be_reached_is_exit_code_2(tmp_path: Path) -> None:
    """MongoDB, Kafka: nothing was found out, in one line without a trace."""
    nowhere = Orders({"LOCAL_DIR": str(tmp_path)}, hasty)
    with addresses(tmp_path, {"mongodb_uri": "mongodb://127.0.0.1:1", "kafka_bootstrap_servers": "127.0.0.1:1"}):
        run = await nowhere("event", "record", "--topic", "payments")
        assert run.code == 2
        assert run.err.splitlines()[1:] == ["Kafka does not answer: 127.0.0.1:1: Connection refused"]
        run = await nowhere("event", "show", "0" * 24)
        assert run.code == 2
        assert run.err.splitlines()[1:] == ["MongoDB does not answer: 127.0.0.1:1: [Errno 111] Connection refused"]
    with addresses(tmp_path, "{"):
        assert (await nowhere("event", "show", "0" * 24)).code == 2

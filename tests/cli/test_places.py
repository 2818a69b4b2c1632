"""Where things are: a stack says it by itself, a cluster is named, and what cannot be reached ends with exit code 2."""

import json
from pathlib import Path

import pytest

from cli import databases, topics
from cli.output import WrongUse
from cli.places import find
from local.ports import Ports
from local.stack import ADDRESSES, Stack
from tests.cli.command import Orders
from tests.stack_fixtures import free


@pytest.fixture(autouse=True)
def nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide this machine's environment and stack."""
    for name in ("MONGODB_URI", "ORDERS_MONGODB_URI", "BILLING_MONGODB_URI", "NOTIFY_MONGODB_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCAL_DIR", str(tmp_path / "no stack"))


def test_without_a_word_the_defaults_of_one_machine_hold() -> None:
    """The fixed ports are those of `make run`; the functions' are free ones, which only a stack knows."""
    places = find()
    assert set(places.mongodb_uris.values()) == {"mongodb://127.0.0.1:27117/?directConnection=true"}
    assert places.kafka == {"bootstrap.servers": "127.0.0.1:19092"}
    assert places.sink("payments") == "http://127.0.0.1:18081/shop/payments"
    with pytest.raises(WrongUse, match="make run"):
        places.function("billing-handler")


def test_a_cluster_is_named_by_templates_and_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each database may be somewhere else, and Kafka may want a login."""
    monkeypatch.setenv("BILLING_MONGODB_URI", "mongodb://billing")
    config = tmp_path / "kafka.properties"
    config.write_text("# a comment\nsecurity.protocol = SASL_SSL\nsasl.password=a=b\n")
    places = find("mongodb://all", "broker:9093", config, "http://sinks/shop/{name}", "http://{name}.shop.svc")
    assert places.mongodb_uris == {"orders": "mongodb://all", "billing": "mongodb://billing", "notify": "mongodb://all"}
    assert places.kafka == {"bootstrap.servers": "broker:9093", "security.protocol": "SASL_SSL", "sasl.password": "a=b"}
    assert places.sink("results") == "http://sinks/shop/results"
    assert places.function("order-handler") == "http://order-handler.shop.svc"
    assert places.consumer_at("http://order-handler.shop.svc/") == "order-handler"
    assert places.consumer_at("http://notify-handler.shop.svc.cluster.local") == "notify-handler"
    assert places.consumer_at("http://somebody.else") is None


def test_a_template_has_a_place_for_the_name() -> None:
    """Else all sinks would be one."""
    with pytest.raises(WrongUse, match="must be a template"):
        find(sink_url="http://sinks/payments")


async def test_a_stack_says_where_it_is(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything, in the folder that LOCAL_DIR names."""
    monkeypatch.setenv("LOCAL_DIR", str(stack.folder))
    places = find()
    assert places.mongodb_uris["notify"] == stack.mongodb_uri
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


async def test_what_cannot_be_reached_is_exit_code_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MongoDB, Kafka: nothing was found out, in one line without a trace."""
    monkeypatch.setattr(databases, "SELECTION_TIMEOUT_MS", 200)
    monkeypatch.setattr(topics, "CONNECT_TIMEOUT_S", 0.2)
    (tmp_path / ADDRESSES).write_text(
        json.dumps({"mongodb_uri": "mongodb://127.0.0.1:1", "kafka_bootstrap_servers": "127.0.0.1:1"})
    )
    nowhere = Orders({"LOCAL_DIR": str(tmp_path)})
    run = await nowhere("event", "record", "--topic", "payments")
    assert run.code == 2
    assert "Kafka does not answer" in run.err
    run = await nowhere("event", "show", "0" * 24)
    assert run.code == 2
    assert "MongoDB does not answer" in run.err
    (tmp_path / ADDRESSES).write_text("{")
    assert (await nowhere("event", "show", "0" * 24)).code == 2

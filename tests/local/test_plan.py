"""What runs where follows from manifests, settings and ports; no machine is needed to see it."""

from dataclasses import replace
from pathlib import Path

import pytest

from local import manifests
from local.manifests import Ref
from local.plan import Plan
from local.settings import Settings
from wire.login import PASSWORD

PORTS = {"PORT": 80, "SINK_PORT": 81, "MONGODB_PORT": 82, "KAFKA_PORT": 83}


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The manifests as they are, each function on a port of its own, and one variable more for billing_handler."""
    read = manifests.read(Settings.manifests)
    functions = {service.name: 1000 + number for number, service in enumerate(read.services)}
    return Plan(Settings(folder=Path("/s")), read, PORTS, functions, {"billing-handler": {"ARRAY_LIMIT": "4"}})


def test_a_function_is_told_what_manifest_binding_and_override_say(plan: Plan) -> None:
    """Its port, its names, the one MongoDB, the sink that it is bound to; an override wins."""
    environment = {service.name: plan.environment(service) for service in plan.manifests.services}
    billing = environment["billing-handler"]
    assert billing["PORT"] == str(plan.function_ports["billing-handler"])
    assert (billing["K_SERVICE"], billing["K_REVISION"]) == ("billing-handler", "billing-handler-00001")
    assert billing["MONGODB_URI"] == plan.mongodb_uri == "mongodb://127.0.0.1:82/?replicaSet=shop"
    assert (billing["K_SINK"], billing["K_CE_OVERRIDES"]) == ("http://127.0.0.1:81/shop/results", "")
    assert billing["ARRAY_LIMIT"] == "4"
    assert environment["order-handler"].get("ARRAY_LIMIT") != "4"
    assert "K_SINK" not in environment["get-basket"]


def test_an_operators_tool_is_told_of_the_folder_of_the_stack() -> None:
    """Where a cluster's Kafka, sinks and functions are, nobody here could reach."""
    read = manifests.read(Settings.manifests / "operated")
    ports = {service.name: 1000 + number for number, service in enumerate(read.services)}
    operated = Plan(Settings(folder=Path("/s")), read, PORTS, ports, {})
    (console,) = (service for service in read.services if service.name == "console")
    assert not console.public
    told = operated.environment(console)
    assert told["LOCAL_DIR"] == "/s"
    assert told["BILLING_MONGODB_URI"] == operated.mongodb_uri
    assert not {"KAFKA_BOOTSTRAP_SERVERS", "SINK_URL", "FUNCTION_URL", "TRACE_URL"} & told.keys()
    traced = replace(operated, ports={**PORTS, "ZIPKIN_PORT": 99}).environment(console)
    assert traced["TRACE_URL"] == "http://127.0.0.1:99/zipkin/traces/{trace}"
    assert "console" not in {service.name for service in manifests.read(Settings.manifests).services}


def test_a_login_to_kafka_is_for_an_operators_tool_and_no_function_and_no_file() -> None:
    """The files of the stand-ins lie in the folder of the stack, where others may read."""
    read = manifests.read(Settings.manifests / "operated")
    ports = {service.name: 1000 + number for number, service in enumerate(read.services)}
    settings = Settings(kafka_bootstrap_servers="k:9092", kafka_login={PASSWORD: "secret"})
    plan = Plan(settings, read, {"PORT": 80, "SINK_PORT": 81, "MONGODB_PORT": 82}, ports, {})
    told = {service.name: plan.environment(service) for service in read.services}
    assert {name for name, variables in told.items() if variables.get(PASSWORD) == "secret"} == {"console"}
    assert "secret" not in repr((plan.addresses(), plan.kafka_sink(), plan.kafka_source()))


def test_the_stand_ins_are_told_addresses_in_place_of_references(plan: Plan) -> None:
    """A source knows the function and the dead letters by URL."""
    (billing,) = (each for each in plan.kafka_source()["sources"] if each["name"] == "billing-handler")
    assert billing["sink_url"] == plan.address(Ref("Service", "shop", "billing-handler"))
    assert billing["delivery"]["dead_letter_sink_url"] == plan.sink_url("dead-letters")
    assert plan.kafka_sink()["port"] == 81
    assert {plan.kafka_sink()["bootstrap_servers"], plan.kafka_source()["bootstrap_servers"]} == {"127.0.0.1:83"}


def test_what_runs_elsewhere_is_used_in_place_of_our_own(plan: Plan) -> None:
    """The addresses that `orders` reads say so, too."""
    settings = Settings(mongodb_uri="mongodb://elsewhere", kafka_bootstrap_servers="elsewhere:9092")
    fixed = {name: PORTS[name] for name in settings.ports}
    elsewhere = Plan(settings, plan.manifests, fixed, plan.function_ports, {})
    told = elsewhere.addresses()
    assert (told["mongodb_uri"], told["kafka_bootstrap_servers"]) == ("mongodb://elsewhere", "elsewhere:9092")
    assert told["functions"].keys() == plan.function_ports.keys()
    assert all(elsewhere.environment(each)["MONGODB_URI"] == "mongodb://elsewhere" for each in plan.manifests.services)

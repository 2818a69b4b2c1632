"""The values in the manifests, held to what each of them is for: what is wrong here shows only in a bad hour."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from functions.resend_orders import main as resend_orders
from local.servers import envoy, parts
from local.stand_ins.schedule import Schedule
from shop import orders, serve
from shop.doctor.assumed import ASSUMED
from shop.edge import handling, wait
from shop.emission import sink
from shop.process import settings
from shop.store.client import DEADLINE_S
from tests.support.functions import FUNCTIONS, triggered
from tests.support.manifests import Document, delivery, documents, waits_s
from wire.delivery import duration_s

services = pytest.mark.parametrize("document", documents("Service"), ids=str)
sources = pytest.mark.parametrize("document", documents("KafkaSource"), ids=str)
topics = pytest.mark.parametrize("document", documents("KafkaTopic"), ids=str)

CONSUMERS = {function.deployed for function in triggered("event").values()}
ELECTION_S = 12
"""MongoDB elects another primary within 10 s of silence, and the driver notices."""

IN_FLIGHT = 50
"""Events that one dispatcher has in flight; 94 seen at most."""


# --- Services --------------------------------------------------------------------------------------------------------


@services
def test_what_is_fed_by_kafka_is_always_there_and_what_customers_call_scales_to_zero(document: Document) -> None:
    """An event would wait for a cold start with all that is behind it; a HTTP function idles most of the day."""
    annotations = document.spec["template"].get("metadata", {}).get("annotations", {})
    assert annotations.get("autoscaling.knative.dev/min-scale") == ("1" if document.name in CONSUMERS else None)


@services
def test_customers_reach_what_has_a_path_and_nothing_else(document: Document) -> None:
    """A consumer that the world can call would charge for a forged event."""
    public = {rule["matches"][0]["path"]["value"] for route in documents("HTTPRoute") for rule in route.spec["rules"]}
    hosts = {
        rule["filters"][0]["urlRewrite"]["hostname"].partition(".")[0]
        for route in documents("HTTPRoute")
        for rule in route.spec["rules"]
    }
    assert len(public) == len(hosts)
    hidden = "networking.knative.dev/visibility" in document.content["metadata"].get("labels", {})
    assert hidden == (document.name not in hosts)


@services
def test_a_function_takes_as_many_requests_as_come(document: Document) -> None:
    """With a limit the queue-proxy answers 503 when its own queue is full: each of them a retry of KafkaSource."""
    assert document.spec["template"]["spec"]["containerConcurrency"] == 0


@services
def test_a_function_is_ready_when_its_own_health_check_says_so(document: Document) -> None:
    """Knative's default would look at the port alone."""
    assert document.container["readinessProbe"] == {"httpGet": {"path": "/healthz"}}


@services
def test_a_function_asks_for_what_it_has_idle_and_cannot_take_a_node(document: Document) -> None:
    """An idle process has some 60 MB; the limit is far above a burst, and ends a leak before others feel it."""
    resources = document.container["resources"]
    assert resources == {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}}


@services
def test_the_connection_string_is_the_secrets_uri(document: Document) -> None:
    """The key that README names."""
    (reference,) = (
        variable["valueFrom"]["secretKeyRef"]
        for variable in document.container["env"]
        if variable["name"] == "MONGODB_URI"
    )
    assert reference["key"] == "uri"


@services
def test_arrays_have_the_bounds_that_the_code_has_without_a_word(document: Document) -> None:
    """So a function run by hand, and both functions of one account, archive alike."""
    env = {variable["name"]: variable.get("value") for variable in document.container["env"]}
    if "ARRAY_LIMIT" in env:
        assert (env["ARRAY_LIMIT"], env["ARCHIVE_BATCH"]) == ("64", "32")


# --- time-outs -------------------------------------------------------------------------------------------------------


def timeout_s(document: Document) -> int:
    """Return what Serving gives a request of this Service, and its container to end."""
    return int(document.spec["template"]["spec"]["timeoutSeconds"])


def test_all_that_a_function_waits_for_fits_in_its_own_deadline() -> None:
    """MongoDB's deadline and the sink's, one after the other, with time left to answer and log."""
    assert DEADLINE_S + sink.TIMEOUT_S + 1 <= handling.DEADLINE_S


@services
def test_a_function_answers_before_serving_does_for_it(document: Document) -> None:
    """A body that takes its time, then the work. Serving's 504 would cut it off, and say nothing of what was done."""
    assert timeout_s(document) > handling.BODY_S + handling.DEADLINE_S


@services
def test_a_client_that_waits_is_answered_before_serving_does_it(document: Document) -> None:
    """However late its body came and however long the work took, and then there is still time to wait."""
    assert handling.BODY_S + handling.DEADLINE_S + 5 < wait.ANSWERED_AFTER_S < timeout_s(document)
    assert wait.LONGEST_S < wait.ANSWERED_AFTER_S


def test_a_tick_of_resend_ends_with_its_last_basket() -> None:
    """Claimed at the last moment, emitted in vain and made due again: all of it before the tick is cut off."""
    last_s = DEADLINE_S + sink.TIMEOUT_S + DEADLINE_S
    (service,) = (document for document in documents("Service") if document.name == "resend-orders")
    assert resend_orders.WORK_S + last_s < resend_orders.DEADLINE_S < timeout_s(service)


@services
def test_what_is_in_flight_at_sigterm_may_end_before_kubernetes_kills(document: Document) -> None:
    """Serving gives a container as long to end as a request; draining takes a body's time, a function's, and some."""
    assert handling.BODY_S + handling.DEADLINE_S < serve.DRAIN_S < timeout_s(document)
    assert serve.DRAIN_S < parts.STOP_TIMEOUT_S  # the same on one machine


@services
def test_a_health_check_answers_before_the_probe_gives_up(document: Document) -> None:
    """A probe waits for a second unless it says otherwise; the check looks into MongoDB, which may be away."""
    assert document.container["readinessProbe"].get("timeoutSeconds", 1) > handling.HEALTH_S


@sources
def test_kafkasource_waits_longer_than_any_function_takes(document: Document) -> None:
    """Else it would deliver again what is being done: twice the work, just when things are slow."""
    (service,) = (each for each in documents("Service") if each.name == document.name)
    assert duration_s(document.spec["delivery"]["timeout"]) >= 2 * timeout_s(service)
    assert (
        duration_s(document.spec["delivery"]["timeout"]) <= 60
    )  # a dead connection holds a place of the source so long


def test_a_proxy_closes_an_idle_connection_before_the_function_does() -> None:
    """Else a request may meet a connection that is just being closed, and a POST is not repeated by a proxy."""
    config = str(envoy._cluster("create-order", 1))
    idle = re.search(r"'idle_timeout': '(\d+)s'", config)
    assert idle is not None
    assert int(idle[1]) < serve.KEEP_ALIVE_S
    assert serve.KEEP_ALIVE_S > 90  # Go's HTTP client, which Knative's activator and queue-proxy use


def test_the_doctor_assumes_what_the_code_does() -> None:
    """Its numbers are a copy: it imports nothing that a function runs."""
    assert ASSUMED.sink_s == sink.TIMEOUT_S
    assert ASSUMED.mongodb_s == DEADLINE_S
    assert ASSUMED.function_s == handling.DEADLINE_S
    assert ASSUMED.body_s == handling.BODY_S
    assert ASSUMED.health_s == handling.HEALTH_S
    assert ASSUMED.tick_s == resend_orders.DEADLINE_S
    assert ASSUMED.answered_s == wait.ANSWERED_AFTER_S
    assert set(ASSUMED.admins) == {name for name, each in FUNCTIONS.items() if each.label.needs == "admin"}
    assert set(ASSUMED.waiting) == {name for name, each in FUNCTIONS.items() if each.label.waits}
    assert (ASSUMED.drain_s, ASSUMED.keep_alive_s) == (serve.DRAIN_S, serve.KEEP_ALIVE_S)
    assert ASSUMED.resend_after_s == orders.RESEND_AFTER_MS / 1000
    assert ASSUMED.array_limit == (settings.ArrayLimits.limit, settings.ArrayLimits.batch)


# --- sources ---------------------------------------------------------------------------------------------------------


@sources
def test_a_source_has_one_dispatcher_and_could_have_as_many_as_partitions(document: Document) -> None:
    """One keeps 50 events in flight; more than there are partitions would idle."""
    (topic,) = (each for each in documents("KafkaTopic") if [each.name] == document.spec["topics"])
    assert document.spec["consumers"] == 1
    assert topic.spec["partitions"] >= 10 * document.spec["consumers"]


@sources
def test_a_group_is_named_after_its_function(document: Document) -> None:
    """`orders verify` and whoever looks at the lag of a consumer find it by the function's name."""
    assert document.spec["consumerGroup"] == document.name


def test_everything_talks_to_one_kafka() -> None:
    """One address, for sinks and sources."""
    addresses = [document.spec["bootstrapServers"] for document in documents("KafkaSource", "KafkaSink")]
    assert addresses == [["shop-kafka-bootstrap.kafka.svc:9092"]] * len(addresses)


@pytest.mark.parametrize("name", ["billing-handler", "order-handler"])
def test_what_resend_heals_is_retried_through_an_election_and_no_longer(name: str) -> None:
    """31 s: an election is over, and the first resend, which would do it all again, has not come."""
    assert delivery(name).backoff_delay_s == 0.5  # soon at first: most failures last a moment
    assert 2 * ELECTION_S < sum(waits_s(name)) < orders.RESEND_AFTER_MS / 1000 - 2 * handling.DEADLINE_S


def test_what_nothing_else_heals_is_retried_for_more_than_an_hour() -> None:
    """68 minutes, evenly: after an outage all that wait are tried again within 200 s."""
    waits = waits_s("notify-handler")
    assert sum(waits) == 4100
    assert max(waits) == 200


# --- topics ----------------------------------------------------------------------------------------------------------


@topics
def test_a_topic_outlives_the_loss_of_a_broker(document: Document) -> None:
    """Three copies, two of them written before an event is acknowledged: with one broker gone it goes on."""
    assert document.spec["replicas"] == 3
    assert document.spec["config"]["min.insync.replicas"] == 2
    assert document.content["metadata"]["labels"] == {"strimzi.io/cluster": "shop"}


def test_events_are_kept_a_week_and_dead_letters_a_month() -> None:
    """A week of an outage heals by itself; a dead letter waits until somebody has noticed, repaired and redriven."""
    days = {topic.name: topic.spec["config"]["retention.ms"] / timedelta(days=1).total_seconds() / 1000
            for topic in documents("KafkaTopic")}  # fmt: skip
    assert days == {"payments": 7, "results": 7, "dead-letters": 30}


def test_each_payment_has_its_result_on_as_many_partitions_and_dead_letters_have_an_order() -> None:
    """Dead letters are read in order of arrival."""
    partitions = {topic.name: topic.spec["partitions"] for topic in documents("KafkaTopic")}
    assert partitions == {"payments": 10, "results": 10, "dead-letters": 1}


# --- timers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", documents("PingSource"), ids=str)
def test_resend_ticks_each_minute_of_the_day(document: Document) -> None:
    """The first resend of a basket is due after a minute; a rarer tick would make customers wait."""
    schedule = Schedule.parse(document.spec["schedule"])
    day = datetime(2026, 11, 26, tzinfo=UTC)
    assert all(schedule.matches(day + timedelta(minutes=minute)) for minute in range(24 * 60))
    assert document.spec.keys() == {"schedule", "sink"}  # no timezone: every minute is one everywhere


def test_a_tick_ends_before_the_next_one() -> None:
    """Serving's limit is half of the minute: ticks overlap only by accident."""
    (resend,) = (document for document in documents("Service") if document.name == "resend-orders")
    assert timeout_s(resend) <= 30

"""The KafkaSource stand-in does what the real dispatcher did, request by request."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import Message, Producer

from local.servers.kafka import Kafka, create_topics
from tests.local.kafka_fixtures import StandIn, committed, producer, stored, wait_until
from tests.local.stand_ins.recording import FREE_HEADERS, as_base64, cases, difference, json_members, latin1, unbase64
from tests.local.stand_ins.scripted_sink import Request, ScriptedSink
from wire.delivery import DeliverySpec

# One run for all cases; under pytest-xdist with --dist loadgroup, on one worker.
pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("kafka_source_recorded")]

CASES = cases("source.ndjson")

_NOT_FOLLOWED = "redirects are not followed: no function answers 303, and the record goes to the dead letters"
LEFT_OUT = {
    "status-303": _NOT_FOLLOWED,
    "status-303-then-422": _NOT_FOLLOWED,
    "status-303-relative": _NOT_FOLLOWED,
    "status-303-loop": _NOT_FOLLOWED,
}


@dataclass
class Run:
    """What one case led to."""

    sink: ScriptedSink
    dead_letters: ScriptedSink | None
    values: dict[str, str]
    committed: bool = False
    letters: list[Message] | None = None


def _manifest(recorded: dict[str, Any], sink: ScriptedSink, dead_letters: str | None) -> dict[str, Any]:
    """Return the entry of the configuration for a case, with its own topic and group."""
    names = {"retry": "retry", "backoffPolicy": "backoff_policy", "backoffDelay": "backoff_delay", "timeout": "timeout"}
    delivery = {names[key]: value for key, value in recorded.items() if key in names}
    if dead_letters:
        delivery["dead_letter_sink_url"] = dead_letters
    return {
        "namespace": "default",
        "name": "billing",
        "consumers": 1,
        "initial_offset": "earliest",
        "ordering": recorded.get("ordering", "ordered"),
        "delivery": delivery or None,
        "sink_url": recorded.get("destination", "{sink}/").replace("{sink}", sink.url),
        "ce_overrides": {},
    }


@pytest.fixture(scope="module")
async def runs(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Run all cases at once, each with its own topic, group and sinks."""
    folder = tmp_path_factory.mktemp("source")
    names = [case["name"] for case in CASES]
    topics = {f"source.{name}": 1 for name in names} | {f"letters.{name}": 1 for name in names}
    await create_topics(kafka.bootstrap_servers, topics)
    kafka_sinks = [
        {"namespace": "letters", "name": name, "topic": f"letters.{name}", "content_mode": "binary"} for name in names
    ]
    letter_sink = await StandIn(
        "kafka_sink",
        {"host": "127.0.0.1", "port": 0, "bootstrap_servers": kafka.bootstrap_servers, "sinks": kafka_sinks},
        folder,
    ).start()
    runs, sources = {}, []
    for case in CASES:
        name = case["name"]
        sink, scripted = ScriptedSink(case["answers"]), None
        await sink.start()
        dead_letters = None
        if "dead_letter_answers" in case:
            scripted = ScriptedSink(case["dead_letter_answers"])
            await scripted.start()
            dead_letters = f"{scripted.url}/"
        elif case["source"].get("deadLetterSink"):
            dead_letters = f"{letter_sink.url}/letters/{name}"
        topic = f"source.{name}"
        values = {"{sink}": sink.url, "{host}": sink.url[7:], "{topic}": topic, "{partition}": "0"}
        values |= {"{offset}": "0", "{offset+1}": "1", "{dead_letters}": scripted.url if scripted else letter_sink.url}
        runs[name] = Run(sink, scripted, values)
        sources.append(_manifest(case["source"], sink, dead_letters) | {"topics": [topic], "consumer_group": topic})
    source = await StandIn(
        "kafka_source", {"bootstrap_servers": kafka.bootstrap_servers, "sources": sources}, folder
    ).start()
    records = producer(kafka)
    await asyncio.gather(
        *(_run(kafka, records, case, runs[case["name"]], number * _APART_S) for number, case in enumerate(CASES))
    )
    assert await asyncio.to_thread(records.flush, 30) == 0
    letters = await asyncio.to_thread(stored, kafka, [f"letters.{name}" for name in names])
    for name, run in runs.items():
        run.letters = letters[f"letters.{name}"]
    assert await source.end() == 0
    assert await letter_sink.end() == 0
    for run in runs.values():
        await run.sink.stop()
        if run.dead_letters:
            await run.dead_letters.stop()
    return runs


_APART_S = 0.1
"""Between the starts of two cases: in one burst, first requests would be stamped late, and gaps look short."""


async def _run(kafka: Kafka, kafka_producer: Producer, case: dict[str, Any], run: Run, wait_s: float) -> None:
    """Produce the records of a case, wait for the end of its requests, then for the commit."""
    await asyncio.sleep(wait_s)
    topic = f"source.{case['name']}"
    records = case.get("records") or [case["record"]]
    for record in records:
        if "after_ms" in record:
            await wait_until(lambda: run.sink.requests)  # or a slow start could shrink the pause
            await asyncio.sleep(record["after_ms"] / 1000)
        kafka_producer.produce(
            topic,
            key=unbase64(record["key_b64"]),
            value=unbase64(record["value_b64"]),
            headers=[(name, unbase64(value)) for name, value in record["headers"]],
            timestamp=record["timestamp_ms"],
        )
        kafka_producer.poll(0)
    sinks = [sink for sink in (run.sink, run.dead_letters) if sink]
    loop = asyncio.get_running_loop()
    quiet_s = 2.5 + _longest_gap_s(case)
    end_s = loop.time() + quiet_s
    while loop.time() < end_s:
        await asyncio.sleep(0.1)
        end_s = max([end_s, *(sink.requests[-1].at_s + quiet_s for sink in sinks if sink.requests)])
    # What was not committed 8 s after the end never was; a machine under load may take longer for what was.
    deadline_s = loop.time() + (30 if case["committed"] else 8)
    while not run.committed and loop.time() < deadline_s:
        await asyncio.sleep(1)
        run.committed = await committed(kafka, topic) == {0: len(records)}


def _longest_gap_s(case: dict[str, Any]) -> float:
    delivery = DeliverySpec.from_manifest(_manifest(case["source"], ScriptedSink([{}]), None)["delivery"])
    answers = case["answers"] + case.get("dead_letter_answers", [])
    answer_s: float = max(answer.get("delay_ms", 0) for answer in answers) / 1000
    faults = {answer.get("fault") for answer in answers}
    if "silence" in faults:
        answer_s = max(answer_s, delivery.timeout_s)
    if "trickle" in faults:
        answer_s = max(answer_s, 5)
    waits_s = [delivery.wait_s(retry + 1) for retry in range(delivery.retry)]
    # Nothing can be seen of a destination that refuses.
    return answer_s + (sum(waits_s) if "refuse" in faults else max(waits_s, default=0))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_source_does_what_the_real_one_did(case: dict[str, Any], runs: dict[str, Run]) -> None:
    """Requests, delays, dead letter and commit are those recorded."""
    if reason := LEFT_OUT.get(case["name"]):
        pytest.skip(reason)
    run = runs[case["name"]]
    records = case.get("records") or [case["record"]]
    sent = " ".join(repr(unbase64(value)) for record in records for _, value in record["headers"])
    seen = {"requests": [_seen(request) for request in run.sink.requests], "committed": run.committed}
    wanted = {"requests": [_wanted(request) for request in case["requests"]], "committed": case["committed"]}
    gaps = [(run.sink.requests, case["gaps_ms"])]
    if run.dead_letters:
        seen["dead_letter_requests"] = [_seen(request) for request in run.dead_letters.requests]
        wanted["dead_letter_requests"] = [_wanted(request) for request in case["dead_letter_requests"]]
        gaps.append((run.dead_letters.requests, case["dead_letter_gaps_ms"]))
    else:
        assert run.letters is not None
        seen["dead_letters"] = [json_members(_seen_letter(letter)) for letter in run.letters]
        wanted["dead_letters"] = [json_members(case["dead_letter"])] if case["dead_letter"] else []
    assert difference(wanted, seen, run.values, sent) == ""
    for requests, recorded in gaps:
        for (shortest_ms, _), before, after in zip(recorded, requests, requests[1:], strict=False):
            assert shortest_ms < 50 or (after.at_s - before.at_s) * 1000 >= 0.9 * shortest_ms


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_case_left_out_was_recorded(name: str) -> None:
    """Each name in the list of what is left out is that of a case."""
    assert name in {case["name"] for case in CASES}


def _seen(request: Request) -> dict[str, Any]:
    headers = {name: value for name, value in request.headers if name not in FREE_HEADERS}
    assert len(headers) == len([name for name, _ in request.headers if name not in FREE_HEADERS])
    return {"method": request.method, "target": request.target, "headers": headers, "body": as_base64(request.body)}


def _wanted(request: dict[str, Any]) -> dict[str, Any]:
    headers = {name: value for name, value in request["headers"].items() if name not in FREE_HEADERS}
    return {"method": request["method"], "target": request["target"], "headers": headers, "body": request["body_b64"]}


def _seen_letter(letter: Message) -> dict[str, Any]:
    pairs: Any = letter.headers() or []
    headers = {name: latin1(value) for name, value in pairs}
    return {"key_b64": as_base64(letter.key()), "headers": headers, "value_b64": as_base64(letter.value())}

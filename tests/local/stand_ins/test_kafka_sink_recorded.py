"""The KafkaSink stand-in answers and stores what the real receiver did; no case is left out."""

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Message

from local.servers.kafka import Kafka, create_topics
from tests.local.kafka_fixtures import StandIn, stored
from tests.local.stand_ins.recording import as_base64, cases, difference, json_members, latin1, unbase64
from wire import http as http1

pytestmark = pytest.mark.xdist_group("kafka_sink_recorded")  # one run for all cases

CASES = cases("sink.ndjson")


@dataclass
class Exchange:
    """What one request led to."""

    status: int
    body: bytes
    records: list[Message] = field(default_factory=list)


@pytest.fixture(scope="module")
async def exchanges(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exchange]:
    """Send the requests of all cases at once, each to sinks and a topic of its own."""
    topics = {f"sink.{case['name']}": 3 for case in CASES}
    await create_topics(kafka.bootstrap_servers, topics)
    sinks = [
        {"namespace": mode, "name": case["name"], "topic": f"sink.{case['name']}", "content_mode": mode}
        for case in CASES
        for mode in ("binary", "structured")
    ]
    config = {"host": "127.0.0.1", "port": 0, "bootstrap_servers": kafka.bootstrap_servers, "sinks": sinks}
    receiver = await StandIn("kafka_sink", config, tmp_path_factory.mktemp("sink")).start()
    answers = await asyncio.gather(*(_send(receiver.url, case) for case in CASES))
    assert await receiver.end() == 0
    found = {case["name"]: answer for case, answer in zip(CASES, answers, strict=True)}
    for topic, records in (await asyncio.to_thread(stored, kafka, list(topics))).items():
        found[topic.removeprefix("sink.")].records = records
    return found


async def _send(url: str, case: dict[str, Any]) -> Exchange:
    name, request = case["name"], case["request"]
    paths = {
        "{binary}": f"/binary/{name}",
        "{structured}": f"/structured/{name}",
        "{BINARY}": f"/binary/{name}".upper(),
    }
    target = request["target"]
    for placeholder, path in paths.items():
        target = target.replace(placeholder, path)
    unit, times = request.get("body_repeat", [request.get("body_b64"), 1])
    body = None if unit is None else (unbase64(unit) or b"") * times
    headers = [("host", urlsplit(url).netloc), *request["headers"]]
    if ["transfer-encoding", "chunked"] in request["headers"]:
        assert body
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    elif body is not None:
        headers.append(("content-length", str(len(body))))
    lines = "".join(f"{header}: {value}\r\n" for header, value in headers)
    message = f"{request['method']} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + (body or b"")
    host, port = urlsplit(url).netloc.split(":")
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(message)
    async with asyncio.timeout(30):
        head = await http1.read_head(reader)
        assert head is not None
        answer = b"" if request["method"] == "HEAD" else await http1.read_body(reader, head[1])
    writer.close()
    return Exchange(int(head[0].split()[1]), answer)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_sink_does_what_the_real_one_did(case: dict[str, Any], exchanges: dict[str, Exchange]) -> None:
    """Status, body and the stored record are those recorded."""
    exchange, recorded = exchanges[case["name"]], case["record"]
    wanted: dict[str, Any] = {"status": case["response"]["status"], "body": case["response"]["body_b64"]}
    wanted["records"] = [json_members(recorded)] if recorded else []
    seen: dict[str, Any] = {"status": exchange.status, "body": as_base64(exchange.body)}
    seen["records"] = [json_members(_seen(record, recorded or {})) for record in exchange.records]
    assert difference(wanted, seen, {}, repr(case["request"]["headers"])) == ""


def _seen(record: Message, recorded: dict[str, Any]) -> dict[str, Any]:
    pairs: Any = record.headers() or []
    value = record.value()
    seen = {"key_b64": as_base64(record.key()), "headers": {name: latin1(text) for name, text in pairs}}
    if "value_sha256" in recorded and isinstance(value, bytes):
        seen |= {"value_sha256": hashlib.sha256(value).hexdigest(), "value_length": len(value)}
    else:
        seen["value_b64"] = as_base64(value)
    if "partition_of_3" in recorded:
        seen["partition_of_3"] = record.partition()
    return seen

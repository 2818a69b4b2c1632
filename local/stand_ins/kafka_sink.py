"""The stand-in for KafkaSink: one HTTP receiver that stores the CloudEvents posted to /<namespace>/<name> in Kafka.

    python -m local.stand_ins.kafka_sink CONFIG.json

    {"host": "127.0.0.1", "port": 0, "bootstrap_servers": "127.0.0.1:9092",
     "sinks": [{"namespace": "shop", "name": "payments", "topic": "payments", "content_mode": "binary"}]}

With `"tokens": "FILE.json"`, which holds `{"payments": ["token"]}`, the sinks that the file names demand one of their
tokens, as with `authentication-oidc: enabled` and EventPolicies. The file is read for each request; it may come and go.

A Kafka that wants TLS or a login: by the variables of wire/login.py, for the password is in no file.

It is held to what the real receiver did, case by case, in tests/local/stand_ins/recorded/sink.ndjson. With Kafka away
it answers 503 after two minutes, as the real one does: callers need a shorter time-out of their own, after which the
event may still be stored. It prints one line when it listens; SIGTERM and SIGINT let requests in progress end, for 5 s.
"""

import asyncio
import json
import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import uvloop
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from local.stand_ins.librdkafka import OutageLog
from wire import event as cloudevents
from wire import http as http1
from wire.event import Event, NotAnEventError
from wire.login import login

_log = logging.getLogger("kafka_sink")

_MAX_REQUEST_SIZE = 1_048_576  # max.request.size of the real producer
_STOP_TIMEOUT_S = 5

RecordHeaders = list[tuple[str, bytes]]

_PRODUCER = {
    "acks": "all",
    # Off in the real receiver too: a broker that restarts may leave duplicates, and nothing downstream may mind.
    "enable.idempotence": False,
    "max.in.flight.requests.per.connection": 5,
    "linger.ms": 0,
    "batch.size": 16_384,
    "request.timeout.ms": 2_000,
    "message.timeout.ms": 120_000,  # delivery.timeout.ms
    "topic.metadata.propagation.max.ms": 60_000,  # max.block.ms
    "message.max.bytes": 2_000_000,  # the size is checked here, with the sums of the Java client
    "partitioner": "murmur2_random",  # the Java client's: equal keys meet in one partition whoever produced them
    "reconnect.backoff.max.ms": 1_000,
}


@dataclass(frozen=True)
class _Sink:
    topic: str
    structured: bool


class _Publisher:
    """A producer whose acknowledgements are awaited."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._outage = OutageLog(_log, "sink=all")
        servers = {"bootstrap.servers": bootstrap_servers, **login(os.environ)}
        self._producer = Producer({**_PRODUCER, **servers, **self._outage.settings})
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="kafka-acknowledgements", daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        while not self._stopped.is_set():
            self._producer.poll(0.1)

    async def publish(self, topic: str, key: bytes | None, headers: RecordHeaders, value: bytes | None) -> None:
        """Store one record; return when all replicas have it.

        Raises:
            KafkaException: it is too large, or was not acknowledged within two minutes.

        """
        if _record_size(key, headers, value) > _MAX_REQUEST_SIZE:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        acknowledged = self._loop.create_future()

        def settle(error: KafkaError | None) -> None:
            if acknowledged.cancelled():
                return
            if error is None:
                self._outage.works()
                acknowledged.set_result(None)
            else:
                acknowledged.set_exception(KafkaException(error))

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            self._loop.call_soon_threadsafe(settle, error)

        try:
            self._producer.produce(topic, key=key, headers=list(headers), value=value, on_delivery=on_delivery)
        except BufferError as full:
            raise KafkaException(KafkaError(KafkaError._QUEUE_FULL)) from full
        await acknowledged

    def close(self) -> None:
        """Stop without waiting for anything more."""
        self._stopped.set()
        self._thread.join()


def _record_size(key: bytes | None, headers: RecordHeaders, value: bytes | None) -> int:
    """Estimate the size of a request with one record as the Java client does, from above.

    61 bytes go to the batch and 21 to the record; each part is preceded by its length, of at most 5 bytes.
    """
    parts = [key, value, *(part for name, text in headers for part in (name.encode(), text))]
    return (
        61 + 21 + _varint_size(len(headers)) + sum(_varint_size(len(part or b"")) + len(part or b"") for part in parts)
    )


def _varint_size(number: int) -> int:
    bits = max(1, (2 * number).bit_length())  # zigzag
    return -(-bits // 7)


class Receiver:
    """The HTTP side: routes, limits and statuses."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._sinks = {
            f"/{sink['namespace']}/{sink['name']}": _Sink(sink["topic"], sink["content_mode"] == "structured")
            for sink in config["sinks"]
        }
        self._publisher = _Publisher(config["bootstrap_servers"])
        self._tokens = Path(config["tokens"]) if config.get("tokens") else None
        self._busy: set[asyncio.Task[None]] = set()
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._closing = False

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until it is closed."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        self._connections[task] = writer
        try:
            while await self._exchange(task, reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client left in the middle
        finally:
            del self._connections[task]
            self._busy.discard(task)
            writer.close()

    async def _exchange(self, task: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection can carry another."""
        method, keep = "", False
        try:
            head = await http1.read_head(reader)
            if head is None:
                return False
            self._busy.add(task)
            method, target, version = _request_line(head[0])
            body = await http1.read_body(reader, head[1])
            connection = (http1.value_of(head[1], "connection") or "").lower()
            keep = connection != "close" and (version == "HTTP/1.1" or connection == "keep-alive")
            status = await self._status(method, target.partition("?")[0], head[1], body)
        except http1.MalformedError as error:
            _log.warning("refused status=%d reason=%s", error.status, json.dumps(str(error)))
            status = error.status
        length = "" if method == "HEAD" else "content-length: 0\r\n"
        closing = "" if keep else "connection: close\r\n"
        writer.write(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{length}{closing}\r\n".encode("ascii"))
        await writer.drain()
        self._busy.discard(task)
        return keep and not self._closing

    async def _status(self, method: str, path: str, headers: http1.Headers, body: bytes) -> int:
        if method != "POST":
            return 200 if method == "GET" and path in ("/healthz", "/readyz") else 405
        sink = self._sinks.get(path.removesuffix("/"))
        if sink is None:
            return 404
        if (refused := refusal(self._tokens, path.removesuffix("/").rpartition("/")[2], headers)) is not None:
            _log.warning("refused status=%d topic=%s reason=token", refused, sink.topic)
            return refused
        try:
            event = cloudevents.parse(headers, body or None, "ce-")
        except NotAnEventError as error:
            _log.warning("refused status=400 topic=%s reason=%s", sink.topic, json.dumps(str(error)))
            return 400
        try:
            await self._store(sink, event, headers)
        except KafkaException as error:
            _log.error("not-stored status=503 topic=%s reason=%s", sink.topic, json.dumps(str(error)))
            return 503
        return 202

    async def _store(self, sink: _Sink, event: Event, headers: http1.Headers) -> None:
        key = event.attributes.get("partitionkey")
        if not isinstance(key, str | None):
            # The real one's key serializer takes strings only.
            raise KafkaException(KafkaError(KafkaError._KEY_SERIALIZATION))
        if sink.structured:
            value: bytes | None = event.json()
            named = [("content-type", "application/cloudevents+json")]
        else:
            value = event.data or None
            named = event.headers("ce_")
        encoded: RecordHeaders = [(name, text.encode()) for name, text in named + cloudevents.continue_trace(headers)]
        await self._publisher.publish(sink.topic, None if key is None else key.encode(), encoded, value)

    async def close(self) -> None:
        """Let requests in progress end, and close all connections."""
        self._closing = True
        for task, writer in self._connections.items():
            if task not in self._busy:
                writer.close()
        if self._connections:
            await asyncio.wait(list(self._connections), timeout=_STOP_TIMEOUT_S)
        self._publisher.close()


def refusal(tokens: Path | None, sink: str, headers: http1.Headers) -> int | None:
    """Return the status for a request whose token a sink does not take; None when it may be stored.

    403 for a token of another sink: Eventing knows who sends it, and no EventPolicy lets them. 401 for any other.
    """
    try:
        demanded: dict[str, list[str]] = json.loads(tokens.read_text()) if tokens else {}
    except FileNotFoundError:
        return None
    token = (http1.value_of(headers, "authorization") or "").removeprefix("Bearer ")
    if sink not in demanded or token in demanded[sink]:
        return None
    return 403 if any(token in others for others in demanded.values()) else 401


def _request_line(line: str) -> tuple[str, str, str]:
    parts = line.split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise http1.MalformedError("malformed request line")
    return parts[0], parts[1], parts[2]


async def serve(config: dict[str, Any]) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
    receiver = Receiver(config)
    server = await asyncio.start_server(receiver.connected, config["host"], config["port"])
    host, port = server.sockets[0].getsockname()[:2]
    print(f"kafka_sink ready on http://{host}:{port}", flush=True)
    await stopping.wait()
    server.close()
    await receiver.close()


def main() -> None:
    """Read the configuration that the command line names, and serve."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    config = json.loads(Path(sys.argv[1]).read_text())
    uvloop.run(serve(config))


if __name__ == "__main__":
    main()

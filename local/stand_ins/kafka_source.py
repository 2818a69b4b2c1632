"""The stand-in for KafkaSource: consumer groups that POST the records of Kafka topics as CloudEvents, in one process.

    python -m local.stand_ins.kafka_source CONFIG.json

    {"bootstrap_servers": "127.0.0.1:9092",
     "sources": [{"namespace": "shop", "name": "billing-handler", "topics": ["payments"], "consumer_group": "billing",
                  "consumers": 1, "initial_offset": "earliest", "ordering": "unordered",
                  "delivery": {"retry": 5, "backoff_policy": "exponential", "backoff_delay": "PT0.2S",
                               "timeout": "PT60S", "dead_letter_sink_url": "http://127.0.0.1:8081/shop/dead-letters"},
                  "sink_url": "http://127.0.0.1:8082/", "ce_overrides": {"name": "value"}}]}

A Kafka that wants TLS or a login: by the variables of wire/login.py, for the password is in no file.

Values are those of the manifest; without `delivery` other defaults apply than within one. It is held to what the real
dispatcher did, request by request, in tests/local/stand_ins/recorded/source.ndjson. A record is lost where the real one
loses it, and its offset committed; a line of the log tells of it, and of each dead letter. It differs on purpose:

- It does not follow a 303; the record goes to the dead letters, as with any other 3xx.
- SIGTERM commits nothing, as 5 of 8 stops of the real one did: up to 5 s of what was acknowledged comes again. But it
  leaves the group, so that a restart goes on at once instead of after 10 s. SIGKILL shows that pause.
- `consumers` makes no difference: the real one's replicas on one pod share one Kafka consumer.

It prints one line once all sources have joined their groups. Kafka may come later, and may go and come back.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from local.stand_ins.librdkafka import OutageLog
from wire.delivery import DeliverySpec, Sender, StuckError, UndeliveredError, dead_letter
from wire.event import Event, NotAnEventError
from wire.login import login
from wire.record import Place, Record

_log = logging.getLogger("kafka_source")

_MAX_POLL_RECORDS = 50
_POLL_S = 0.25  # how long a poll waits for the first record, and how long a stop may have to wait for it
_COMMIT_INTERVAL_S = 5
_SHOWN = 256  # bytes of an answer in the log: the code of ours, and what is wrong
_CLOSE_TIMEOUT_S = 2

_CONSUMER = {
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",  # `latest` is what the group starts with: see _commit_ends
    "isolation.level": "read_committed",
    "session.timeout.ms": 10_000,
    "max.poll.interval.ms": 86_400_000,  # slow functions must not cause rebalances; the real one computes a larger one
    "partition.assignment.strategy": "roundrobin",  # eager, like the Sticky of the real one, which librdkafka lacks
    "max.partition.fetch.bytes": 65_536,
    "queued.min.messages": 1_000,  # what librdkafka fetches ahead of the polls; its default is 100,000
    "topic.metadata.refresh.interval.ms": 5_000,  # a topic that is created later is found soon
    "reconnect.backoff.max.ms": 1_000,
}

_T = TypeVar("_T")


@dataclass
class Progress:
    """Which records of one partition are done; `committed` starts as the offset of the first."""

    committed: int
    position: int = 0  # behind the last record received
    pending: dict[int, None] = field(default_factory=dict)  # offsets received and not done, in order

    def receive(self, offset: int) -> None:
        """Note a record to be done."""
        self.pending[offset] = None
        self.position = offset + 1

    def done(self, offset: int) -> None:
        """Note that a record is done: taken, dead or lost."""
        self.pending.pop(offset, None)

    @property
    def committable(self) -> int:
        """The lowest offset that is not done."""
        return next(iter(self.pending), self.position)


Queued = tuple[Record, Progress, bool]
"""The arguments of `Source._handle`."""


class Source:
    """One KafkaSource: a consumer, and the requests of the records in progress.

    All state belongs to the event loop. Calls of the consumer that block are made, one at a time, in a thread; a
    commit, too, for it waits for a poll.
    """

    def __init__(self, config: dict[str, Any], bootstrap_servers: str) -> None:
        self.name = f"{config['namespace']}/{config['name']}"
        self._config = config
        self._ordered = {"ordered": True, "unordered": False}[config["ordering"]]
        delivery = DeliverySpec.from_manifest(config.get("delivery"))
        self._sink = Sender(config["sink_url"], config["namespace"], delivery, self._not_taken)
        dead_letters = delivery.dead_letter_sink_url
        self._dead_letters = Sender(dead_letters, config["namespace"], delivery) if dead_letters else None
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self.name)
        self._outage = OutageLog(_log, f"source={self.name}")
        group = {"bootstrap.servers": bootstrap_servers, **login(os.environ), "group.id": config["consumer_group"]}
        self._consumer = Consumer({**_CONSUMER, **group, **self._outage.settings, "on_commit": self._on_commit})
        self._progress: dict[Place, Progress] = {}
        self._queues: dict[Place, deque[Queued]] = {}  # of ordered partitions, the record in progress in front
        self._tasks: set[asyncio.Task[None]] = set()
        self._polling = False
        self._mistake: asyncio.Future[None] = self._loop.create_future()
        self._waiting = 0  # calls that want the thread for themselves
        self._closing = False
        self.joined = asyncio.Event()
        """Set once the group has given this source its partitions."""

    async def run(self) -> None:
        """Consume until cancelled."""
        committing = asyncio.create_task(self._commit_regularly())
        try:
            if {"latest": True, "earliest": False}[self._config["initial_offset"]]:
                await self._commit_ends()
            self._consumer.subscribe(
                self._config["topics"], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            self._poll_if_room()
            await self._mistake
        finally:
            self._closing = True
            for task in [committing, *self._tasks]:
                task.cancel()
            await asyncio.wait([self._in_thread(self._consumer.close)], timeout=_CLOSE_TIMEOUT_S)
            self._thread.shutdown(wait=False)
            self._sink.close()
            if self._dead_letters:
                self._dead_letters.close()

    def _in_thread(self, call: Callable[[], _T]) -> "asyncio.Future[_T]":
        self._waiting += 1
        made = self._loop.run_in_executor(self._thread, call)
        made.add_done_callback(self._made)
        return made

    def _made(self, _: "asyncio.Future[Any]") -> None:
        self._waiting -= 1

    def _poll_if_room(self) -> None:
        if not self._polling and not self._closing and self._has_room():
            self._polling = True
            self._thread.submit(self._poll).add_done_callback(
                lambda poll: self._loop.call_soon_threadsafe(self._take, poll)
            )

    def _poll(self) -> list[Message]:
        """Wait until records come, or until something else is to be done in the thread."""
        while not self._waiting:
            if (first := self._consumer.poll(_POLL_S)) is not None:
                return [first, *self._consumer.consume(_MAX_POLL_RECORDS - 1, timeout=0)]
        return []

    def _take(self, poll: "Future[list[Message]]") -> None:
        self._polling = False
        if self._closing:
            return
        if mistake := poll.exception():
            self._mistake.set_exception(mistake)
        else:
            self._dispatch(poll.result())
            self._poll_if_room()

    def _has_room(self) -> bool:
        """Whether to poll for more, by the rules of the real one, in which 50 stuck records stop a source."""
        if self._ordered:
            return not self._queues or not all(self._queues.values())
        return sum(len(progress.pending) for progress in self._progress.values()) < _MAX_POLL_RECORDS

    def _dispatch(self, messages: list[Message]) -> None:
        """Start on the records of one poll."""
        for message in messages:
            if message.error() is not None:
                _log.warning("kafka source=%s reason=%s", self.name, json.dumps(str(message.error())))
        records = [Record.from_message(message) for message in messages if message.error() is None]
        if records:
            self._outage.works()
        # One such record keeps the real one from wrapping any of those that it polled with it.
        wrap = not any(record.has_null_header for record in records)
        for record in records:
            progress = self._progress.get(record.place)
            if progress is None or record.offset < progress.position:  # new, or consumed again after a rebalance
                progress = self._progress[record.place] = Progress(record.offset)
            progress.receive(record.offset)
            if self._ordered:
                self._enqueue(record, progress, wrap)
            else:
                self._start(self._handle(record, progress, wrap))

    def _start(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._poll_if_room()
        if not task.cancelled() and (error := task.exception()):
            # A mistake of ours: the record stays undone, and comes again after a restart.
            _log.error("failed source=%s", self.name, exc_info=error)

    def _enqueue(self, record: Record, progress: Progress, wrap: bool) -> None:
        queue = self._queues.setdefault(record.place, deque())
        queue.append((record, progress, wrap))
        if len(queue) == 1:
            self._start(self._work_off(record.place, queue))
        elif len(queue) == _MAX_POLL_RECORDS:
            self._consumer.pause([TopicPartition(*record.place)])

    async def _work_off(self, place: Place, queue: deque[Queued]) -> None:
        """Handle the records of one partition one after the other; a stuck one stays in front, and blocks it."""
        while queue:
            if not await self._handle(*queue[0]):
                return
            queue.popleft()
        if self._queues.get(place) is queue:
            self._consumer.resume([TopicPartition(*place)])

    async def _handle(self, record: Record, progress: Progress, wrap: bool) -> bool:
        """Deliver one record, else its dead letter, else lose it; false when it is stuck, and will never be done."""
        try:
            event = record.event(self._config["namespace"], self._config["name"], wrap=wrap)
        except NotAnEventError as error:
            _log.error("lost %s reason=%s", self._where(record), json.dumps(f"discarded: {error}"))
        else:
            event = event.with_attributes(**self._config.get("ce_overrides") or {})
            try:
                await self._sink.send(event, record.texts)
            except UndeliveredError as failure:
                where = self._where(record, event)
                try:
                    await self._bury(event, failure, record, where)
                except StuckError as stuck:
                    _log.error("stuck %s reason=%s", where, json.dumps(str(stuck)))
                    return False
        progress.done(record.offset)
        return True

    def _not_taken(self, event: Event, failure: UndeliveredError) -> None:
        """Say that a try failed, and what was answered."""
        reason, id_ = json.dumps(_told(failure)), json.dumps(event.attributes["id"])
        _log.warning("not-taken source=%s id=%s try=%d reason=%s", self.name, id_, failure.attempts, reason)

    def _where(self, record: Record, event: Event | None = None) -> str:
        """Name a record in a line of the log."""
        where = f"source={self.name} topic={record.place[0]} partition={record.place[1]} offset={record.offset}"
        if event is not None:
            where += f" id={json.dumps(event.attributes['id'])} type={json.dumps(event.attributes['type'])}"
        return where

    async def _bury(self, event: Event, failure: UndeliveredError, record: Record, where: str) -> None:
        """Send an event that was not taken to the dead letters; without them, or if they refuse it, it is lost."""
        reason = f"attempts={failure.attempts} reason={json.dumps(str(failure))}"
        letter = dead_letter(event, self._config["sink_url"], failure.response)
        if self._dead_letters is None:
            _log.error("lost %s %s dead_letters=none", where, reason)
            return
        try:
            await self._dead_letters.send(letter, record.texts)
        except UndeliveredError as refused:
            _log.error("lost %s %s dead_letters=%s", where, reason, json.dumps(str(refused)))
        else:
            _log.warning("dead-letter %s %s", where, reason)

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(_COMMIT_INTERVAL_S)
            if offsets := self._committable():
                await self._in_thread(partial(self._commit, self._consumer, offsets))

    def _commit(self, consumer: Consumer, offsets: list[TopicPartition]) -> None:
        """Commit without waiting: with Kafka away the answer may not come, and nobody would poll any more."""
        try:
            consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            _log.warning("not-committed source=%s reason=%s", self.name, json.dumps(str(error)))

    def _on_commit(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        """Hear, in the thread, what became of a commit; after a failure the next one tries again."""
        if error is None:
            self._loop.call_soon_threadsafe(self._note_committed, offsets)
        else:
            _log.warning("not-committed source=%s reason=%s", self.name, json.dumps(str(error)))

    def _note_committed(self, offsets: list[TopicPartition]) -> None:
        for offset in offsets:
            if progress := self._progress.get((offset.topic, offset.partition)):
                progress.committed = offset.offset

    def _committable(self) -> list[TopicPartition]:
        return [
            TopicPartition(*place, progress.committable)
            for place, progress in self._progress.items()
            if progress.committable > progress.committed
        ]

    async def _commit_ends(self) -> None:
        """Commit the ends of the partitions without an offset, as the real controller does before a source is ready."""
        while True:
            try:
                return await self._in_thread(self._commit_ends_now)
            except KafkaException as error:
                _log.warning("kafka source=%s reason=%s", self.name, json.dumps(str(error)))
                await asyncio.sleep(1)

    def _commit_ends_now(self) -> None:
        places = [
            TopicPartition(topic, partition)
            for topic in self._config["topics"]
            for partition in self._consumer.list_topics(topic, timeout=5).topics[topic].partitions
        ]
        ends = []
        for place in self._consumer.committed(places, timeout=5):
            if place.offset < 0:
                _, end = self._consumer.get_watermark_offsets(place, timeout=5)
                ends.append(TopicPartition(place.topic, place.partition, end))
        if ends:
            self._consumer.commit(offsets=ends, asynchronous=False)

    # The three that follow are called in the thread, by a poll.

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        places = " ".join(f"{place.topic}/{place.partition}" for place in partitions)
        _log.info("assigned source=%s partitions=%s", self.name, json.dumps(places))
        self._loop.call_soon_threadsafe(self.joined.set)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._closing:
            return
        if offsets := asyncio.run_coroutine_threadsafe(self._forget(partitions), self._loop).result():
            self._commit(consumer, offsets)

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        if not self._closing:
            asyncio.run_coroutine_threadsafe(self._forget(partitions), self._loop).result()

    async def _forget(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Drop what is queued of partitions that are no longer ours, requests in progress apart; what to commit."""
        places = {(partition.topic, partition.partition) for partition in partitions}
        offsets = [offset for offset in self._committable() if (offset.topic, offset.partition) in places]
        for place in places:
            self._progress.pop(place, None)
            queue = self._queues.pop(place, deque())
            while len(queue) > 1:
                queue.pop()
        return offsets


def _told(failure: UndeliveredError) -> str:
    body = failure.response.body if failure.response is not None else b""
    return f"{failure}: {body[:_SHOWN].decode(errors='replace')}" if body else str(failure)


async def serve(config: dict[str, Any]) -> None:
    """Run all sources until SIGTERM or SIGINT."""
    sources = [Source(source, config["bootstrap_servers"]) for source in config["sources"]]
    running = [asyncio.create_task(source.run()) for source in sources]
    announcing = asyncio.create_task(_announce(sources))
    stopping = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
    stopped = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait([stopped, *running], return_when=asyncio.FIRST_COMPLETED)
        for task in running:
            if task.done():
                task.result()  # a source ends only by a mistake of ours
    finally:
        announcing.cancel()
        stopped.cancel()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _announce(sources: list[Source]) -> None:
    for source in sources:
        await source.joined.wait()
    print(f"kafka_source ready with {len(sources)} sources", flush=True)


def main() -> None:
    """Read the configuration that the command line names, and run."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    uvloop.run(serve(json.loads(Path(sys.argv[1]).read_text())))
    # With Kafka away a consumer may go on closing for 10 s, in a thread that would keep the process.
    os._exit(0)


if __name__ == "__main__":
    main()

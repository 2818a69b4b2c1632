"""What stops halfway says how much was delivered, and a recording that fails leaves the former one."""

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from local.servers.mongodb import Mongod
from operate.databases import Databases
from operate.errors import NotReachable
from operate.running import RunningShop
from operate.topics import Topics
from tests.operate.command import Orders, hasty, write
from tests.support.records import Message
from tests.support.sink import CLOSE, HANG, Sink
from tests.support.stack_fixtures import eventually


def numbered(events: int) -> list[dict[str, str]]:
    """Return events that are none of ours, so that nothing but their delivery matters."""
    return [{"specversion": "1.0", "id": str(number), "source": "/x", "type": "y"} for number in range(events)]


@pytest.fixture
def orders(shop: None, mongod: Mongod, tmp_path: Path) -> Orders:
    """Run `orders` against MongoDB alone, without much patience."""
    return Orders({"MONGODB_URI": mongod.uri, "LOCAL_DIR": str(tmp_path / "none")}, hasty)


class Leaving(Sink):
    """A sink that takes so many events and is gone: nobody listens any more, and what comes is cut."""

    def __init__(self, takes: int) -> None:
        super().__init__(answers=[202] * takes + [CLOSE] * 100)
        self._takes = takes

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.address = super().url
        return self

    @property
    def url(self) -> str:
        """Return where it was, too."""
        return self.address

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if len(self.received) >= self._takes:
            self._server.close()
        return await super()._answer_one(reader, writer)


# --- a target that is gone -------------------------------------------------------------------------------------------


async def test_a_send_whose_target_is_gone_stops_and_says_how_much_was_taken(orders: Orders, file: Path) -> None:
    """Exit code 2; what is left is not retried in vain, one event after the other."""
    write(file, *numbered(50))
    async with Leaving(3) as sink:
        run = await orders("event", "send", file, "--to-url", sink.url, "--concurrency", 1, "--json")
        assert run.code == 2
        assert run.err.splitlines()[-1].startswith(f"nobody answers at {sink.url}: ")
        told = {name: run.json[name] for name in ("answers", "stopped", "unanswered", "not_sent")}
    answers = {"answered 200": 3, "not answered": 1}
    assert told == {"answers": answers, "stopped": True, "unanswered": 0, "not_sent": 46}
    async with Leaving(3) as sink:
        run = await orders("event", "send", file, "--to-url", sink.url, "--concurrency", 1)
        assert run.code == 2
        sent = f"stopped; of 50 were sent 4 events again to {sink.url}: 3 answered 200, 1 not answered"
        assert run.out.splitlines()[0] == sent


async def test_a_replay_whose_target_is_gone_stops_and_says_how_much_was_taken(orders: Orders, file: Path) -> None:
    """The same, and that the state was not compared."""
    write(file, *numbered(50))
    options = ["--wait", "0s", "--expect-noop", "--concurrency", 1, "--seed", 1]
    async with Leaving(3) as sink:
        run = await orders("replay", file, "--to-url", sink.url, *options, "--json")
        assert run.code == 2
        told = ("stopped", "answered", "accepted", "failed", "unanswered", "not_sent")
        assert [run.json[name] for name in told] == [True, 4, 3, 1, 0, 46]
        assert "applied" not in run.json
    async with Leaving(3) as sink:
        run = await orders("replay", file, "--to-url", sink.url, *options)
        assert run.code == 2
        assert run.out.startswith("stopped after 4 of 50 deliveries of 50 events")
        assert "the state was not compared" in run.out


async def test_a_target_that_answers_no_event_but_is_there_is_tried_with_each(orders: Orders, file: Path) -> None:
    """It may be this event that it cannot take: the others get their turn, and the check has failed."""
    write(file, *numbered(2))
    async with Sink(answers=[CLOSE] * 4) as sink:
        run = await orders("event", "send", file, "--to-url", sink.url, "--concurrency", 1, "--json")
        assert (run.code, run.json["answers"]) == (1, {"not answered": 1, "answered 200": 1})


async def test_a_replay_that_loses_mongodb_afterwards_says_what_was_delivered(orders: Orders, file: Path) -> None:
    """The deliveries have been made, whatever becomes of the comparison."""
    write(file, *numbered(5))
    async with Sink() as sink:

        class Lost(Databases):
            def collection(self, *where: Any) -> Any:
                if sink.received:
                    raise NotReachable("MongoDB is gone")
                return super().collection(*where)

        class Losing(RunningShop):
            def databases(self) -> Databases:
                return Lost(self.places.databases, self.places.names)

        run = await orders.opened(Losing)("replay", file, "--to-url", sink.url, "--wait", "0s", "--all")
    assert run.code == 2
    assert run.out.startswith("stopped after 5 of 5 deliveries")
    assert run.err.splitlines()[-1] == "MongoDB is gone"


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


async def interrupted(command: Sequence[object], sink: Sink, events: int) -> tuple[int | None, str, str]:
    """Run a command, and press Ctrl-C once the sink has been sent so many events."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "operate.cli", *map(str, command)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):

            async def sent() -> bool:
                return len(sink.received) >= events or process.returncode is not None

            await eventually(sent)
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, out.decode(), err.decode()


async def test_ctrl_c_ends_a_send_with_what_was_delivered(file: Path) -> None:
    """Exit code 130, and what was on its way is said to be unknown."""
    write(file, *numbered(50))
    async with Sink(answers=[202] * 5 + [HANG] * 100) as sink:
        command = ["event", "send", file, "--to-url", sink.url, "--concurrency", 2, "--json"]
        code, out, err = await interrupted(command, sink, 7)
    assert code == 130
    assert "Traceback" not in err
    told = json.loads(out)
    assert (told["answers"], told["unanswered"], told["not_sent"]) == ({"answered 200": 5}, 2, 43)


async def test_ctrl_c_ends_a_replay_with_what_was_delivered(mongod: Mongod, shop: None, file: Path) -> None:
    """The same, in text."""
    write(file, *numbered(50))
    async with Sink(answers=[202] * 5 + [HANG] * 100) as sink:
        command = ["replay", file, "--to-url", sink.url, "--concurrency", 2, "--wait", "0s"]
        code, out, err = await interrupted([*command, "--mongodb-uri", mongod.uri], sink, 7)
    assert code == 130
    assert "Traceback" not in err
    assert out.startswith("stopped after 5 of 50 deliveries")
    assert "2 more were on their way: whether they were taken is not known" in out


# --- record ----------------------------------------------------------------------------------------------------------


def message(number: int) -> Message:
    """Return the record of an event."""
    event = {"specversion": "1.0", "id": str(number), "source": "/x", "type": "y"}
    return Message(None, [(f"ce_{name}", value.encode()) for name, value in event.items()])


@pytest.fixture
def topic() -> list[Any]:
    """Return what a topic holds: messages, or an exception that reading them ends with."""
    return []


@pytest.fixture
def recorded(tmp_path: Path, file: Path, topic: list[Any]) -> Callable[..., Any]:
    """Return how to record a topic into a file."""

    class Held(Topics):
        def read(self, *_: object) -> Iterator[Any]:
            for each in topic:
                if isinstance(each, BaseException):
                    raise each
                yield each

    class Holding(RunningShop):
        def topics(self) -> Topics:
            return Held(self.places.kafka)

    orders = Orders({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "LOCAL_DIR": str(tmp_path / "none")}, Holding)
    return lambda to=file, *options: orders("event", "record", "--topic", "payments", "-o", to, *options)


def content(folder: Path) -> dict[str, int]:
    """Return the files of a folder, each with how many lines it has."""
    return {each.name: len(each.read_text().splitlines()) for each in folder.iterdir()}


async def test_a_former_recording_survives_a_kafka_that_is_away(
    tmp_path: Path, file: Path, topic: list[Any], recorded: Callable[..., Any]
) -> None:
    """It was emptied before anything was read; and nothing is left beside it."""
    write(file, {}, {})
    topic.append(NotReachable("Kafka does not answer"))
    run = await recorded()
    assert (run.code, "Kafka does not answer" in run.err, f"{file} is unchanged" in run.err) == (2, True, True)
    run = await recorded(tmp_path / "new.ndjson")
    assert (run.code, "was not written" in run.err) == (2, True)
    assert content(tmp_path) == {file.name: 2}


@pytest.mark.parametrize("end", [NotReachable("Kafka gave nothing"), KeyboardInterrupt()], ids=["lost", "Ctrl-C"])
async def test_a_recording_that_ends_halfway_leaves_the_former_one(
    tmp_path: Path, file: Path, topic: list[Any], recorded: Callable[..., Any], end: BaseException
) -> None:
    """Half a file would be taken for a whole one."""
    topic += [message(number) for number in range(3)]
    assert (await recorded()).code == 0
    topic.insert(1, end)
    run = await recorded()
    assert (run.code, f"{file} is unchanged" in run.err) == (130 if isinstance(end, KeyboardInterrupt) else 2, True)
    assert content(tmp_path) == {file.name: 3}


@pytest.fixture
def link(tmp_path: Path, file: Path) -> Path:
    """Return a link to a former recording, which not everybody may read."""
    write(file, {})
    file.chmod(0o640)
    link = tmp_path / "link.ndjson"
    link.symlink_to(file)
    return link


def kind(file: Path) -> tuple[bool, int]:
    """Return whether a file is a link, and who may do what with what it leads to."""
    return file.is_symlink(), file.stat().st_mode & 0o777


async def test_a_recording_replaces_the_former_one_where_it_is(
    tmp_path: Path, file: Path, link: Path, topic: list[Any], recorded: Callable[..., Any]
) -> None:
    """A link stays one, and who may read the file may read it again."""
    topic += [message(number) for number in range(3)]
    assert (await recorded(link)).code == 0
    assert content(tmp_path) == {file.name: 3, link.name: 3}
    assert kind(link) == (True, 0o640)


async def test_where_nothing_can_be_written_is_said(
    tmp_path: Path, topic: list[Any], recorded: Callable[..., Any]
) -> None:
    """A folder that is none, or a folder instead of a file; what is no file is written to as it is."""
    for output, why in [(tmp_path / "none" / "run", "there is no folder"), (tmp_path, "is a folder")]:
        run = await recorded(output)
        assert (run.code, why in run.err, str(output.parent) in run.err) == (2, True, True)
    run = await recorded("/dev/null", "--json")
    assert (run.code, run.json["recorded"]) == (0, {"payments": 0})

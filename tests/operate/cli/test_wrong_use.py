"""Whatever is mistyped, garbled or missing is exit code 2 and one line: 1 says that a check failed, nothing else."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from operate.cli.__main__ import app
from operate.cli.options import Surroundings
from operate.running import RunningShop
from tests.operate.command import Orders, Run, hasty, write
from tests.support.sink import Sink, certificate, serving

EVENT = {"specversion": "1.0", "id": "1", "source": "/x", "type": "y"}
HEX = "0" * 24


@pytest.fixture
def told_nothing(tmp_path: Path) -> Orders:
    """Run `orders` where nothing says where anything is."""
    return Orders({"LOCAL_DIR": str(tmp_path / "none")}, hasty)


@pytest.fixture
def events(file: Path) -> Path:
    """Return a recording of one event."""
    write(file, EVENT)
    return file


def refused(run: Run, *texts: str) -> None:
    """Hold a run to exit code 2 and one line that has these texts, after what it looks at."""
    said = [line for line in run.err.splitlines() if not line.startswith("looking at ")]
    assert (run.code, len(said)) == (2, 1), run.err
    for text in texts:
        assert text in said[0]


# --- where to --------------------------------------------------------------------------------------------------------


async def test_https_is_spoken_with_whom_this_machine_trusts(
    told_nothing: Orders, events: Path, tmp_path: Path
) -> None:
    """The system's certificates decide: with one that they do not know nothing is sent."""
    certified = certificate(tmp_path)
    async with Sink(tls=serving(certified)) as sink:
        run = await told_nothing("event", "send", events, "--to-url", sink.url)
        assert run.code == 2
        assert f"no TLS with {sink.url}" in run.err
        assert "certificate verify failed" in run.err
        assert sink.received == []
        command = [sys.executable, "-m", "operate.cli", "event", "send", events, "--to-url", sink.url, "--times", "3"]
        trusting = {**os.environ, "SSL_CERT_FILE": str(certified[0])}  # where OpenSSL finds the system's
        process = await asyncio.create_subprocess_exec(*command, env=trusting, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        assert (process.returncode, b"3 answered 200" in out) == (0, True)
        assert len(sink.received) == 3


async def test_an_ipv6_address_is_reached(told_nothing: Orders, events: Path) -> None:
    """In brackets, as it is written in URLs."""
    async with Sink(host="::1") as sink:
        run = await told_nothing("event", "send", events, "--to-url", sink.url)
        assert (run.code, len(sink.received)) == (0, 1)
        assert sink.received[0].header("Host") == sink.url.split("/")[2]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("127.0.0.1", "does not begin with http://"),
        ("ftp://host", "'ftp' cannot be spoken"),
        ("http://", "there is no host"),
        ("http://:80", "there is no host"),
        ("http://host:99999", "Port out of range"),
        ("http://host:abc", "Port"),
        ("http://host:0", "port 0"),
        ("http://[::1", "IPv6"),
        ("http://[zz]:80", ""),
        ("http://::1:80", "in brackets"),
        ("http://Павел.example", "xn--80aejyq.example"),
        ("http://host/Павел", "%20 and the like"),
        ("http://a..b", "no host can be called so"),
        ("http://user:secret@host", "are not sent"),
        ("http://host/a b", "%20 and the like"),
    ],
)
async def test_a_url_that_cannot_be_one_is_named(told_nothing: Orders, events: Path, url: str, why: str) -> None:
    """With the option that says it, and what to write instead; a password is not repeated."""
    run = await told_nothing("event", "send", events, "--to-url", url)
    refused(run, "--to-url", why)
    assert "secret" not in run.err


async def test_a_template_is_looked_at_as_a_url_is(told_nothing: Orders, events: Path) -> None:
    """By the name of the option, or of the variable."""
    run = await told_nothing("--function-url", "{name}.shop.svc", "event", "send", events, "--to", "billing-handler")
    refused(run, "--function-url 'billing-handler.shop.svc'", "does not begin with http://")
    run = await Orders({"SINK_URL": "http://sinks:x/{name}"})("event", "show", HEX)
    refused(run, "SINK_URL 'http://sinks:x/payments'", "Port")


# --- what is looked at -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb",
    [
        ["verify"],
        ["dlq", "list"],
        ["dlq", "show", HEX],
        ["dlq", "redrive"],
        ["dlq", "park", "--reason", "x"],
        ["event", "show", HEX],
        ["event", "record", "--topic", "payments"],
        ["event", "send", "FILE", "--to", "billing-handler"],
        ["replay", "FILE", "--to", "billing-handler"],
        ["replay", "FILE", "--to-url", "http://127.0.0.1:1"],
    ],
    ids=" ".join,
)
async def test_a_verb_that_was_told_nothing_refuses(told_nothing: Orders, events: Path, verb: list[str]) -> None:
    """Another stack may listen on the ports of `make run`; it would be verified without a word."""
    run = await told_nothing(*(events if word == "FILE" else word for word in verb))
    refused(run, "nothing says where", "make run", "no stack runs in")
    assert run.out == ""


async def test_help_needs_to_be_told_nothing(told_nothing: Orders) -> None:
    """Nor says what it would look at."""
    run = await told_nothing("event", "send", "--help")
    assert (run.code, run.err) == (0, "")


@pytest.mark.parametrize("where", ["before", "after", "with ="])
async def test_the_common_options_are_taken_before_and_after_the_verb(told_nothing: Orders, where: str) -> None:
    """All of them, and the last one counts."""
    uri, kafka = "mongodb://127.0.0.1:1/?directConnection=true", "127.0.0.1:1"
    options = ["--mongodb-uri", "mongodb://no", "--mongodb-uri", uri, "--kafka", kafka, "--sink-url", "http://s/{name}"]
    if where == "with =":
        options = [f"--mongodb-uri={uri}", f"--kafka={kafka}", "--sink-url=http://s/{name}"]
    verb = ["dlq", "park", "--reason", "--kafka" if where == "before" else "x"]
    run = await told_nothing(*options, "--", *verb) if where == "before" else await told_nothing(*verb, *options)
    assert run.code == 2
    assert run.err.splitlines() == [
        "looking at MongoDB 127.0.0.1:1 (--mongodb-uri); Kafka 127.0.0.1:1 (--kafka); KafkaSinks (--sink-url)",
        "Kafka does not answer: 127.0.0.1:1: Connection refused",
    ]


async def test_an_option_without_its_value_is_named(told_nothing: Orders) -> None:
    """It is not the verb that is taken for it."""
    refused(await told_nothing("verify", "--mongodb-uri"), "--mongodb-uri needs a value")


async def test_what_is_looked_at_is_said_with_what_says_so(tmp_path: Path) -> None:
    """In one line on standard error, without the credentials, and with databases of another name."""
    orders = Orders(
        {
            "NOTIFY_DATABASE": "notify_of_may",
            "MONGODB_URI": "mongodb://ann:s3cret@127.0.0.1:1,127.0.0.1:2/?replicaSet=rs",
            "BILLING_MONGODB_URI": "mongodb://127.0.0.1:3/?directConnection=true",
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
            "LOCAL_DIR": str(tmp_path),
        },
        hasty,
    )
    run = await orders("event", "show", HEX)
    assert run.code == 2
    looks, said = run.err.splitlines()
    assert looks == (
        "looking at MongoDB 127.0.0.1:1,127.0.0.1:2 of orders and notify (MONGODB_URI); MongoDB 127.0.0.1:3 of billing "
        "(BILLING_MONGODB_URI); Kafka 127.0.0.1:9 (KAFKA_BOOTSTRAP_SERVERS); NOTIFY_DATABASE=notify_of_may"
    )
    assert said.startswith("MongoDB does not answer: 127.0.0.1:")
    assert "Topology" not in said
    assert "s3cret" not in run.err


# --- MongoDB and Kafka -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("mongodb://h:abc", "Port contains non-digit"),
        ("mongodb://h:99999", "Port must be"),
        ("mongodb://", "at least one host"),
        ("mongodb://[::1", "IPv6"),
        ("http://h", "mongodb://"),
        ("mongodb://h,i/?directConnection=true", "multiple hosts"),
        ("mongodb://h/?tls=true&tlsCAFile=/none", "No such file"),
        ("mongodb://ann:s3/cret@h", "escaped"),
    ],
)
async def test_a_uri_of_mongodb_that_cannot_be_one_is_named(told_nothing: Orders, uri: str, why: str) -> None:
    """It is a wrong use, and not MongoDB that does not answer."""
    run = await told_nothing("event", "show", HEX, "--mongodb-uri", uri)
    refused(run, "--mongodb-uri is not a usable MongoDB URI", why)
    assert "s3" not in run.err


async def test_a_database_that_cannot_be_called_so_is_a_wrong_setting() -> None:
    """Not MongoDB that does not answer; and what the functions would refuse to start with does not matter here."""
    settings = {"ORDERS_DATABASE": "a b", "ARRAY_LIMIT": "abc"}
    run = await Orders({"MONGODB_URI": "mongodb://127.0.0.1:1", **settings})("event", "show", HEX)
    refused(run, "ORDERS_DATABASE must be a database name")


async def test_an_option_that_mongodb_does_not_know_is_said_to_be_ignored(told_nothing: Orders) -> None:
    """In a line, not as a warning of Python with the line of code."""
    uri = "mongodb://127.0.0.1:1/?directConnection=true&foo=bar"
    run = await told_nothing("event", "show", HEX, "--mongodb-uri", uri)
    assert run.code == 2
    assert run.err.splitlines()[1].startswith("--mongodb-uri: Unknown option: foo")
    assert len(run.err.splitlines()) == 3


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        (
            b"no.such.thing=1\n",
            'configuration for Kafka cannot be used: No such configuration property: "no.such.thing"',
        ),
        (b"session.timeout.ms=soon\n", "configuration for Kafka cannot be used: Invalid value"),
        (b"stats_cb=1\n", "configuration for Kafka cannot be used: expected stats_cb"),
        (b"security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n", "sasl.username and sasl.password must be set"),
        (b"# fine\n\ngarbage\n", "line 3: 'garbage' is not name=value"),
        (b"=1\n", "line 1: '=1' is not name=value"),
        (b"\x89PNG\xff\n", "is not UTF-8"),
    ],
)
async def test_a_configuration_for_kafka_that_cannot_be_one_is_named(
    tmp_path: Path, properties: bytes, why: str
) -> None:
    """It is the configuration, and not Kafka that does not answer."""
    config = tmp_path / "kafka.properties"
    config.write_bytes(properties)
    orders = Orders({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "KAFKA_CONFIG": str(config)})
    refused(await orders("event", "record", "--topic", "payments"), why)
    (tmp_path / "folder").mkdir()
    for missing in (tmp_path / "none", tmp_path / "folder"):
        refused(await Orders({"KAFKA_CONFIG": str(missing)})("event", "show", HEX), str(missing))


@pytest.mark.parametrize("servers", ["localhost:abc", "localhost:99999", "localhost:0", ":9092", "a:1,b:"])
async def test_a_broker_that_cannot_be_one_is_named(told_nothing: Orders, servers: str) -> None:
    """Kafka's library would take the port for 0, and wait."""
    refused(await told_nothing("event", "record", "--topic", "x", "--kafka", servers), "--kafka", "is not host:port")


def test_of_all_that_kafkas_library_writes_the_reason_is_kept() -> None:
    """It writes a line for every attempt to connect, past whoever catches what this command writes."""
    command = [sys.executable, "-m", "operate.cli", "event", "record", "--topic", "payments", "--kafka", "127.0.0.1:1"]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert run.stderr.splitlines() == [
        "looking at Kafka 127.0.0.1:1 (--kafka)",
        "Kafka does not answer: 127.0.0.1:1: Connection refused",
    ]


# --- files and numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"specversion":"1.0","id":"1","source":"/x","type":"y","data":' + b"[" * 990 + b"]" * 990 + b"}", ""),
        (b"{}", "specversion None"),
        (b"9" * 5_000, "not JSON"),
    ],
    ids=["not UTF-8", "brackets", "deep data", "no event", "a long number"],
)
async def test_a_line_that_cannot_be_read_is_named_and_nothing_is_sent(
    told_nothing: Orders, file: Path, line: bytes, why: str
) -> None:
    """The whole file is read before the first event is sent, so the third line keeps the first two back."""
    event_ = json.dumps(EVENT).encode()
    file.write_bytes(b"\n".join([event_, event_, line, event_]))  # noqa: ASYNC240 - a line
    async with Sink() as sink:
        run = await told_nothing("event", "send", file, "--to-url", sink.url, "--all-epochs")
        refused(run, "event 3: ", why)
        assert (sink.received, run.out) == ([], "")


async def test_files_that_are_not_there_are_named(told_nothing: Orders, tmp_path: Path, events: Path) -> None:
    """With where to read on."""
    none = tmp_path / "none"
    refused(await told_nothing("event", "send", none, "--to-url", "http://h"), str(none), "event send --help")
    refused(await told_nothing("replay", none, "--to-url", "http://h"), str(none))
    refused(await told_nothing("replay", events, "--to-url", "http://h", "--expect", none), str(none))
    garbage = tmp_path / "garbage"
    for content in (b"\xff\xfe\x00", b"[" * 100_000, b"a: b: c\n d"):
        garbage.write_bytes(content)
        run = await told_nothing("replay", events, "--to-url", "http://h", "--expect", garbage)
        refused(run, f"{garbage} is not YAML")
    garbage.write_bytes(b"\n \n")
    refused(await told_nothing("event", "send", garbage, "--to-url", "http://h"), "has no events in it")


@pytest.mark.parametrize("age", ["99999999999d", "9" * 400 + "s", "-1s", "1", "1w", "٣s", "nan", "inf"])
async def test_an_age_that_cannot_be_one_is_named(told_nothing: Orders, age: str) -> None:
    """No age overflows a clock: a hundred years are the most."""
    refused(
        await told_nothing("event", "record", "--topic", "x", f"--since={age}", "--kafka", "127.0.0.1:1"), "--since"
    )
    refused(await told_nothing("verify", f"--older-than={age}", "--mongodb-uri", "mongodb://h:1"), "--older-than")


# --- the rest --------------------------------------------------------------------------------------------------------


def test_a_bug_does_not_look_like_a_check_that_failed() -> None:
    """Its trace is shown, and the exit code is 2."""

    def bug(*_: object) -> RunningShop:
        raise KeyError("a bug")

    run = CliRunner().invoke(app, ["event", "record", "--topic", "x"], obj=Surroundings({}, bug))
    assert run.exit_code == 2
    assert "Traceback" in run.stderr
    assert "a bug in this command" in run.stderr.splitlines()[-1]


async def test_an_output_that_nobody_reads_any_more_is_no_check_that_failed(events: Path) -> None:
    """`orders ... | head`: exit code 2, and not a word of Python's about the pipe."""
    read, written = os.pipe()
    os.close(read)
    async with Sink() as sink:
        command = [sys.executable, "-m", "operate.cli", "event", "send", events, "--to-url", sink.url, "--all-epochs"]
        process = await asyncio.create_subprocess_exec(*command, stdout=written, stderr=asyncio.subprocess.PIPE)
        os.close(written)
        _, said = await process.communicate()
        assert (process.returncode, len(sink.received)) == (2, 1)
        assert said.decode().splitlines()[1:] == []

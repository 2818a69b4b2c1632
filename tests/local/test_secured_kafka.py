"""A Kafka that speaks TLS alone and demands a login, as production's does, by the settings of the environment."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from local.servers.kafka import Kafka, client, create_topics
from local.servers.parts import PartFailedError
from local.servers.probe import answers
from local.settings import ROOT
from operate.errors import NotReachable
from operate.groups import Groups
from operate.places import find
from operate.topics import Topics
from tests.local.kafka_fixtures import StandIn, wait_until
from tests.local.stand_ins.scripted_sink import ScriptedSink
from tests.operate.command import Orders
from tests.support.own_servers import KAFKA
from tests.support.sink import certificate
from wire.http import Client
from wire.login import CA, MECHANISM, PASSWORD, PROTOCOL, USERNAME, login

pytestmark = pytest.mark.long  # a broker of its own

RIGHT, WRONG = "correct horse", "battery staple"
ADMIN = {MECHANISM: "PLAIN", USERNAME: "admin", PASSWORD: "for the tests"}
SHOP = {MECHANISM: "SCRAM-SHA-512", USERNAME: "shop", PASSWORD: RIGHT}
MODULES = "org.apache.kafka.common.security"


class Secured(Kafka):
    """A broker whose one listener for clients wants TLS and a login."""

    def __init__(self, folder: Path) -> None:
        made, key = certificate(folder)
        (folder / "broker.pem").write_text(key.read_text() + made.read_text())
        module, listener = f"{MODULES}.plain.PlainLoginModule required", "listener.name.plaintext"
        password = ADMIN[PASSWORD]
        properties = {
            "listener.security.protocol.map": "PLAINTEXT:SASL_SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            f"{listener}.plain.sasl.jaas.config": (
                f'{module} username="admin" password="{password}" user_admin="{password}";'
            ),
            f"{listener}.scram-sha-512.sasl.jaas.config": f"{MODULES}.scram.ScramLoginModule required;",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(folder / "broker.pem"),
            # What the broker says to itself goes the same way.
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(made),
        }
        self.ca = made
        super().__init__(folder / "kafka", ready=self._lists, properties=properties)

    def told(self, who: Mapping[str, str], **changed: str) -> dict[str, str]:
        """Return what the environment of a client says."""
        return {PROTOCOL: "SASL_SSL", **who, CA: str(self.ca), **changed}

    async def _lists(self) -> bool:
        try:
            return await answers(self.port) and bool(self.admin().list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    def admin(self) -> AdminClient:
        """Return a client of the user who may do all."""
        return client(self.bootstrap_servers, login(self.told(ADMIN)))


@pytest.fixture(scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    """Run it, with the shop's user as production has it."""
    secured = Secured(tmp_path_factory.mktemp("secured"))
    await secured.start()
    try:
        admin = secured.admin()
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        (made,) = admin.alter_user_scram_credentials(
            [UserScramCredentialUpsertion("shop", scram, RIGHT.encode())]
        ).values()
        made.result(timeout=30)
        await create_topics(secured.bootstrap_servers, {"in": 1}, login=login(secured.told(SHOP)))
        yield secured
    finally:
        await secured.stop()


def orders(broker: Secured, environment: Mapping[str, str]) -> Orders:
    """Return the command, told where this Kafka is."""
    return Orders({"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers, **environment})


def written(folder: Path) -> str:
    """Return all that the files of a folder hold."""
    return "".join(file.read_text() for file in folder.iterdir())


async def test_an_event_goes_in_and_comes_out_and_orders_reads_it(broker: Secured, tmp_path: Path) -> None:
    """By KafkaSink and KafkaSource, as the functions' events do; the password is in no file and no log of theirs."""
    told = broker.told(SHOP)
    servers = {"bootstrap_servers": broker.bootstrap_servers}
    sinks = [{"namespace": "shop", "name": "in", "topic": "in", "content_mode": "binary"}]
    consumer = ScriptedSink([{"status": 200}])
    await consumer.start()
    source = {
        "namespace": "shop",
        "name": "test",
        "topics": ["in"],
        "consumer_group": "test",
        "consumers": 1,
        "initial_offset": "earliest",
        "ordering": "unordered",
        "delivery": {"retry": 0},
        "sink_url": f"{consumer.url}/",
        "ce_overrides": {},
    }
    receiver = await StandIn(
        "kafka_sink", {"host": "127.0.0.1", "port": 0, **servers, "sinks": sinks}, tmp_path, told
    ).start()
    running = await StandIn("kafka_source", {**servers, "sources": [source]}, tmp_path, told).start()
    post = Client(f"{receiver.url}/shop/in", 30)
    headers = [("ce-specversion", b"1.0"), ("ce-source", b"/shop"), ("ce-type", b"test"), ("ce-id", b"7")]
    assert (await post.post(headers, b"{}")).status == 202
    post.close()
    await wait_until(lambda: [dict(request.headers)["ce-id"] for request in consumer.requests] == ["7"])

    places = find({"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers, **told})
    (record,) = Topics(places.kafka).read(["in"])
    assert dict(record.headers() or [])["ce_id"] == b"7"
    groups = Groups(places.kafka, Topics(places.kafka), 10)
    assert groups.look({"test": "in"})["test"].members == 1
    recorded = await orders(broker, told)("event", "record", "--topic", "in")
    assert recorded.code == 0, recorded.err

    assert (await running.end(), await receiver.end()) == (0, 0)
    await consumer.stop()
    assert RIGHT not in written(tmp_path)


@pytest.mark.parametrize(("password", "status", "said"), [(RIGHT, 0, "1 passed"), (WRONG, 2, "Authentication failed")])
async def test_make_test_runs_on_it(broker: Secured, password: str, status: int, said: str) -> None:
    """A stack of the run's own topics, from the order to what settles it; or a word before anything is started."""
    told = broker.told(SHOP, **{PASSWORD: password})
    environment = {**os.environ, KAFKA: broker.bootstrap_servers, **told}
    command = (sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "tests/docs/test_calls.py")
    run = await asyncio.create_subprocess_exec(
        *command, env=environment, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(run.communicate(), 300)
    assert run.returncode == status, output.decode()
    assert said in output.decode()
    assert password not in output.decode()
    topics = broker.admin().list_topics(timeout=10).topics
    assert [name for name in topics if name.startswith("tests-")] == []


async def test_a_wrong_password_is_told_in_words(broker: Secured) -> None:
    """By each that would use it, soon, and not as a Kafka that does not answer."""
    told = broker.told(SHOP, **{PASSWORD: WRONG})
    refused = await orders(broker, told)("event", "record", "--topic", "in")
    assert refused.code == 2
    assert "Kafka refuses: " in refused.err
    assert "Authentication failed" in refused.err
    places = find({"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers, **told})
    with pytest.raises(NotReachable, match=r"Kafka refuses: .*Authentication failed"):
        Groups(places.kafka, Topics(places.kafka), 2).look({"test": "in"})
    with pytest.raises(PartFailedError, match=r"refuses us: .*Authentication failed"):
        await create_topics(broker.bootstrap_servers, {"in": 1}, login=login(told))
    assert WRONG not in refused.err + refused.out + repr(places) + str(places)


async def test_a_stand_in_with_a_wrong_password_says_so_once(broker: Secured, tmp_path: Path) -> None:
    """Its log is where somebody looks whose events do not come; a line for each attempt would hide the others."""
    told = broker.told(SHOP, **{PASSWORD: WRONG})
    config = {"host": "127.0.0.1", "port": 0, "bootstrap_servers": broker.bootstrap_servers, "sinks": []}
    receiver = await StandIn("kafka_sink", config, tmp_path, told).start()
    await wait_until(lambda: "kafka-refuses" in written(tmp_path))
    await asyncio.sleep(3)  # it tries again each second
    assert await receiver.end() == 0
    log = written(tmp_path)
    assert log.count("Authentication failed") == 1, log
    assert WRONG not in log


async def test_a_broker_that_nobody_vouches_for_gets_no_password(broker: Secured) -> None:
    """Without KAFKA_SSL_CA the system's authorities are asked, and know nothing of it."""
    told = broker.told(SHOP, **{CA: ""})
    refused = await orders(broker, told)("event", "record", "--topic", "in")
    assert refused.code == 2
    assert "certificate verify failed" in refused.err


async def test_without_a_login_it_is_an_error_in_words(broker: Secured) -> None:
    """Which says what may be missing."""
    refused = await orders(broker, {})("event", "record", "--topic", "in")
    assert refused.code == 2
    assert "Kafka does not answer: " in refused.err

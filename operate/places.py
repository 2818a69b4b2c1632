"""Know where MongoDB, Kafka, the KafkaSinks and the functions are: on this machine by itself, elsewhere as told.

A running stack (`make run`) leaves its addresses in `.stack/addresses.json`, so on one machine nothing has to be said.
Options and environment variables come first, and are all there is for a cluster. There is no other default: whatever
listens on a well-known port may be somebody else's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from operate import stack
from operate.errors import WrongUse
from operate.urls import checked
from shop.messages import TOPICS
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested
from shop.state import SERVICES
from wire.address import hosts
from wire.login import LoginError, login


class Consumer(NamedTuple):
    """A function that takes events: the topic it takes them from, and the service that it is of."""

    topic: str
    service: str


CONSUMERS: Final[Mapping[str, Consumer]] = {
    "billing-handler": Consumer(TOPICS[PaymentRequested], "billing"),
    "order-handler": Consumer(TOPICS[PaymentDecided], "orders"),
    "notify-handler": Consumer(TOPICS[PaymentDecided], "notify"),
}
"""Said in the manifests; tests/operate/test_places.py holds this to them."""

OPTIONAL: Final[Mapping[str, Consumer]] = {"webhook-handler": Consumer(TOPICS[PaymentDecided], "notify")}
"""Those that a component adds: nobody waits for them, and their dead letters are sent again all the same."""

KNOWN: Final[Mapping[str, Consumer]] = {**CONSUMERS, **OPTIONAL}
"""Whatever may take events."""

DEAD_LETTERS: Final = "dead-letters"


class NotTold(WrongUse):
    """Nothing says where something is."""


@dataclass(frozen=True)
class Address:
    """Where something is, or what it is called, and what says so: an option, a variable, a stack."""

    at: str
    by: str


@dataclass(frozen=True)
class Places:
    """Where everything is, as far as it was told."""

    mongodb: Mapping[str, Address]
    """By service: `orders`, `billing`, `notify`."""

    names: Mapping[str, Address]
    """What databases are called that are not called like their service."""

    brokers: Address | None
    """Kafka's bootstrap servers."""

    kafka_config: Mapping[str, str] = field(repr=False)
    """What else librdkafka is to know: who we are, and the password."""

    sinks: Mapping[str, Address]
    """The URLs of the KafkaSinks by name."""

    functions: Mapping[str, Address]
    """The URLs of functions by name."""

    silent: str
    """Why the stack of this folder says nothing: empty when it runs."""

    @property
    def databases(self) -> Mapping[str, Address]:
        """Return the MongoDB of each service. Raises NotTold unless each is known."""
        for service in SERVICES:
            if service not in self.mongodb:
                raise self._not_told(f"the MongoDB of {service}", f"--mongodb-uri, MONGODB_URI or {_uri(service)}")
        return self.mongodb

    @property
    def kafka(self) -> Mapping[str, str]:
        """Return the configuration of a librdkafka client. Raises NotTold when nothing says where Kafka is."""
        if self.brokers is None:
            raise self._not_told("Kafka", "--kafka or KAFKA_BOOTSTRAP_SERVERS")
        return {**self.kafka_config, "bootstrap.servers": self.brokers.at}

    def function(self, name: str) -> str:
        """Return the URL of a consumer. Raises WrongUse when there is none of this name, or nothing says where."""
        if name not in KNOWN:
            raise WrongUse(f"no function {name!r} takes events; use one of {', '.join(KNOWN)}, or --to-url")
        if name not in self.functions:
            how = "--to-url, or --function-url or FUNCTION_URL, a template such as http://{name}.shop.svc.cluster.local"
            raise self._not_told(name, how)
        return self.functions[name].at

    def sink(self, name: str) -> str:
        """Return the URL of a KafkaSink. Raises NotTold when nothing says where it is."""
        if name not in self.sinks:
            raise self._not_told(f"the KafkaSink {name}", "--sink-url or SINK_URL, a template with {name} in it")
        return self.sinks[name].at

    def consumer_at(self, url: str) -> str | None:
        """Return the consumer that a dead letter's `knativeerrordest` names; None when it is none that we know."""
        for name in KNOWN:
            if name in self.functions and self.functions[name].at.rstrip("/") == url.rstrip("/"):
                return name
        # On Knative a function's host begins with its name, whoever looks from wherever.
        try:
            host = (urlsplit(url).hostname or "").partition(".")[0]
        except ValueError:  # a letter's attributes are whatever somebody wrote to the topic
            return None
        return host if host in KNOWN else None

    def _not_told(self, what: str, how: str) -> NotTold:
        return NotTold(f"nothing says where {what} is: use {how}, or start a stack (make run); {self.silent}")

    def __str__(self) -> str:
        parts: dict[str, list[str]] = {}  # by what says so
        for address in dict.fromkeys(self.mongodb.values()):
            services = [service for service in SERVICES if self.mongodb.get(service) == address]
            whose = "" if len(services) == len(SERVICES) else f" of {' and '.join(services)}"
            parts.setdefault(address.by, []).append(f"MongoDB {hosts(address.at)}{whose}")
        if self.brokers is not None:
            parts.setdefault(self.brokers.by, []).append(f"Kafka {self.brokers.at}")
        for what, addresses in (("KafkaSinks", self.sinks), ("functions", self.functions)):
            if addresses:
                parts.setdefault(next(iter(addresses.values())).by, []).append(what)
        told = [f"{', '.join(what)} ({by})" for by, what in parts.items()]
        return "; ".join(told + [f"{name.by}={name.at}" for name in self.names.values()])


def _uri(service: str) -> str:
    return f"{service.upper()}_MONGODB_URI"


def find(
    environment: Mapping[str, str],
    *,
    mongodb_uri: str | None = None,
    kafka: str | None = None,
    kafka_config: str | None = None,
    sink_url: str | None = None,
    function_url: str | None = None,
) -> Places:
    """Put together what options say, what the environment says and what the stack on this machine says.

    A stack counts as a whole or not at all: the orders of one shop are never held against the topics of another.

    Args:
        environment: what says the rest.
        mongodb_uri: the MongoDB of all services whose own variable is not set.
        kafka: bootstrap servers.
        kafka_config: a file of properties, which come before the variables of wire.login.
        sink_url: a template.
        function_url: a template.

    Raises:
        WrongUse: a file or a template cannot be used.

    """

    def said(option: str, variable: str, value: str | None = None) -> Address | None:
        """Return what an option says, or else its variable."""
        return _first([(value, option), (environment.get(variable), variable)])

    def of_each(variable: str) -> dict[str, Address | None]:
        names = {service: f"{service.upper()}_{variable}" for service in SERVICES}
        return {service: said(name, name) for service, name in names.items()}

    mongodb = of_each("MONGODB_URI")
    of_all = said("--mongodb-uri", "MONGODB_URI", mongodb_uri)
    config = said("--kafka-config", "KAFKA_CONFIG", kafka_config)
    properties = _properties(config) if config else {}
    brokers = said("--kafka", "KAFKA_BOOTSTRAP_SERVERS", kafka)
    if brokers is None and config is not None:
        brokers = _first([(properties.get("bootstrap.servers"), config.at)])

    folder = Path(environment.get("LOCAL_DIR") or stack.FOLDER).absolute()
    addresses, silent = stack.addresses(folder)
    for told, its_own in (
        *((each, "mongodb_uri") for each in (*mongodb.values(), of_all)),
        (brokers, "kafka_bootstrap_servers"),
    ):
        if told and addresses and hosts(told.at) != hosts(addresses.get(its_own, "")):
            addresses, silent = {}, f"the stack in {folder} is of another shop than {told.by}, so it is left aside"
    in_stack = f"the stack in {folder}"
    of_all = of_all or _first([(addresses.get("mongodb_uri"), in_stack)])
    brokers = brokers or _first([(addresses.get("kafka_bootstrap_servers"), in_stack)])
    return Places(
        mongodb=_known({service: own or of_all for service, own in mongodb.items()}),
        names=_known(of_each("DATABASE")),
        brokers=_checked_brokers(brokers),
        kafka_config={**_login(environment), **properties},
        sinks=_each(said("--sink-url", "SINK_URL", sink_url), (*TOPICS.values(), DEAD_LETTERS))
        or _at(addresses.get("sinks"), in_stack),
        functions=_each(said("--function-url", "FUNCTION_URL", function_url), KNOWN)
        or _at(addresses.get("functions"), in_stack),
        silent=silent,
    )


def _first(said: Iterable[tuple[str | None, str]]) -> Address | None:
    """Return the first address that anything says."""
    return next((Address(at, by) for at, by in said if at), None)


def _known(found: Mapping[str, Address | None]) -> dict[str, Address]:
    return {name: address for name, address in found.items() if address is not None}


def _at(urls: Mapping[str, str] | None, by: str) -> dict[str, Address]:
    return {name: Address(url, by) for name, url in (urls or {}).items()}


def _each(template: Address | None, names: Iterable[str]) -> dict[str, Address]:
    if template is None:
        return {}
    if "{name}" not in template.at:
        raise WrongUse(f"{template.by} {template.at!r} must be a template with {{name}} in it")
    urls = {name: template.at.replace("{name}", name) for name in names}
    return {name: Address(checked(url, template.by), template.by) for name, url in urls.items()}


def _login(environment: Mapping[str, str]) -> dict[str, str]:
    """Read how to log in to Kafka. Raises WrongUse for half of it, or for what is not known."""
    try:
        return login(environment)
    except LoginError as error:
        raise WrongUse(str(error)) from error


def _properties(config: Address) -> dict[str, str]:
    """Read `name=value` lines, as Kafka's own tools do. Raises WrongUse for what is none."""
    try:
        text = Path(config.at).read_text(encoding="utf-8")
    except OSError as error:
        raise WrongUse(f"{config.by} {config.at}: {error.strerror}") from error
    except UnicodeError as error:
        raise WrongUse(f"{config.at} is not UTF-8: {error}") from error
    properties = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if line and not line.startswith("#"):
            name, found, value = line.partition("=")
            if not (found and name.strip()):
                raise WrongUse(f"{config.at}, line {number}: {line[:80]!r} is not name=value")
            properties[name.strip()] = value.strip()
    return properties


def _checked_brokers(brokers: Address | None) -> Address | None:
    """Raise WrongUse for a port that is none: librdkafka takes it for 0."""
    for server in brokers.at.split(",") if brokers else ():
        host, found, port = server.strip().rpartition("://")[2].rpartition(":")
        if (
            found
            and not server.endswith("]")
            and not (host and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 2**16)
        ):
            raise WrongUse(f"{brokers.by if brokers else ''} {server!r} is not host:port")
    return brokers

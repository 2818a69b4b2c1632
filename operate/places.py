"""Know where MongoDB, Kafka, the KafkaSinks and the functions are: on this machine by itself, elsewhere as told.

A running stack (`make run`) leaves its addresses in `.stack/addresses.json`, so on one machine nothing has to be said.
Flags and environment variables come first, and are all there is for a cluster. There is no other default: whatever
listens on a well-known port may be somebody else's.
"""

import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from local.folder import ADDRESSES, runs
from local.settings import Settings
from operate.cli.output import WrongUse, note
from operate.urls import checked

SERVICES: Final = ("orders", "billing", "notify")

CONSUMERS: Final = {"billing-handler": "payments", "order-handler": "results", "notify-handler": "results"}
"""The functions that take events, and the topic each of them takes its events from."""

SINKS: Final = ("payments", "results", "dead-letters")


class NotTold(WrongUse):
    """Nothing says where something is."""


@dataclass(frozen=True)
class Place:
    """Where something is, and what says so: an option, a variable, a stack."""

    at: str
    by: str


@dataclass
class Places:
    """Where everything is, as far as it was told."""

    mongodb: Mapping[str, Place]
    """By service: `orders`, `billing`, `notify`."""

    brokers: Place | None
    """Kafka's bootstrap servers."""

    kafka_config: Mapping[str, str]
    """What else librdkafka is to know."""

    sinks: Mapping[str, Place]
    """The URLs of the KafkaSinks by name."""

    functions: Mapping[str, Place]
    """The URLs of functions by name."""

    stack: str
    """Why the stack of this folder says nothing: empty when it runs."""

    _said: bool = field(default=False, init=False)

    @property
    def mongodb_uris(self) -> Mapping[str, str]:
        """Return the URIs by service. Raises NotTold unless each is known."""
        for service in SERVICES:
            if service not in self.mongodb:
                raise self._not_told(
                    f"the MongoDB of {service}", f"--mongodb-uri, MONGODB_URI or {_uri_variable(service)}"
                )
        self._say()
        return {service: place.at for service, place in self.mongodb.items()}

    @property
    def knows_mongodb(self) -> bool:
        """Whether all three databases can be looked at."""
        return all(service in self.mongodb for service in SERVICES)

    @property
    def kafka(self) -> Mapping[str, str]:
        """Return the configuration of a librdkafka client. Raises NotTold when nothing says where Kafka is."""
        if self.brokers is None:
            raise self._not_told("Kafka", "--kafka or KAFKA_BOOTSTRAP_SERVERS")
        self._say()
        return {**self.kafka_config, "bootstrap.servers": self.brokers.at}

    def function(self, name: str) -> str:
        """Return the URL of a consumer. Raises WrongUse when there is none of this name, or nothing says where."""
        if name not in CONSUMERS:
            raise WrongUse(f"no function {name!r} takes events; name one of {', '.join(CONSUMERS)}, or give --to-url")
        if name not in self.functions:
            how = "--to-url, or --function-url or FUNCTION_URL, a template such as http://{name}.shop.svc.cluster.local"
            raise self._not_told(name, how)
        self._say()
        return self.functions[name].at

    def sink(self, name: str) -> str:
        """Return the URL of a KafkaSink. Raises NotTold when nothing says where it is."""
        if name not in self.sinks:
            raise self._not_told(f"the KafkaSink {name}", "--sink-url or SINK_URL, a template with {name} in it")
        self._say()
        return self.sinks[name].at

    def consumer_at(self, url: str) -> str | None:
        """Return the consumer that a dead letter's `knativeerrordest` names; None when it is none that we know."""
        for name in CONSUMERS:
            if name in self.functions and self.functions[name].at.rstrip("/") == url.rstrip("/"):
                return name
        # On Knative a function's host begins with its name, whoever looks from wherever.
        try:
            host = (urlsplit(url).hostname or "").partition(".")[0]
        except ValueError:  # a letter's attributes are whatever somebody wrote to the topic
            return None
        return host if host in CONSUMERS else None

    def _not_told(self, what: str, how: str) -> NotTold:
        return NotTold(f"nothing says where {what} is: give {how}, or start a stack (make run); {self.stack}")

    def _say(self) -> None:
        """Tell once, before anything is looked at, what is looked at: who is in the wrong folder should see it."""
        if not self._said:
            self._said = True
            note(f"looking at {self}")

    def __str__(self) -> str:
        parts: dict[str, list[str]] = {}  # by what says so
        for place in dict.fromkeys(self.mongodb.values()):
            services = [service for service in SERVICES if self.mongodb.get(service) == place]
            whose = "" if len(services) == len(SERVICES) else f" of {' and '.join(services)}"
            parts.setdefault(place.by, []).append(f"MongoDB {hosts(place.at)}{whose}")
        if self.brokers is not None:
            parts.setdefault(self.brokers.by, []).append(f"Kafka {self.brokers.at}")
        for what, places in (("KafkaSinks", self.sinks), ("functions", self.functions)):
            if places:
                parts.setdefault(next(iter(places.values())).by, []).append(what)
        renamed = [f"{name}={os.environ[name]}" for name in map(_database_variable, SERVICES) if os.environ.get(name)]
        told = [f"{', '.join(what)} ({by})" for by, what in parts.items()]
        return "; ".join(told + renamed)


def _uri_variable(service: str) -> str:
    return f"{service.upper()}_MONGODB_URI"


def _database_variable(service: str) -> str:
    return f"{service.upper()}_DATABASE"


def hosts(uri: str) -> str:
    """Return the hosts of a URI of MongoDB, or of bootstrap servers, without credentials, however they are written."""
    return uri.rpartition("://")[2].rpartition("@")[2].partition("/")[0].partition("?")[0]


def find(
    mongodb_uri: str | None = None,
    kafka: str | None = None,
    kafka_config: Path | None = None,
    sink_url: str | None = None,
    function_url: str | None = None,
    *,
    by_environment: Collection[str] = (),
) -> Places:
    """Put together what was said, what the environment says and what the stack on this machine says.

    A stack counts as a whole or not at all: the orders of one shop are never held against the topics of another.

    Args:
        mongodb_uri: the MongoDB of all services whose own variable is not set.
        kafka: bootstrap servers.
        kafka_config: a file of properties.
        sink_url: a template.
        function_url: a template.
        by_environment: which of the above come from environment variables, not from options.

    Raises:
        WrongUse: a file or a template cannot be used.

    """

    def by(option: str, variable: str) -> str:
        return variable if option.removeprefix("--").replace("-", "_") in by_environment else option

    folder = Path(os.environ.get("LOCAL_DIR") or Settings.folder).absolute()
    properties = _properties(kafka_config) if kafka_config else {}
    brokers = [
        (kafka, by("--kafka", "KAFKA_BOOTSTRAP_SERVERS")),
        (properties.get("bootstrap.servers"), str(kafka_config)),
    ]
    all_of_mongodb = [(mongodb_uri, by("--mongodb-uri", "MONGODB_URI"))]
    of_each = {service: (os.environ.get(name), name) for service in SERVICES for name in [_uri_variable(service)]}
    stack, silent = _stack(folder)
    for told, what in (([*of_each.values(), *all_of_mongodb], "mongodb_uri"), (brokers, "kafka_bootstrap_servers")):
        for at, says in told:
            if at and stack and hosts(at) != hosts(stack.get(what, "")):
                stack, silent = {}, f"the stack in {folder} is of another shop than {says}, so it is left aside"
    in_stack = f"the stack in {folder}"
    brokers.append((stack.get("kafka_bootstrap_servers"), in_stack))
    all_of_mongodb.append((stack.get("mongodb_uri"), in_stack))
    mongodb = {service: _first([of_each[service], *all_of_mongodb]) for service in SERVICES}
    return Places(
        mongodb={service: place for service, place in mongodb.items() if place is not None},
        brokers=_checked_brokers(_first(brokers)),
        kafka_config=properties,
        sinks=_each(sink_url, by("--sink-url", "SINK_URL"), SINKS) or _at(stack.get("sinks"), in_stack),
        functions=_each(function_url, by("--function-url", "FUNCTION_URL"), CONSUMERS)
        or _at(stack.get("functions"), in_stack),
        stack=silent,
    )


def _first(said: Iterable[tuple[str | None, str]]) -> Place | None:
    """Return the first place that anything says."""
    return next((Place(at, by) for at, by in said if at), None)


def _at(urls: Mapping[str, str] | None, by: str) -> dict[str, Place]:
    return {name: Place(url, by) for name, url in (urls or {}).items()}


def _stack(folder: Path) -> tuple[dict[str, Any], str]:
    """Return the addresses of the stack that runs in a folder; else none, and why."""
    if not runs(folder):
        return {}, f"no stack runs in {folder}"
    file = folder / ADDRESSES
    try:
        addresses: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        _check_addresses(addresses)
    except FileNotFoundError:
        return {}, f"the stack in {folder} has not said yet where it is"
    except (ValueError, RecursionError, AttributeError, TypeError) as error:
        raise WrongUse(f"{file} cannot be read: {error}; start the stack anew (make run)") from error
    return addresses, ""


def _check_addresses(addresses: Any) -> None:
    """Raise for what is not laid out as a stack does it."""
    urls = [*addresses.get("sinks", {}).values(), *addresses.get("functions", {}).values()]
    for each in (addresses.get("mongodb_uri", ""), addresses.get("kafka_bootstrap_servers", ""), *urls):
        if not isinstance(each, str):
            raise TypeError(f"{each!r} is no address")


def _each(template: str | None, by: str, names: Iterable[str]) -> dict[str, Place]:
    if template is None:
        return {}
    if "{name}" not in template:
        raise WrongUse(f"{by} {template!r} must be a template with {{name}} in it")
    return {name: Place(checked(template.replace("{name}", name), by), by) for name in names}


def _properties(file: Path) -> dict[str, str]:
    """Read `name=value` lines, as Kafka's own tools do. Raises WrongUse for what is none."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeError as error:
        raise WrongUse(f"{file} is not UTF-8: {error}") from error
    properties = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if line and not line.startswith("#"):
            name, found, value = line.partition("=")
            if not (found and name.strip()):
                raise WrongUse(f"{file}, line {number}: {line[:80]!r} is not name=value")
            properties[name.strip()] = value.strip()
    return properties


def _checked_brokers(place: Place | None) -> Place | None:
    """Raise WrongUse for a port that is none: librdkafka takes it for 0."""
    for server in place.at.split(",") if place else ():
        host, found, port = server.strip().rpartition("://")[2].rpartition(":")
        if (
            found
            and not server.endswith("]")
            and not (host and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 2**16)
        ):
            raise WrongUse(f"{place.by if place else ''} {server!r} is not host:port")
    return place

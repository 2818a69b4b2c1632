"""Know where MongoDB, Kafka, the KafkaSinks and the functions are: on this machine by itself, elsewhere as told.

A running stack (`make run`) leaves its addresses in `.stack/addresses.json`, so on one machine nothing has to be said.
Flags and environment variables come first, and are all there is for a cluster.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cli.output import WrongUse
from local.settings import Settings
from local.stack import ADDRESSES

SERVICES: Final = ("orders", "billing", "notify")

CONSUMERS: Final = {"billing-handler": "payments", "order-handler": "results", "notify-handler": "results"}
"""The functions that take events, and the topic each of them takes its events from."""

SINKS: Final = ("payments", "results", "dead-letters")

_NAMESPACE: Final = "shop"


@dataclass(frozen=True)
class Places:
    """Where everything is."""

    mongodb_uris: Mapping[str, str]
    """By service: `orders`, `billing`, `notify`."""

    kafka: Mapping[str, str]
    """The configuration of a librdkafka client."""

    sinks: Mapping[str, str]
    """The URLs of the KafkaSinks by name."""

    functions: Mapping[str, str]
    """The URLs of functions by name; empty when nothing says where they are."""

    def function(self, name: str) -> str:
        """Return the URL of a consumer. Raises WrongUse when there is none of this name, or nothing says where."""
        if name not in CONSUMERS:
            raise WrongUse(f"no function {name!r} takes events; name one of {', '.join(CONSUMERS)}, or give --to-url")
        if name not in self.functions:
            raise WrongUse(
                f"where is {name}? Start the stack (make run), or give --to-url, or set FUNCTION_URL to a template "
                "such as http://{name}.shop.svc.cluster.local"
            )
        return self.functions[name]

    def sink(self, name: str) -> str:
        """Return the URL of a KafkaSink."""
        return self.sinks[name]

    def consumer_at(self, url: str) -> str | None:
        """Return the consumer that a dead letter's `knativeerrordest` names; None when it is none that we know."""
        for name in CONSUMERS:
            if self.functions.get(name, "").rstrip("/") == url.rstrip("/"):
                return name
        # On Knative a function's host begins with its name, whoever looks from wherever.
        host = (urlsplit(url).hostname or "").partition(".")[0]
        return host if host in CONSUMERS else None


def find(
    mongodb_uri: str | None = None,
    kafka: str | None = None,
    kafka_config: Path | None = None,
    sink_url: str | None = None,
    function_url: str | None = None,
) -> Places:
    """Put together what was said, what the environment says and what the stack on this machine says.

    Raises WrongUse for a file or a template that cannot be used.
    """
    defaults = Settings()
    stack = _stack(Path(os.environ.get("LOCAL_DIR") or defaults.folder))
    uri = (
        mongodb_uri or stack.get("mongodb_uri") or f"mongodb://127.0.0.1:{defaults.mongodb_port}/?directConnection=true"
    )
    bootstrap = kafka or stack.get("kafka_bootstrap_servers") or f"127.0.0.1:{defaults.kafka_port}"
    sinks = stack.get("sinks") or _each(f"http://127.0.0.1:{defaults.sink_port}/{_NAMESPACE}/{{name}}", SINKS)
    return Places(
        mongodb_uris={service: os.environ.get(f"{service.upper()}_MONGODB_URI") or uri for service in SERVICES},
        kafka={"bootstrap.servers": bootstrap, **(_properties(kafka_config) if kafka_config else {})},
        sinks=_each(sink_url, SINKS) if sink_url else sinks,
        functions=_each(function_url, CONSUMERS) if function_url else stack.get("functions", {}),
    )


def _stack(folder: Path) -> dict[str, Any]:
    file = folder / ADDRESSES
    if not file.exists():
        return {}
    try:
        addresses: dict[str, Any] = json.loads(file.read_text())
    except ValueError as error:
        raise WrongUse(f"{file} cannot be read: {error}; start the stack anew (make run)") from error
    return addresses


def _each(template: str, names: Any) -> dict[str, str]:
    if "{name}" not in template:
        raise WrongUse(f"{template} must be a template with {{name}} in it")
    return {name: template.replace("{name}", name) for name in names}


def _properties(file: Path) -> dict[str, str]:
    """Read `name=value` lines, as Kafka's own tools do."""
    lines = (line.strip() for line in file.read_text().splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}

"""Read settings from the environment: the one place that shows what a process depends on."""

import json
import os
from dataclasses import dataclass

from shop.errors import Unavailable


def mongodb_uri() -> str:
    """Return the MongoDB to talk to. What the URI says of concerns, preference or time-outs is overridden in code."""
    return os.environ.get("MONGODB_URI", "mongodb://127.0.0.1:27017/?directConnection=true")


def database(service: str) -> str:
    """Return the database of `orders`, `billing` or `notify`; `ORDERS_DATABASE` and its like rename one."""
    return os.environ.get(f"{service.upper()}_DATABASE", service)


@dataclass(frozen=True)
class ArrayLimits:
    """Bound an array in a user document: at `limit` entries the oldest `batch` move to the archive."""

    limit: int
    batch: int

    def __post_init__(self) -> None:
        if not 0 < self.batch <= self.limit:
            raise ValueError(f"ARCHIVE_BATCH ({self.batch}) must be from 1 to ARRAY_LIMIT ({self.limit})")


def array_limits() -> ArrayLimits:
    """Return the bound of `paid_baskets` and `deposits`.

    64 and 32: up to about 64 subdocuments cost nothing in an update, and half of them moved at once makes the archive a
    thirty-second of the work.
    """
    return ArrayLimits(limit=int(os.environ.get("ARRAY_LIMIT", "64")), batch=int(os.environ.get("ARCHIVE_BATCH", "32")))


def sink() -> str:
    """Return where events are POSTed, as a SinkBinding injects it.

    Raises Unavailable before anything is done: the first revision of a Service may start before its SinkBinding is
    applied.
    """
    url = os.environ.get("K_SINK")
    if not url:
        raise Unavailable("K_SINK is not set; apply this function's SinkBinding", repeat_safe=False)
    return url


def event_overrides() -> dict[str, str]:
    """Return the CloudEvent extensions that a SinkBinding's `ceOverrides` ask every event to carry.

    Raises Unavailable when they cannot be read.
    """
    overrides = os.environ.get("K_CE_OVERRIDES")  # an empty string when the binding has none
    if not overrides:
        return {}
    try:
        extensions = json.loads(overrides).get("extensions") or {}
        return {str(name): str(value) for name, value in extensions.items()}
    except (ValueError, AttributeError) as error:
        raise Unavailable(f"K_CE_OVERRIDES is not what a SinkBinding injects: {error}", repeat_safe=False) from error


def function_name() -> str:
    """Return the function this process runs: the name in its logs and at MongoDB."""
    return os.environ.get("FUNCTION_TARGET", "shop")


def host() -> str:
    """Return the address to listen on: all of them, as a container is reached from outside, unless `HOST` says less."""
    return os.environ.get("HOST", "0.0.0.0")  # noqa: S104


def port() -> int:
    """Return the port to listen on, as Knative Serving sets it."""
    return int(os.environ.get("PORT", "8080"))

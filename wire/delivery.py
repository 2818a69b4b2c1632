"""Deliver an event as the real KafkaSource does: what is repeated, when, and what its dead letter says.

The stand-in of KafkaSource and the `orders` command both send by this one loop.
"""

import asyncio
import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wire import event as cloudevents
from wire.event import Event
from wire.http import Client, NoResponseError, Response, encode_value

_ERROR_DATA_BYTES = 1024
_RETRYABLE = (404, 408, 409, 429)  # and all from 500


@dataclass(frozen=True)
class DeliverySpec:
    """How often and when a request is repeated, and where the record goes when that is over."""

    retry: int = 10
    linear: bool = False
    backoff_delay_s: float = 0.3
    timeout_s: float = 600
    dead_letter_sink_url: str | None = None

    @classmethod
    def from_manifest(cls, delivery: dict[str, Any] | None) -> "DeliverySpec":
        """Read `spec.delivery`: absent, it means 10 retries; present without `retry`, it means none."""
        if delivery is None:
            return cls()
        delay, timeout = delivery.get("backoff_delay"), delivery.get("timeout")
        return cls(
            retry=delivery.get("retry") or 0,
            linear=delivery.get("backoff_policy") == "linear",
            backoff_delay_s=0.2 if delay is None else duration_s(delay),
            timeout_s=(0 if timeout is None else duration_s(timeout)) or 600,
            dead_letter_sink_url=delivery.get("dead_letter_sink_url"),
        )

    def wait_s(self, retry: int) -> float:
        """Return the seconds before the retry of this number, the first being 1."""
        return self.backoff_delay_s * (retry if self.linear else 2**retry)


def duration_s(text: str) -> float:
    """Return the seconds of an ISO 8601 duration; as in the real one, each of its numbers is cut to tenths.

    Raises:
        ValueError: not a duration.

    """
    number = r"(?:(\d+(?:[.,]\d*)?){})?"
    date, time = "".join(map(number.format, "YMWD")), "".join(map(number.format, "HMS"))
    match = re.fullmatch(rf"P(?=.){date}(?:T(?=.){time})?", text)
    if match is None:
        raise ValueError(f"not an ISO 8601 duration: {text!r}")
    tenths = [int(float(part.replace(",", ".")) * 10 + 1e-6) if part else 0 for part in match.groups()]
    year_s = 365.2425 * 86_400
    unit_s = (year_s, year_s / 12, 7 * 86_400, 86_400, 3_600, 60, 1)
    return sum(count * unit for count, unit in zip(tenths, unit_s, strict=True)) / 10


def is_retried(status: int | None) -> bool:
    """Whether the real one tries again after this answer; None is no answer."""
    return status is None or status in _RETRYABLE or status >= 500


class UndeliveredError(Exception):
    """A destination did not take an event; `response` is its last answer, if that is what ended the attempts."""

    def __init__(self, reason: str, attempts: int, response: Response | None = None) -> None:
        super().__init__(reason)
        self.attempts = attempts
        self.response = response


class StuckError(Exception):
    """The real dispatcher would never end with this record: no dead letter, no commit, until it is restarted."""


class Sender:
    """Deliver events to one URL, with the retries of the real one."""

    def __init__(
        self,
        url: str,
        namespace: str,
        spec: DeliverySpec,
        failed: "Callable[[Event, UndeliveredError], None]" = lambda _, __: None,
    ) -> None:
        """Begin; each try that failed is told to `failed`, whatever comes of the next one."""
        self._failed = failed
        self._client = Client(url, spec.timeout_s)
        self._spec = spec
        self._fixed = [("Prefer", b"reply"), ("Kn-Namespace", namespace.encode())]

    async def send(self, event: Event, record_headers: list[tuple[str, str]]) -> int:
        """POST the event until it is taken, finally refused, or the retries are used up; return how often it was sent.

        Raises:
            UndeliveredError: it was not taken.

        """
        headers = self._fixed + _encode(event.headers("ce-"), 0)
        for attempt in range(self._spec.retry + 1):
            if attempt:
                wait_s = self._spec.wait_s(attempt)
                if wait_s < 0.001:  # the real one's timer refuses this, and that failure hides the answer
                    raise UndeliveredError("the delay of the retry is 0", attempt)
                await asyncio.sleep(wait_s)
            trace = _encode(cloudevents.continue_trace(record_headers), attempt)
            try:
                response = await self._client.post(headers + trace, event.data or b"")
            except NoResponseError as error:
                failure = UndeliveredError(str(error), attempt + 1)
                self._failed(event, failure)
                continue
            if response.status < 300:
                return attempt + 1
            failure = UndeliveredError(f"answer {response.status}", attempt + 1, response)
            self._failed(event, failure)
            if not is_retried(response.status):
                break
        raise failure

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _encode(headers: list[tuple[str, str]], attempts: int) -> list[tuple[str, bytes]]:
    try:
        return [(name, encode_value(value)) for name, value in headers]
    except ValueError as error:
        raise UndeliveredError(str(error), attempts) from error


def dead_letter(event: Event, destination: str, response: Response | None) -> Event:
    """Return the event with what went wrong; what an earlier failure left stays where this one has nothing to say.

    Raises:
        StuckError: a header of the response is not the name of an extension.

    """
    if event.attributes["specversion"] == "0.3":
        renamed = {"dataschema" if name == "schemaurl" else name: value for name, value in event.attributes.items()}
        event = Event({**renamed, "specversion": "1.0"}, event.data)
    error: dict[str, str] = {"knativeerrordest": destination}
    if response is not None:
        error["knativeerrorcode"] = str(response.status)
        for header, value in response.headers:
            if header.startswith("kne-"):
                error[header.removeprefix("kne-")] = value
        if response.body:
            error["knativeerrordata"] = base64.b64encode(response.body[:_ERROR_DATA_BYTES]).decode()
    for name in error:
        if not cloudevents.valid_name(name):
            raise StuckError(f"the answer has a header Kne-{name}, which is not the name of an extension")
    return event.with_attributes(**error)

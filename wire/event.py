"""CloudEvents as the Java SDK 4.0 of the real KafkaSource and KafkaSink reads and writes them, in records and requests.

The `cloudevents` package accepts and rewrites other things than the recordings in tests/local/stand_ins/recorded show.
"""

import base64
import datetime as dt
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

Attribute = str | int | bool | None
"""Events in JSON may bring more than strings."""

_STRUCTURED = "application/cloudevents+json"
_NAME = re.compile(r"[a-z0-9]*")
_JSON_TYPE = re.compile(r"(application|text)/([a-zA-Z]+\+)?json(;.*)*")
_INT32 = range(-(2**31), 2**31)
_ATTRIBUTES = ("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "schemaurl")
_NULLABLE = (*_ATTRIBUTES, "data_base64")  # in JSON, null is the same as absent; it is not for data and extensions

# java.net.URI: RFC 2396, where any character beyond ASCII that is no control and no space may stand for itself.
_OTHER = r"%[0-9A-Fa-f]{2}|[^\x00-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
_PATH = rf"(?:[\w\-.!~*'():@&=+$,;/]|{_OTHER})"
_QUERY = rf"(?:[\w\-.!~*'():@&=+$,;/?\[\]]|{_OTHER})"
_SCHEME = r"[a-z][a-z0-9+.\-]*:"
_AUTHORITY = rf"(?:(?:[\w\-.!~*'():@&=+$,;]|{_OTHER})+|(?:[^@/?#\[]*@)?\[[0-9a-f:.%]+\](?::\d*)?|(?=[/?#]))"
_HIERARCHY = rf"(?://{_AUTHORITY}|(?!//)){_PATH}*(?:\?{_QUERY}*)?"
_URI = re.compile(
    rf"(?:{_SCHEME}(?=/){_HIERARCHY}|{_SCHEME}(?!/){_QUERY}+|(?![^/?#]*:){_HIERARCHY})(?:\#{_QUERY}*)?",
    re.ASCII | re.IGNORECASE,
)
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:\d\d(?:\.(\d{0,9}))?)?(Z|[+-](?:(?:0\d|1[0-7])(?::[0-5]\d(?::[0-5]\d)?)?|18(?::00)?))",
    re.ASCII | re.IGNORECASE,
)
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class NotAnEventError(Exception):
    """A record or a request is not one valid CloudEvent."""


@dataclass(frozen=True)
class Event:
    """The attributes by name, `specversion` and `datacontenttype` among them, and the data; None and b"" are no data.

    An extension that has the name of an attribute replaces it, as it does in what the real one writes.
    """

    attributes: Mapping[str, Attribute]
    data: bytes | None

    def text(self, name: str) -> str:
        """Return an attribute as text, empty when there is none of this name."""
        value = self.attributes.get(name)
        return "" if value is None else str(value)

    def with_attributes(self, **attributes: Attribute) -> "Event":
        """Return this event with other attributes added or replaced."""
        return Event({**self.attributes, **attributes}, self.data)

    def headers(self, prefix: str) -> list[tuple[str, str]]:
        """Return the headers of the binary content mode: `ce-` for HTTP, `ce_` for Kafka."""
        return [
            ("content-type" if name == "datacontenttype" else prefix + name, _text(value))
            for name, value in self.attributes.items()
        ]

    def json(self) -> bytes:
        """Return the event in the structured content mode; JSON data stay as they are, byte for byte."""
        attributes = {name: "null" if value is None else value for name, value in self.attributes.items()}
        envelope = json.dumps(attributes, ensure_ascii=False, separators=(",", ":")).encode()
        if not self.data:
            return envelope
        is_json = _is_json(self.attributes.get("datacontenttype"))
        data = self.data if is_json else b'"%s"' % base64.b64encode(self.data)
        return b'%s,"%s":%s}' % (envelope[:-1], b"data" if is_json else b"data_base64", data)


@lru_cache
def valid_name(name: str) -> bool:
    """Whether an extension may be called so."""
    return _NAME.fullmatch(name) is not None


def parse(headers: Iterable[tuple[str, str]], body: bytes | None, prefix: str) -> Event:
    """Read the event that a record (prefix `ce_`) or a request (`ce-`) carries in binary or structured content mode.

    Header names are matched with their case; of headers that come twice, the last counts.

    Raises:
        NotAnEventError: it carries none, or none that is valid.

    """
    headers = list(headers)
    last = dict(headers)
    media_type = last.get("content-type", "").partition(";")[0]
    if media_type == _STRUCTURED:
        return _parse_json(body or b"")
    if media_type.startswith("application/cloudevents"):
        raise NotAnEventError(f"no format for {media_type}")
    version_header = prefix + "specversion"
    if version_header not in last:
        raise NotAnEventError(f"no {version_header}")
    attributes: dict[str, Attribute] = {"specversion": last[version_header]}
    for name, value in headers:
        if name == "content-type":
            attributes["datacontenttype"] = value
        elif name.startswith(prefix) and len(name) > len(prefix) and name != version_header:
            attributes[name[len(prefix) :].lower()] = value
    return Event(_valid(attributes), body)


def _parse_json(text: bytes) -> Event:
    try:
        return _parse_members(text)
    except RecursionError as error:
        raise NotAnEventError("not JSON: nested too deeply") from error


def _parse_members(text: bytes) -> Event:
    try:
        # Whatever follows the object is not looked at.
        members, _ = json.JSONDecoder().raw_decode(text.decode().lstrip(" \t\r\n"))
    except ValueError as error:
        raise NotAnEventError(f"not JSON: {error}") from error
    if not isinstance(members, dict):
        raise NotAnEventError("not a JSON object")
    members = {name: value for name, value in members.items() if value is not None or name not in _NULLABLE}
    data = _parse_data(members)
    for name, value in members.items():
        if isinstance(value, float) or (isinstance(value, int) and value not in _INT32):
            raise NotAnEventError(f"{name} is not a 32-bit integer")
        if isinstance(value, dict | list):
            members[name] = _compact(value)
        elif value is None:
            members[name] = "null"
    for name in _ATTRIBUTES:
        if not isinstance(members.get(name, ""), str):
            raise NotAnEventError(f"{name} is not a string")
    return Event(_valid(members), data)


def _parse_data(members: dict[str, Any]) -> bytes | None:
    """Take the data out of the members of a JSON event, and leave their content type in them."""
    encoded = members.pop("data_base64", None)
    if members.get("specversion") == "0.3" and members.pop("datacontentencoding", None) == "base64":
        encoded = members.pop("data", None)
        members.setdefault("datacontenttype", "application/json")
    if encoded is not None:
        if "data" in members:
            raise NotAnEventError("both data and data_base64")
        try:
            return base64.b64decode(encoded, validate=True)
        except (TypeError, ValueError) as error:
            raise NotAnEventError(f"data_base64: {error}") from error
    if "data" not in members:
        return None
    data = members.pop("data")
    if _is_json(members.setdefault("datacontenttype", "application/json")):
        return _compact(data).encode()
    if not isinstance(data, str):
        raise NotAnEventError("data of a content type that is not JSON must be a string")
    return data.encode()


def _valid(attributes: dict[str, Attribute]) -> dict[str, Attribute]:
    version = attributes.get("specversion")
    if version not in ("1.0", "0.3"):
        raise NotAnEventError(f"specversion {version!r}")
    for name in ("id", "source", "type"):
        if name not in attributes:
            raise NotAnEventError(f"no {name}")
    for name in ("source", "dataschema" if version == "1.0" else "schemaurl"):
        if not _is_uri(str(attributes.get(name, ""))):
            raise NotAnEventError(f"{name} is not a URI: {attributes[name]!r}")
    if "time" in attributes:
        attributes["time"] = _normal_time(str(attributes["time"]))
    for name in attributes:
        if not valid_name(name):
            raise NotAnEventError(f"an extension may not be called {name!r}")
    return attributes


@lru_cache
def _is_uri(text: str) -> bool:
    return _URI.fullmatch(text) is not None


def _normal_time(text: str) -> str:
    """Write a time of RFC 3339 as java.time does: capitals, seconds always, a fraction without zeros at its end."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise NotAnEventError(f"time {text!r} is not of RFC 3339, or without a zone")
    date, minutes, seconds, fraction, zone = match.groups()
    seconds = (seconds or ":00")[:3]
    fraction = (fraction or "").rstrip("0")
    try:
        dt.datetime.fromisoformat(f"{date}T{minutes}{seconds}")
    except ValueError as error:
        raise NotAnEventError(f"time {text!r}: {error}") from error
    zone = f"{zone}:00" if len(zone) == 3 else zone
    zone = "Z" if zone in ("z", "+00:00", "-00:00") else zone
    return f"{date}T{minutes}{seconds}{'.' if fraction else ''}{fraction}{zone}"


def utc_time(timestamp_ms: int) -> str:
    """Write a Kafka timestamp as the `time` of an event."""
    moment = dt.datetime.fromtimestamp(timestamp_ms // 1000, dt.UTC)
    return _normal_time(f"{moment:%Y-%m-%dT%H:%M:%S}.{timestamp_ms % 1000:03}Z")


def continue_trace(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the trace headers of the next hop: the same trace, a new span; none for an invalid `traceparent`."""
    first: dict[str, str] = {}
    for name, value in headers:
        first.setdefault(name.lower(), value)
    onward = []
    match = _TRACEPARENT.fullmatch(first.get("traceparent", ""))
    if match is not None:
        version, trace, span, flags, more = match.groups()
        if version != "ff" and int(trace, 16) and int(span, 16) and not (version == "00" and more):
            onward.append(("traceparent", f"00-{trace}-{secrets.token_hex(8)}-{int(flags, 16) & 1:02}"))
            if first.get("tracestate"):
                onward.append(("tracestate", first["tracestate"]))
    if first.get("baggage"):
        onward.append(("baggage", first["baggage"]))
    return onward


def _is_json(content_type: Attribute) -> bool:
    return content_type is None or _JSON_TYPE.fullmatch(str(content_type)) is not None


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _text(value: Attribute) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | None) else str(value)

"""The recordings in tests/local/stand_ins/recorded, and how to compare with them: recorded/README.md, "Comparing"."""

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent / "recorded"

FREE_HEADERS = {
    "user-agent",
    "host",
    "date",
    "connection",
    "accept",
    "accept-encoding",
    "content-length",
    "transfer-encoding",
}
_RANDOM = {"{span}": "[0-9a-f]{16}", "{trace}": "[0-9a-f]{32}"}


def cases(name: str) -> list[dict[str, Any]]:
    """Read the cases of a file."""
    return [json.loads(line) for line in (RECORDED / name).read_text().splitlines()]


def unbase64(text: str | None) -> bytes | None:
    """Decode; None stays None."""
    return None if text is None else base64.b64decode(text)


def as_base64(data: bytes | None) -> str | None:
    """Encode; None stays None."""
    return None if data is None else base64.b64encode(data).decode()


def latin1(data: str | bytes | None) -> str | None:
    """Decode the value of a record header."""
    return data.decode("latin-1") if isinstance(data, bytes) else data


def difference(expected: Any, actual: Any, values: Mapping[str, str], sent: str = "", at: str = "") -> str:
    """Say how `actual` differs from what was recorded; empty when it does not.

    `values` are those of the placeholders; the random ones match what does not occur in `sent`.
    """
    if isinstance(expected, dict) and isinstance(actual, dict):
        found = [
            difference(expected.get(key), actual.get(key), values, sent, f"{at}/{key}")
            for key in sorted({*expected, *actual})
        ]
        return "\n".join(filter(None, found))
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        found = [
            difference(one, other, values, sent, f"{at}/{index}")
            for index, (one, other) in enumerate(zip(expected, actual, strict=True))
        ]
        return "\n".join(filter(None, found))
    if isinstance(expected, str) and isinstance(actual, str):
        pattern = "".join(
            f"({_RANDOM[part]})" if part in _RANDOM else re.escape(values.get(part, part))
            for part in re.split(r"(\{[a-z_+1]+\})", expected)
        )
        match = re.fullmatch(pattern, actual, re.DOTALL)
        if match and not any(random in sent for random in match.groups()):
            return ""
    elif expected == actual:
        return ""
    return f"{at}: recorded {expected!r}, got {actual!r}"


def json_members(record: dict[str, Any]) -> dict[str, Any]:
    """Replace a value of structured JSON by its members, whose order is free; an invalid one stays."""
    if record["headers"].get("content-type") == "application/cloudevents+json" and record.get("value_b64"):
        try:
            members = json.loads(base64.b64decode(record["value_b64"]))
        except ValueError:
            return record
        return {**record, "value_b64": members}
    return record

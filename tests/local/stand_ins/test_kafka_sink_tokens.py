"""The stand-in for KafkaSink demands tokens where a file says so, and answers as Eventing does."""

import json
from pathlib import Path

import pytest

from local.stand_ins.kafka_sink import refusal


@pytest.mark.parametrize(
    ("sink", "sent", "status"),
    [
        ("payments", "Bearer ours", None),
        ("payments", "Bearer of-results", 403),
        ("payments", "Bearer expired", 401),
        ("payments", "Basic ours", 401),
        ("payments", None, 401),
        ("dead-letters", None, None),
    ],
)
def test_a_token_is_one_of_this_sink_or_refused(
    tmp_path: Path, sink: str, sent: str | None, status: int | None
) -> None:
    """A sink that the file does not name takes any request."""
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({"payments": ["ours"], "results": ["of-results"]}))
    headers = [("content-type", "x"), *([("authorization", sent)] if sent is not None else [])]
    assert refusal(file, sink, headers) == status


def test_without_the_file_nobody_is_asked(tmp_path: Path) -> None:
    """Nor without the setting."""
    assert refusal(tmp_path / "gone.json", "payments", []) is None
    assert refusal(None, "payments", []) is None

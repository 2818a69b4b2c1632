"""One line per message handled, whatever a customer sent."""

import json
import logging

import pytest

from shop.process import log


def test_a_line_is_json_and_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """A key of 64 KiB does not fill the log, and a surrogate in it does not lose the line."""
    with caplog.at_level(logging.INFO):
        log.handled("k\ud800" * 40_000, "rejected", 0.00123, detail="why" * 1000)
    (record,) = caplog.records
    line = log.JsonFormatter().format(record)
    written = json.loads(line)
    assert len(line.encode()) < 10_000
    assert (written["outcome"], written["duration_ms"], written["level"]) == ("rejected", 1.2, "info")

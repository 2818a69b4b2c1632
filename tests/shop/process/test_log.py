"""One line per message handled, whatever a customer sent."""

import json
import logging

import pytest

from shop.process import context, log
from shop.process.process import Process, running
from shop.process.settings import Settings
from shop.process.version import VERSION


def test_a_line_is_json_and_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """A key of 64 KiB does not fill the log, and a surrogate in it does not lose the line."""
    with caplog.at_level(logging.INFO):
        log.handled("k\ud800" * 40_000, "rejected", 0.00123, detail="why" * 1000)
    (record,) = caplog.records
    line = log.JsonFormatter().format(record)
    written = json.loads(line)
    assert len(line.encode()) < 10_000
    assert (written["outcome"], written["duration_ms"], written["level"]) == ("rejected", 1.2, "info")


@pytest.mark.parametrize("settings", [Settings(function="get_user", revision="get-user-00007"), Settings(function="x")])
def test_a_line_says_whose_it_is_and_what_trace_it_belongs_to(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """The function, its revision on Knative, the version; without a trace it names none."""
    written = []
    with running(Process(settings)), caplog.at_level(logging.INFO):
        for traceparent in ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None):
            token = context.traceparent.set(traceparent)
            log.handled("k", "refused", 0.1, code="other_terms")
            written.append(json.loads(log.JsonFormatter().format(caplog.records[-1])))
            context.traceparent.reset(token)
    assert [line["version"] for line in written] == [VERSION] * 2
    assert [(line["function"], line.get("revision", "")) for line in written] == [
        (settings.function, settings.revision)
    ] * 2
    assert (written[0]["trace_id"], written[0]["span_id"]) == ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
    assert not written[1].keys() & {"trace_id", "span_id"}

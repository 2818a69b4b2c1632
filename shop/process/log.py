"""Write one structured line per message handled: the function, its key, the outcome and how long it took.

An outcome is a word: `paid`, `declined` or `done` if it was done now, `replayed` if it had been before, `older` if it
is about an earlier attempt, `refused` if it can never work, `unavailable` if it may later, `failed` over a bug.
"""

import json
import logging
import sys
import time
from functools import lru_cache

from shop.process import context, process, trace
from shop.process.version import VERSION

REFUSED, UNAVAILABLE, FAILED = "refused", "unavailable", "failed"

MAX_TEXT = 512
"""What is logged of a key or detail: enough for any of ours, and a refused body cannot fill the log."""

_log = logging.getLogger("shop.handled")


class JsonFormatter(logging.Formatter):
    """Format a record as one JSON object on one line, an exception's trace inside it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": _rfc3339(record.created),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if (traceparent := context.traceparent.get()) is not None:
            line["trace_id"], line["span_id"] = trace.trace_of(traceparent), trace.span_of(traceparent)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # A customer's text may hold a surrogate, which no encoding takes: the line would be lost.
        its = process.current().settings
        return (_encode(line)[:-1] + _end(its.function, its.revision)).encode("utf-8", "backslashreplace").decode()


_encode = json.JSONEncoder(ensure_ascii=False).encode


@lru_cache(16)
def _end(function: str, revision: str) -> str:
    """Return the end of each line of a process: what it runs is the same in all of them."""
    whose = {"function": function, **({"revision": revision} if revision else {}), "version": VERSION}
    return f", {_encode(whose)[1:]}"


def _rfc3339(at: float) -> str:
    second, part = divmod(int(at * 1_000_000), 1_000_000)
    return f"{_rfc3339_second(second)}.{part:06}Z"


@lru_cache(1)
def _rfc3339_second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


def to_stdout() -> None:
    """Send this process's log to standard output, where Knative collects it."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def handled(
    key: str, outcome: str, duration_s: float, *, level: int = logging.INFO, code: str = "", detail: str = ""
) -> None:
    """Log what became of one request or event; a refusal has a code."""
    fields = {"key": key[:MAX_TEXT], "outcome": outcome, "duration_ms": round(duration_s * 1000, 1)}
    if code:
        fields["code"] = code
    if detail:
        fields["detail"] = detail[:MAX_TEXT]
    if _log.isEnabledFor(level):
        record = logging.LogRecord.__new__(logging.LogRecord)
        record.__dict__ = {
            **_HANDLED,
            "created": time.time(),
            "levelno": level,
            "levelname": logging.getLevelName(level),
            "fields": fields,
        }
        _log.handle(record)


_HANDLED = vars(logging.LogRecord(_log.name, logging.INFO, __file__, 0, "handled", (), None))
"""What all these records have in common. To make each from scratch, with the line of code that it comes from and the
thread, takes longer than all the rest of a line."""

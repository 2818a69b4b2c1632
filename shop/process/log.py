"""Write one structured line per message handled: the function, its key, the outcome and how long it took."""

import json
import logging
import sys
from datetime import UTC, datetime

from shop.messages import rfc3339
from shop.process import process

MAX_TEXT = 512
"""What is logged of a key or detail: enough for any of ours, and a refused body cannot fill the log."""

_log = logging.getLogger("shop.handled")


class JsonFormatter(logging.Formatter):
    """Format a record as one JSON object on one line, an exception's trace inside it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": rfc3339(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "function": process.current().settings.function,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        # A customer's text may hold a surrogate, which no encoding takes: the line would be lost.
        return json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


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
    _log.log(level, "handled", extra={"fields": fields})

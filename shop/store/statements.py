"""Make a span of each command to MongoDB: its name and its collection, and never a value of it.

A batch is one command of several requests: a part of the first one's trace, with links to the others.
"""

from typing import TYPE_CHECKING

from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

if TYPE_CHECKING:
    from shop.process.tracing import Span, Tracer

_MOST = 1000
"""Commands at once: more than a process has connections, so what is forgotten here was never answered."""


class Statements(CommandListener):
    """What the driver tells of its commands, in the task that sends them."""

    def __init__(self, tracer: "Tracer") -> None:
        self._tracer = tracer
        self._sent: dict[int, Span] = {}

    def started(self, event: CommandStartedEvent) -> None:
        """Begin a span, if the command is a part of one."""
        name, collection = event.command_name, event.command.get(event.command_name)
        host, port = event.connection_id
        attributes: dict[str, str | int | bool] = {
            "db.system.name": "mongodb",
            "db.operation.name": name,
            "db.namespace": event.database_name,
            "server.address": host,
        }
        if port is not None:
            attributes["server.port"] = port
        if isinstance(collection, str):
            attributes["db.collection.name"] = collection
        if len(updates := event.command.get("updates", ())) > 1:
            attributes["db.operation.batch.size"] = len(updates)
        what = f"{name} {collection}" if isinstance(collection, str) else name
        span = self._tracer.begin(what, "client", attributes)
        if span is not None and len(self._sent) < _MOST:
            self._sent[event.request_id] = span

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """End it."""
        if (span := self._sent.pop(event.request_id, None)) is not None:
            self._tracer.end(span)

    def failed(self, event: CommandFailedEvent) -> None:
        """End it, with the error's number, for its text may quote a value."""
        if (span := self._sent.pop(event.request_id, None)) is not None:
            failed = str(event.failure.get("code") or event.failure.get("errtype") or "_OTHER")
            span.attributes["error.type"] = failed
            self._tracer.end(span, failed)

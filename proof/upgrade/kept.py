"""Read what 67d5614 left, and bring databases into that state."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bson import json_util
from pymongo import MongoClient

from wire.event import Event
from wire.recording import Recording

FOLDER = Path(__file__).parent
PAYMENTS, RESULTS, DEAD_LETTERS = (FOLDER / f"{name}.ndjson" for name in ("payments", "results", "dead-letters"))
LIMITS = {"ARRAY_LIMIT": "4", "ARCHIVE_BATCH": "2"}
"""What it ran with."""

Emitted = tuple[dict[str, str], bytes]
"""The headers that are the event's, by their names in lower case, and its data."""


@dataclass(frozen=True)
class Delivery:
    """An event that was delivered once more, and what became of that."""

    function: str
    event: Event
    status: int
    emitted: list[Emitted]

    @property
    def refused_for_its_number(self) -> bool:
        """Whether it is what 67d5614 refused though it was honest: a number below those that had been archived."""
        return self.status == 422 and self.function == "billing_handler" and b"late" in (self.event.data or b"")


@dataclass(frozen=True)
class Call:
    """A request, and its answer."""

    function: str
    method: str
    path: str
    fields: Mapping[str, Any]
    headers: Mapping[str, str]
    status: int
    replayed: str | None
    body: str
    emitted: list[Emitted]


def deliveries() -> Iterator[Delivery]:
    """Yield all deliveries, in the order in which they were made."""
    events = {}
    for file in (PAYMENTS, RESULTS):
        for event in Recording(file):
            events[file.stem, *(event.text(f"knativekafka{name}") for name in ("partition", "offset"))] = event
    for line in _lines("deliveries"):
        topic = "payments" if line["to"] == "billing_handler" else "results"
        event = events[topic, line["knativekafkapartition"], line["knativekafkaoffset"]]
        yield Delivery(line["to"], event, line["status"], _emitted(line))


def calls() -> Iterator[Call]:
    """Yield all calls, in the order in which they were made."""
    for line in _lines("calls"):
        kept = {name: line[name] for name in ("method", "path", "fields", "headers", "status", "replayed", "body")}
        yield Call(function=line["to"], emitted=_emitted(line), **kept)


def _emitted(line: Mapping[str, Any]) -> list[Emitted]:
    return [(each["headers"], base64.b64decode(each["data_base64"])) for each in line["emitted"]]


def _lines(name: str) -> Iterator[Any]:
    return map(json.loads, (FOLDER / f"{name}.ndjson").read_text().splitlines())


def _documents(name: str) -> Iterator[Any]:
    for line in (FOLDER / f"{name}.ndjson").read_text().splitlines():
        yield json_util.loads(line, json_options=json_util.CANONICAL_JSON_OPTIONS)


def left() -> dict[str, list[Any]]:
    """Return the documents that it left, by `database.collection`."""
    found: dict[str, list[Any]] = {}
    for saved in _documents("state"):
        found.setdefault(saved["in"], []).append(saved["document"])
    return found


def bring_back(client: MongoClient[Any]) -> None:
    """Make the three databases what they were: collections with their validators and indexes, and all documents."""
    for name in ("orders", "billing", "notify"):
        client.drop_database(name)
    for made in _documents("collections"):
        database, _, name = made["in"].partition(".")
        collection = client[database].create_collection(name, **made["options"])
        for index in made["indexes"]:
            if index["name"] != "_id_":
                options = {key: value for key, value in index.items() if key not in ("key", "v")}
                collection.create_index([(field, int(direction)) for field, direction in index["key"]], **options)
    refill(client)


def refill(client: MongoClient[Any]) -> None:
    """Bring back the documents alone, into collections as they are by now."""
    for name in ("orders", "billing", "notify"):
        for collection in client[name].list_collection_names():
            client[name][collection].delete_many({})
    for place, documents in left().items():
        client[place.partition(".")[0]][place.partition(".")[2]].insert_many(documents)


def stored(client: MongoClient[Any]) -> list[str]:
    """Return the documents that are there now, as the lines of state.ndjson."""
    return [
        json_util.dumps(
            {"in": place, "document": document}, json_options=json_util.CANONICAL_JSON_OPTIONS, ensure_ascii=False
        )
        for place in left()
        for document in client[place.partition(".")[0]][place.partition(".")[2]].find(sort=[("_id", 1)])
    ]


def saved() -> list[str]:
    """Return the lines of state.ndjson."""
    return (FOLDER / "state.ndjson").read_text().splitlines()

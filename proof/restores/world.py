"""Functions in this process on a real MongoDB, whose databases can be backed up and restored, and docs/faults.md run.

Nothing of Kafka is needed: what was emitted is kept here, so it can be delivered again whenever, as a topic would.
"""

import asyncio
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bson import json_util

from shop.process import process
from shop.state import COLLECTIONS, SERVICES
from shop.store.client import client
from tests.operate.command import Orders, Run
from tests.support.asgi import Answer
from tests.support.market import Market

ROOT = Path(__file__).parents[2]

Backup = dict[str, dict[str, list[Any]]]
"""The documents of each collection of each service."""


@dataclass
class World(Market):
    """A shop with one customer, whose databases can be backed up and restored."""

    # --- restores ----------------------------------------------------------------------------------------------------

    async def backup(self) -> Backup:
        """Copy the three databases, as of this moment."""
        copies: Backup = {service: {} for service in SERVICES}
        for each in COLLECTIONS:
            copies[each.service][each.name] = await _collection(each.service, each.name).find().to_list()
        return copies

    async def restore(self, backup: Backup, services: Sequence[str], names: dict[str, str]) -> None:
        """Write the backup of some databases under other names; where functions are told so, they begin anew."""
        for service in services:
            await client().drop_database(names[service])
            for collection, documents in backup[service].items():
                if documents:
                    await client()[names[service]][collection].insert_many(documents)

    def start_functions(self, names: dict[str, str]) -> None:
        """Begin as new processes do: with the databases that the environment names, knowing nothing."""
        self.client.start_anew(databases={**process.current().settings.databases, **names})

    async def bring_the_lost_time(self) -> list[Answer]:
        """Deliver everything that was emitted before the restore once more, twice and backwards."""
        answers = []
        for event in [*reversed(self.emitted), *self.emitted]:
            answers += await self.bring(event)
        return answers

    async def databases(self) -> Backup:
        """Return all that the databases of the functions hold."""
        return await self.backup()

    async def age(self) -> None:
        """Let all that is stored have happened an hour ago."""
        for each in COLLECTIONS:
            for document in await _collection(each.service, each.name).find().to_list():
                await _collection(each.service, each.name).replace_one({"_id": document["_id"]}, _older(document))

    # --- the document, word by word ----------------------------------------------------------------------------------

    async def run(self, script: str, *, code: int = 0) -> str:
        """Run the lines of a block of docs/faults.md in a shell, as an operator; return what they print."""
        uri = process.current().settings.mongodb_uri
        sinks = self.client.sink.url.replace("payments", "{name}")
        names = {f"{service.upper()}_DATABASE": name for service, name in process.current().settings.databases.items()}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        told = {**os.environ, **names, "PATH": path, "MONGODB_URI": uri, "SINK_URL": sinks, "PYTHONPATH": str(ROOT)}
        shell = await asyncio.create_subprocess_exec(
            "bash",
            "-ec",
            script,
            cwd=ROOT,
            env=told,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await shell.communicate()
        assert shell.returncode == code, out.decode()
        return out.decode()

    async def verify(self, *options: str) -> Run:
        """Verify the databases that the functions use, as things are now."""
        names = {f"{service.upper()}_DATABASE": name for service, name in process.current().settings.databases.items()}
        sinks = self.client.sink.url.replace("payments", "{name}")
        orders = Orders({"MONGODB_URI": process.current().settings.mongodb_uri, "SINK_URL": sinks, **names})
        return await orders("verify", "--older-than", "0s", "--grace", "0s", "--audit", "--json", *options)

    async def kinds(self) -> list[tuple[str, str]]:
        """Return the user and the kind of each problem that verify finds; exit code 1 when there is one, else 0."""
        run = await self.verify()
        found = [(problem["user"], problem["kind"]) for problem in run.json["problems"]]
        assert run.code == (1 if found else 0), run.err
        assert all(problem["remedy"] for problem in run.json["problems"])
        return found

    async def mend(self, statement: str, **values: object) -> None:
        """Run an `updateOne` of docs/faults.md, its placeholders filled in, on the database that its comment names."""
        for name, value in values.items():
            statement = statement.replace(f"<{name}>", str(value))
        assert "<" not in statement, statement
        (service,) = re.findall(r"^// in the database of (\w+)$", statement, re.MULTILINE)
        match = re.search(r"^db\.(\w+)\.updateOne\((.*)\)$", statement, re.MULTILINE | re.DOTALL)
        assert match is not None, statement
        update = re.sub(r'ObjectId\("(.*?)"\)', r'{"$oid": "\1"}', match[2])
        update = re.sub(r'NumberLong\("(.*?)"\)', r'{"$numberLong": "\1"}', update)
        update = re.sub(r'ISODate\("(.*?)"\)', r'{"$date": "\1"}', update)
        query, change = json_util.loads(f"[{update}]", json_options=json_util.CANONICAL_JSON_OPTIONS)
        result = await _collection(service, match[1]).update_one(query, change)
        assert result.modified_count == 1, statement


def _older(value: Any) -> Any:
    match value:
        case dict():
            return {name: _older(inner) for name, inner in value.items()}
        case list():
            return [_older(inner) for inner in value]
        case datetime():
            return value - timedelta(hours=1)
    return value


def _collection(service: str, name: str) -> Any:
    return client()[process.current().settings.databases[service]][name]


def section(title: str) -> str:
    """Return a section of docs/faults.md, by its heading, up to the next heading of the same level or above."""
    text = (ROOT / "docs" / "faults.md").read_text()
    match = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,3}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match is not None, title
    return match[2]


def blocks(title: str, language: str) -> list[str]:
    """Return the blocks of a section that are in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", section(title), re.MULTILINE | re.DOTALL)


def exported(script: str) -> dict[str, str]:
    """Return the databases that a block names, by service."""
    return {service.lower(): name for service, name in re.findall(r"\b([A-Z]+)_DATABASE=(\w+)", script)}

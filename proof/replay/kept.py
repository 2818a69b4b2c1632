"""The recorded run that is kept here: `python -m proof.replay.kept` records it anew, in a minute.

payments.ndjson and results.ndjson are what the topics held, state.ndjson what the three databases held after it.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from bson import json_util
from pymongo import MongoClient

from local.stack import Stack
from proof.replay.season import pass_a_season
from shop.setup import COLLECTIONS
from tests.operate.command import Orders
from tests.support.stack_fixtures import free

FOLDER = Path(__file__).parent
PAYMENTS, RESULTS, STATE = (FOLDER / name for name in ("payments.ndjson", "results.ndjson", "state.ndjson"))
_USERS, _ORDERS_EACH = 10, 10


def save_state(uri: str, file: Path) -> None:
    """Write all documents of the three databases, types included."""
    with MongoClient[Any](uri, tz_aware=True) as client, file.open("w") as lines:
        for wanted in COLLECTIONS:
            for document in client[wanted.service][wanted.name].find(sort=[("_id", 1)]):
                line = {"in": f"{wanted.service}.{wanted.name}", "document": document}
                lines.write(
                    json_util.dumps(line, json_options=json_util.CANONICAL_JSON_OPTIONS, ensure_ascii=False) + "\n"
                )


def load_state(uri: str, file: Path = STATE) -> None:
    """Put documents into databases that are set up and empty."""
    with MongoClient[Any](uri, tz_aware=True) as client:
        for line in file.read_text().splitlines():
            saved = json_util.loads(line, json_options=json_util.CANONICAL_JSON_OPTIONS)
            service, _, name = saved["in"].partition(".")
            client[service][name].insert_one(saved["document"])


async def main() -> None:
    """Record a season of a few customers."""
    with tempfile.TemporaryDirectory() as folder:
        async with Stack(free(Path(folder))) as stack:
            await pass_a_season(stack, _USERS, _ORDERS_EACH)
            orders = Orders({"LOCAL_DIR": folder})
            for topic, file in (("payments", PAYMENTS), ("results", RESULTS)):
                await orders("event", "record", "--topic", topic, "-o", file)
            save_state(stack.mongodb_uri, STATE)


if __name__ == "__main__":
    asyncio.run(main())

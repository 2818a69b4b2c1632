"""A team's own consumer of `results`: add up what each customer paid, once for each decision.

    python examples/consumer.py 127.0.0.1:19092 sales.db

Kafka may deliver a decision again, and this program may end between any two lines. So what was counted is stored in the
same transaction as the sum, under the event's id. docs/asyncapi.yaml has the events and the rules.
"""

import sqlite3
import sys

from confluent_kafka import Consumer

from shop.schema.events_pb2 import PAID, PaymentDecided


def consume(kafka: str, database: sqlite3.Connection) -> None:
    """Count decisions for as long as the process runs."""
    database.execute("CREATE TABLE IF NOT EXISTS counted (id BLOB PRIMARY KEY)")
    database.execute("CREATE TABLE IF NOT EXISTS sales (user TEXT PRIMARY KEY, sum INTEGER)")
    group = {"group.id": "sales", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    quick = {"session.timeout.ms": 6000}  # whoever is killed holds its partitions for so long
    consumer = Consumer({"bootstrap.servers": kafka, **group, **quick})
    consumer.subscribe(["results"])
    while True:
        record = consumer.poll(1)
        if record is None or record.error():
            continue  # nothing new, or Kafka is away: the next poll tries again
        headers = dict(record.headers() or ())
        if headers.get("ce_type") == b"shop.events.v1.PaymentDecided":
            decided = PaymentDecided.FromString(record.value() or b"")
            with database:  # one transaction: both are stored, or none is
                counted = database.execute("INSERT OR IGNORE INTO counted VALUES (?)", (headers["ce_id"],))
                if counted.rowcount and decided.outcome == PAID:
                    add = "INSERT INTO sales VALUES (?, ?) ON CONFLICT DO UPDATE SET sum = sum + excluded.sum"
                    database.execute(add, (decided.user, decided.sum))
        consumer.commit(message=record, asynchronous=False)  # after it is stored, never before


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    consume(sys.argv[1], sqlite3.connect(sys.argv[2]))

"""Add up what the databases hold of each user, entry by entry, and say what does not agree."""

from collections.abc import Iterator
from typing import Any

from pymongo import MongoClient

KNOWN = {
    "damaged": ["archived.paid is 550, the archive adds up to 100"],
    "forged at": ["charged 9 for a basket that orders lacks"],
    "late": ["basket 1 is paid, never charged"],
    "ordered": ["basket 2 is ordered still"],
    "ordered again": ["basket 1 is ordered still"],
    "unnotified": ["basket 1, attempt 1 is declined, not notified so"],
}
"""What does not agree in the dump, each brought about on purpose."""


def wrong(client: MongoClient[Any]) -> dict[str, list[str]]:
    """Return by user what does not agree; users of whom all does are left out."""
    users = {each["_id"] for each in client.billing.users.find({}, {"_id": 1})}
    users |= set(client.orders.baskets.distinct("user"))
    found = {user: wrong_of(client, user) for user in sorted(users)}
    return {user: problems for user, problems in found.items() if problems}


def wrong_of(client: MongoClient[Any], user: str) -> list[str]:
    """Return what does not agree of one user."""
    return list(_of(client, user))


def _of(client: MongoClient[Any], user: str) -> Iterator[str]:
    account = client.billing.users.find_one({"_id": user}) or {}
    archived = account.get("archived", {})
    paid, deposits = account.get("paid_baskets", []), account.get("deposits", [])
    # A move that was cut short leaves entries in both places.
    archived_paid = _without(client.billing.paid_baskets.find({"user": user}), paid, "basket")
    archived_deposits = _without(client.billing.deposits.find({"user": user}), deposits, "key")
    charges = {entry["basket"]: entry for entry in (*archived_paid, *paid)}
    if len(charges) != len(archived_paid) + len(paid):
        yield "a basket was charged twice"
    if len({str(entry["key"]) for entry in (*archived_deposits, *deposits)}) != len(archived_deposits) + len(deposits):
        yield "a deposit was counted twice"
    balance = total((*archived_deposits, *deposits)) - total(charges.values())
    if account.get("balance", 0) != balance:
        yield f"the balance is {account.get('balance')}, deposits - paid is {balance}"
    for counted, added_up in (("paid", archived_paid), ("deposited", archived_deposits)):
        if archived.get(counted, 0) != total(added_up):
            yield f"archived.{counted} is {archived.get(counted)}, the archive adds up to {total(added_up)}"
    for counted, entries in (("paid_baskets", archived_paid), ("deposits", archived_deposits)):
        # The code of 67d5614 did not count the paid baskets that it moved.
        if archived.get(counted, 0 if counted == "deposits" else len(entries)) != len(entries):
            yield f"archived.{counted} is {archived.get(counted)}, the archive holds {len(entries)}"
    yield from _stories(client, user, charges)


def _stories(client: MongoClient[Any], user: str, charges: dict[Any, Any]) -> Iterator[str]:
    baskets = {basket["_id"]: basket for basket in client.orders.baskets.find({"user": user})}
    notified = {each["_id"]: each["outcome"] for each in client.notify.notifications.find({"user": user})}
    for id_, basket in baskets.items():
        charge, status = charges.get(id_), basket["status"]
        if status == "ordered":
            yield f"basket {basket['number']} is ordered still"
        elif status == "paid" and charge is None:
            yield f"basket {basket['number']} is paid, never charged"
        elif charge is not None and (status, basket["sum"], basket["attempt"]) != (
            "paid",
            charge["sum"],
            charge["attempt"],
        ):
            yield f"basket {basket['number']} is {status}, charged {charge['sum']}"
        for attempt in range(1, basket["attempt"] + 1):
            outcome = "paid" if (attempt, status) == (basket["attempt"], "paid") else "declined"
            if status != "ordered" and notified.get(f"{id_}.{attempt}") != outcome:
                yield f"basket {basket['number']}, attempt {attempt} is {outcome}, not notified so"
    for id_, charge in charges.items():
        if id_ not in baskets:
            yield f"charged {charge['sum']} for a basket that orders lacks"


def _without(archive: Any, array: list[Any], key: str) -> list[Any]:
    there = {str(entry[key]) for entry in array}
    return [entry for entry in archive if str(entry[key]) not in there]


def total(entries: Any) -> int:
    """Add up the sums of entries."""
    return sum(int(entry["sum"]) for entry in entries)

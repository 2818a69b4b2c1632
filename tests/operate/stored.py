"""The collections that tests of the command change by hand."""

from typing import Any

from shop import mongo


def users() -> Any:
    """Return billing's users."""
    return mongo.collection("billing", "users")


def baskets() -> Any:
    """Return orders' baskets."""
    return mongo.collection("orders", "baskets")


def notifications() -> Any:
    """Return notify's notifications."""
    return mongo.collection("notify", "notifications")

"""The collections that tests of the command change by hand."""

from typing import Any

from shop.store.client import collection


def users() -> Any:
    """Return billing's users."""
    return collection("billing", "users")


def baskets() -> Any:
    """Return orders' baskets."""
    return collection("orders", "baskets")


def notifications() -> Any:
    """Return notify's notifications."""
    return collection("notify", "notifications")

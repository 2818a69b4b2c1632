"""Write update pipelines: one stage whose conditions all see the document as it was, and values that are what they are.

An update by pipeline is how a decision and the memory of it become one atomic write.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Pipeline = Sequence[Mapping[str, Any]]

NOW = "$$NOW"
"""The server's time. It works in update pipelines only: in an insert or `$setOnInsert` it would be stored as text."""

REMOVE = "$$REMOVE"
"""The value that takes a field away."""


def when(condition: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what one `$set` needs to make all the changes when the condition holds, and else none of them.

    Conditions see the document as it was. Keep it to one stage: a second `$set` would see the first one's values.
    """
    return {field: {"$cond": [condition, value, f"${field}"]} for field, value in changes.items()}


def merge_when(condition: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a stage that makes the changes, which may be an expression too, when the condition holds, and else none.

    The condition is evaluated once, however many fields change: for one that walks through an array. Nothing can be
    taken away by it.
    """
    return {"$replaceWith": {"$cond": [condition, {"$mergeObjects": ["$$ROOT", changes]}, "$$ROOT"]}}


def literal(value: object) -> Mapping[str, object]:
    """Return a value that MongoDB takes as it is. Customers' strings need it: `$balance` is a legal user."""
    return {"$literal": value}


def array(field: str) -> Mapping[str, object]:
    """Return an array field, empty when missing: `$in` and `$concatArrays` fail over, or become, a missing one."""
    return {"$ifNull": [f"${field}", []]}

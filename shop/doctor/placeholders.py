"""The rule for what was to be replaced, and was not."""

import re
from collections.abc import Iterator
from typing import Final

from shop.doctor.finding import Finding
from shop.doctor.shop import (
    Shop,
)

_PLACEHOLDER: Final = re.compile(
    r"\b(?:RE?PLACE|CHANGE|FILL|SET|YOUR|INSERT)[-_ ]?(?:ME|THIS|IT|HERE)\b|\bPLACEHOLDER\b|\bTODO\b|\bFIXME\b|\bTBD\b"
    r"|\bYOUR[-_][A-Z]|<[A-Z][A-Z0-9 _.-]*>|\$\{\w+\}|\bexample\.(?:com|org|net)\b|\bXXX+\b",
    re.IGNORECASE,
)


def placeholders(shop: Shop) -> Iterator[Finding]:
    """Find what was to be replaced, and was not."""
    for document in shop.documents:
        scripts = document.kind in {"ConfigMap", "Job", "CronJob", "StatefulSet", "Deployment"}
        for field, text in _texts(document.content):
            found = _PLACEHOLDER.search(text)
            if found and not (scripts and found[0].startswith("${")):  # a shell reads its own variables
                yield Finding(document, field, f"{found[0]!r} was left in", "the value of this cluster")
            if field.endswith(".image") and (text in {"", "shop"} or text.endswith(":latest")):
                yield Finding(
                    document, field, f"{text!r} is no image of a version: what runs is not what was tested", "name:tag"
                )


def _texts(value: object, field: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text of a document, and the field where it stands."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _texts(each, f"{field}.{key}" if field else str(key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _texts(each, f"{field}[{number}]")

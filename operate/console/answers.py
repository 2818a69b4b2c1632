"""What a page is before it is text, and how it becomes text: by templates in which every value stays text."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined

from operate.diagnosis import lasting

TEMPLATES: Final = Path(__file__).parent / "templates"


LIVE: Final[Mapping[str, str]] = {"order.html": "order_live.html", "health.html": "health_live.html"}
"""The templates of pages that refresh themselves, and those of their live parts."""


class Refused(Exception):
    """Nothing was done; the text says why."""

    def __init__(self, status: int, says: str) -> None:
        super().__init__(says)
        self.status = status


@dataclass(frozen=True)
class Page:
    """A page to show."""

    template: str
    title: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    refresh: str = ""
    """The address of the page's live part, which a browser asks for each second; empty when nothing is on its way."""


@dataclass(frozen=True)
class Found:
    """Where to go instead."""

    at: str


def link(path: str, **query: object) -> str:
    """Return an address of the console; what is empty is left out."""
    sent = urlencode({name: str(value) for name, value in query.items() if value not in ("", None)})
    return f"{path}?{sent}" if sent else path


def _begun(text: str) -> str:
    return text[:1].upper() + text[1:]


def _shown(value: object) -> object:
    """Write what nobody sees, or what turns the text around it, as its number: a name must not look like another one.

    Joiners stay: scripts and emoji need them. So does what is markup already, such as a value of a form.
    """
    if isinstance(value, Undefined) or hasattr(value, "__html__"):
        return value
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", str(value))


_UNSEEN: Final = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\xa0\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202f\u2060-\u206f\u3164\ufeff]"
)


def _moment(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}"


_environment: Final = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(moment=_moment, lasting=lasting, begun=_begun)
_environment.globals.update(link=link)


def rendered(page: Page, *, only_live: bool = False) -> str:
    """Return a page as text, or its live part alone."""
    template = LIVE.get(page.template, page.template) if only_live else page.template
    return _environment.get_template(template).render(**page.values, title=page.title, refresh=page.refresh)

"""What a page is before it is text, and how it becomes text: by templates in which every value stays text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

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


def _moment(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}"


_environment: Final = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(moment=_moment, lasting=lasting, begun=_begun)
_environment.globals.update(link=link)


def rendered(page: Page, *, only_live: bool = False) -> str:
    """Return a page as text, or its live part alone."""
    template = LIVE.get(page.template, page.template) if only_live else page.template
    return _environment.get_template(template).render(**page.values, title=page.title, refresh=page.refresh)

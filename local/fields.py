"""Read YAML field by field, so that what nobody has read is an error with its place.

A cluster accepts fields that mean nothing to it, and of two equal keys takes the last. Here both are errors.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

T = TypeVar("T")

_REQUIRED: Final[Any] = object()


class ManifestError(Exception):
    """A manifest says what local/ does not do; the message names file and field."""


class Fields:
    """A mapping of a manifest that knows its place, and which of its fields nobody has read."""

    def __init__(self, file: Path, path: str, content: object) -> None:
        self._file = file
        self._path = path
        if not isinstance(content, dict):
            raise ManifestError(f"{file}: {path or 'the document'} is not a mapping")
        self.content: dict[str, Any] = content
        self._read: set[str] = set()
        self._children: list[Fields] = []

    def take(self, name: str, kind: type[T], default: T = _REQUIRED) -> T:
        """Return the field, which must be of exactly this type."""
        self._read.add(name)
        value = self.content.get(name, default)
        if value is _REQUIRED:
            raise self.error(name, "is missing")
        if value is not default and type(value) is not kind:  # a bool is an int to isinstance
            raise self.error(name, f"{value!r} is not of type {kind.__name__}")
        return value

    def only(self, name: str, *values: T) -> T:
        """Return the field, which must have one of these values."""
        value: T = self.take(name, type(values[0]))
        if value not in values:
            raise self.error(
                name, f"{value!r} is not implemented by local/, which knows {', '.join(map(repr, values))}"
            )
        return value

    def texts(self, name: str, default: list[str] = _REQUIRED) -> list[str]:
        """Return the field, which must be a list of strings."""
        values = self.take(name, list, default)
        for number, value in enumerate(values):
            if not isinstance(value, str):
                raise self.error(f"{name}[{number}]", f"{value!r} is not a string")
        return values

    def within(self, name: str) -> "Fields":
        """Return the mapping under this name; an empty one when there is none."""
        child = Fields(self._file, self._join(name), self.take(name, dict, {}))
        self._children.append(child)
        return child

    def each(self, name: str) -> Iterator["Fields"]:
        """Iterate over a list of mappings."""
        for number, item in enumerate(self.take(name, list)):
            child = Fields(self._file, f"{self._join(name)}[{number}]", item)
            self._children.append(child)
            yield child

    def the_one(self, name: str) -> "Fields":
        """Return the only item of a list of mappings."""
        items = list(self.each(name))
        if len(items) != 1:
            raise self.error(name, f"{len(items)} items are not implemented by local/, which knows 1")
        return items[0]

    def cluster_only(self, *names: str, why: str) -> None:
        """Pass over fields that a cluster needs and one machine does not; `why` is for the reader of this file."""
        assert why  # noqa: S101
        self._read.update(names)

    def close(self) -> None:
        """Raise ManifestError when a field here or below was neither read nor passed over."""
        for name in sorted(self.content.keys() - self._read):
            raise self.error(name, "is not implemented by local/")
        for child in self._children:
            child.close()

    def error(self, name: str, reason: str) -> ManifestError:
        """Say what is wrong with a field, in the file where it is."""
        return ManifestError(f"{self._file}: {self._join(name)} {reason}")

    def _join(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name


def documents_of(file: Path) -> list[Fields]:
    """Return the documents of a file. Raises ManifestError when they cannot be read."""
    try:
        with file.open(encoding="utf-8") as stream:
            return [Fields(file, "", content) for content in yaml.load_all(stream, _StrictLoader)]
    except (OSError, yaml.YAMLError) as reason:
        raise ManifestError(f"{file}: {reason}") from reason


class _StrictLoader(yaml.CSafeLoader):
    """YAML in which a key that is there twice is an error; a cluster takes the last one without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)

"""A small bug in one file, and the tests that must find it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """A bug, the edit that makes it, and what must fail then, within seconds."""

    bug: str
    file: str
    """From the project's root."""

    old: str
    new: str
    tests: tuple[str, ...]
    """Files or single tests, as pytest names them."""

    def mutated(self, root: Path) -> str:
        """Return the file's text with the bug.

        Raises ValueError when the text to replace is not there exactly once: what mutates nothing proves nothing.
        """
        source = (root / self.file).read_text(encoding="utf-8")
        if source.count(self.old) != 1:
            raise ValueError(f"{self.bug}: {self.file} has {self.old!r} {source.count(self.old)} times, not once")
        return source.replace(self.old, self.new)


def mutant_in(folder: str, file: str, bug: str, old: str, new: str, *tests: str) -> Mutant:
    """Return a mutant of a module of a folder; a list of mutants begins with its own folder."""
    return Mutant(bug, f"{folder}/{file}.py", old, new, tests)

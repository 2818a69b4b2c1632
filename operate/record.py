"""Write what topics hold to a file, whole or not at all."""

import os
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from operate.errors import WrongUse
from operate.topics import Topics
from wire.event import NotAnEventError
from wire.recording import line, recorded


class Recorded:
    """How many events of each topic were written."""

    def __init__(self, topics: Sequence[str]) -> None:
        """Begin with none."""
        self.counts: Counter[str] = Counter(dict.fromkeys(topics, 0))
        self.skipped = 0
        """Records that no KafkaSource delivers."""

    def record(
        self, topics: Topics, file: TextIO, since_ms: int | None, limit: int | None, step: Callable[[], None]
    ) -> None:
        """Write the events that the topics hold, or so many of them. Raises NotReachable and WrongUse."""
        for message in topics.read(list(self.counts), since_ms):
            try:
                event = recorded(message)
            except NotAnEventError:
                self.skipped += 1  # KafkaSource discards it too
                continue
            file.write(line(event) + "\n")
            self.counts[message.topic() or ""] += 1
            step()
            if limit is not None and self.counts.total() == limit:
                break


@contextmanager
def replacing(file: Path, tell: Callable[[str], None]) -> Iterator[TextIO]:
    """Write a file beside the one that is wanted, which it replaces when it is whole: a former one is there until then.

    What is no file, such as a pipe, is written to as it is. When it fails, `tell` is told what is there now.
    """
    file = file.resolve()  # a link stays one
    if file.exists() and not file.is_file():
        if file.is_dir():
            raise WrongUse(f"{file} is a folder; name a file in it")
        with file.open("w", encoding="utf-8") as special:
            yield special
        return
    if not file.parent.is_dir():
        raise WrongUse(f"there is no folder {file.parent} to write {file.name} in")
    beside = file.parent / f".{secrets.token_hex(8)}.part"
    try:
        with beside.open("x", encoding="utf-8") as opened:
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
        if file.exists():
            shutil.copymode(file, beside)
        beside.replace(file)
    except BaseException:
        beside.unlink(missing_ok=True)
        tell(f"{file} is unchanged" if file.exists() else f"{file} was not written")
        raise

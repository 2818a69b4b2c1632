"""Read what the stack of a folder on this machine says of itself.

Nothing of `local` is imported, so that `orders` works where no stack can run: the names of the two files, and that the
lock is held while a stack runs, are all that both know. tests/operate/test_places.py holds them to each other.
"""

import contextlib
import fcntl
import json
from pathlib import Path
from typing import Any, Final

from operate.errors import WrongUse

FOLDER: Final = ".stack"
ADDRESSES: Final = "addresses.json"
_LOCK: Final = "lock"


def addresses(folder: Path) -> tuple[dict[str, Any], str]:
    """Return the addresses of the stack that runs in a folder; else none, and why.

    What a stack that has ended left there may be another's by now, so it is not read.

    Raises:
        WrongUse: they are not laid out as a stack does it.

    """
    if not _is_held(folder / _LOCK):
        return {}, f"no stack runs in {folder}"
    file = folder / ADDRESSES
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        _check(found)
    except FileNotFoundError:
        return {}, f"the stack in {folder} has not said yet where it is"
    except (ValueError, RecursionError, AttributeError, TypeError) as error:
        raise WrongUse(f"{file} cannot be read: {error}; restart the stack (make run)") from error
    return found, ""


def _is_held(lock: Path) -> bool:
    """Whether somebody has locked this file: the kernel keeps the lock for as long as that process lives."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError), lock.open() as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _check(found: Any) -> None:
    urls = [*found.get("sinks", {}).values(), *found.get("functions", {}).values()]
    for each in (found.get("mongodb_uri", ""), found.get("kafka_bootstrap_servers", ""), *urls):
        if not isinstance(each, str):
            raise TypeError(f"{each!r} is no address")

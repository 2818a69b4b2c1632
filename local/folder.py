"""The folder of a stack: one stack runs in it at a time, and `make clean` removes it (`python -m local.clean`).

Whether a stack runs there is said by a lock that the kernel keeps for the process, so a stack that was killed leaves
nothing behind that would have to be believed. Nothing here has to be installed: what is not can be cleaned up too.
"""

import contextlib
import errno
import fcntl
import itertools
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from local.settings import SettingsError

ADDRESSES: Final = "addresses.json"
"""The file in a stack's folder that says where its ingress, MongoDB, Kafka, the sinks and the functions are."""

_NEW_ADDRESSES: Final = f"{ADDRESSES}.new"

LOGS: Final = "logs"
FORMER_LOGS: Final = "logs.old"
_LOCK: Final = "lock"

_OURS: Final = frozenset(
    {
        *(_LOCK, ADDRESSES, _NEW_ADDRESSES, LOGS, FORMER_LOGS, "mongodb", "kafka"),
        *("envoy.json", "kafka-sink.json", "kafka-source.json", "otlp-to-zipkin.json"),
    }
)
"""All that a stack leaves in its folder. A folder with anything else in it is not removed."""

_CHOOSE: Final = ": give one that can be written: LOCAL_DIR=/var/tmp/stack make run"
_TRIES: Final = 5  # half a second, for a `make clean` that is about to end, or a stack that was just killed
_PAUSE_S: Final = 0.1


def locked(lock: IO[str]) -> bool:
    """Lock this file unless somebody has; return whether it was done."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def take(folder: Path, locked: Callable[[IO[str]], bool] = locked) -> IO[str]:
    """Make the folder, and make it ours until the file that is returned is closed.

    Raises:
        SettingsError: another stack runs in it, or it cannot be written.

    """
    for _ in range(_TRIES):
        with usable(folder):
            if folder.exists() and not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            folder.mkdir(parents=True, exist_ok=True)
            _refuse_logs_of_others(folder)
            lock = (folder / _LOCK).open("a+")
        if locked(lock) and _is_at(lock, folder / _LOCK):
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            return lock
        lock.close()
        time.sleep(_PAUSE_S)
    raise SettingsError(
        f"another stack runs in {folder}{_process(folder)}: stop it, or choose another folder: "
        "LOCAL_DIR=.stack2 make run"
    )


@contextlib.contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Say what is wrong with the folder when the system refuses what is done in it.

    Raises:
        SettingsError: it did.

    """
    try:
        os.fspath(folder).encode()
        yield
    except UnicodeEncodeError:
        raise SettingsError(f"the stack's folder {os.fspath(folder)!a} has a name that is not UTF-8{_CHOOSE}") from None
    except OSError as error:
        raise SettingsError(f"the stack's folder {folder} cannot be used: {error.strerror}{_CHOOSE}") from None


def tell_addresses(folder: Path, addresses: Mapping[str, Any]) -> None:
    """Leave what other programs, such as `orders`, need in order to find this stack; nobody reads half of it."""
    (folder / _NEW_ADDRESSES).write_text(json.dumps(addresses, indent=2))
    (folder / _NEW_ADDRESSES).replace(folder / ADDRESSES)


def addresses(folder: Path) -> dict[str, Any]:
    """Return what the latest stack of this folder told; nothing when there was none, or the file is not one of ours."""
    try:
        told = json.loads((folder / ADDRESSES).read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def beside(folder: Path) -> Path:
    """Return a name like this one, for a folder that nobody has."""
    stem = re.sub(r"\d+$", "", folder.name) or ".stack"  # "." and "12" have no other name
    others = (folder.parent / f"{stem}{number}" for number in itertools.count(2))
    return next(other for other in others if not other.exists())


def begin_logs(folder: Path) -> None:
    """Begin new logs, and keep those of the run before: they may say why it ended."""
    logs = folder / LOGS
    if logs.is_dir() and any(logs.iterdir()):
        shutil.rmtree(folder / FORMER_LOGS, ignore_errors=True)
        logs.rename(folder / FORMER_LOGS)
    logs.mkdir(exist_ok=True)


def remove(folder: Path) -> bool:
    """Remove what a stack left in its folder, and the folder; return whether there was anything.

    Raises:
        SettingsError: a stack runs there, or the folder is not one of a stack; nothing is removed.
        OSError: something could not be removed.

    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise SettingsError(f"{folder} is a file, and no folder of a stack: nothing is removed")
    found = {entry.name for entry in folder.iterdir()}
    if not found:
        return False
    if strange := sorted(found - _OURS):
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise SettingsError(
            f"{folder} holds what no stack has put there: {', '.join(strange[:3])}{more}. Nothing is removed; "
            "LOCAL_DIR names the folder of a stack"
        )
    try:
        lock = (folder / _LOCK).open("r+")
    except FileNotFoundError:
        raise SettingsError(f"{folder} has no file `{_LOCK}`, so no stack has made it: nothing is removed") from None
    with lock:
        if not locked(lock):
            raise SettingsError(f"a stack runs in {folder}{_process(folder)}: stop it first; nothing is removed")
        for name in sorted(found - {_LOCK}):
            _remove(folder / name)
        (folder / _LOCK).unlink()  # last, so that a removal that is interrupted can be repeated
    if not folder.is_symlink():
        with contextlib.suppress(OSError):  # a stack that has started since is using it
            folder.rmdir()
    return True


def runs(folder: Path) -> bool:
    """Whether a stack runs in the folder; what one that has ended left there may be another's by now."""
    try:
        with (folder / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _is_at(lock: IO[str], path: Path) -> bool:
    """Whether this open file is still the one at this path: `make clean` may have removed it meanwhile."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _process(folder: Path) -> str:
    """Say which process has the lock, as far as it has said so itself."""
    with contextlib.suppress(OSError):
        if process := (folder / _LOCK).read_text().strip():
            return f" (process {process})"
    return ""


def _refuse_logs_of_others(folder: Path) -> None:
    """Refuse a folder whose `logs` were written by somebody else: the start after the next would delete them.

    Raises:
        SettingsError: they are there, and nothing in the folder is a stack's.

    """
    if (folder / _LOCK).exists() or (folder / ADDRESSES).exists():
        return
    logs = folder / LOGS
    if logs.exists() and not (logs.is_dir() and not any(logs.iterdir())):
        raise SettingsError(
            f"{folder} has `{LOGS}` in it that no stack has written: choose another folder: LOCAL_DIR=.stack2 make run"
        )

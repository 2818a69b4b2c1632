"""What the processes of a system have used, as the kernel counts it: CPU, memory and descriptors, by name."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """One process of a system."""

    pid: int
    name: str

    def cpu_s(self) -> float:
        """Return what it has used since it began, in its own code and the kernel's. Raises OSError when it is gone."""
        # Its own name stands in parentheses, and may have any sign in it.
        fields = (_PROC / str(self.pid) / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    def memory(self) -> dict[str, int]:
        """Return its Rss and Pss in bytes: pages that it shares count in full in the one, by shares in the other."""
        lines = (_PROC / str(self.pid) / "smaps_rollup").read_text().splitlines()[1:]
        sizes = {name: int(size.split()[0]) * 1024 for name, _, size in (line.partition(":") for line in lines)}
        return {name: sizes[name] for name in ("Rss", "Pss")}

    def descriptors(self) -> int:
        """Return how many files and sockets it has open."""
        return len(list((_PROC / str(self.pid) / "fd").iterdir()))


def descendants(ancestor: int) -> list[Process]:
    """Return a process and all that it has started, and what they have, by the names that people know them by."""
    parents: dict[int, int] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended meanwhile
    family, grown = {ancestor}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        grown = bool(more)
        family |= more
    return [Process(pid, name) for pid in sorted(family) if (name := _name(pid))]


def _name(pid: int) -> str:
    """Return what a process is called in a report; empty when it has ended."""
    try:
        environment, command = _words(pid, "environ"), _words(pid, "cmdline")
    except OSError:
        return ""
    services = [word.removeprefix("K_SERVICE=") for word in environment if word.startswith("K_SERVICE=")]
    return services[0] if services else name_of(command)


def _words(pid: int, file: str) -> list[str]:
    return (_PROC / str(pid) / file).read_bytes().rstrip(b"\0").decode(errors="replace").split("\0")


def name_of(command: list[str]) -> str:
    """Return what a command is called in a report: a program of ours by its module, Java by what it runs here."""
    program = Path(command[0]).name
    if program == "java":
        return "kafka"
    if not program.startswith("python"):
        return program
    if "-m" not in command[:-1]:
        return Path(command[-1]).name
    module = command[command.index("-m") + 1]
    return module.rpartition(".")[2].replace("_", "-")


def used(processes: Iterable[Process]) -> Counter[str]:
    """Return the seconds of CPU by name that these processes have used until now.

    Raises:
        OSError: one of them has ended, so what it has used is unknown.

    """
    seconds: Counter[str] = Counter()
    for process in processes:
        seconds[process.name] += process.cpu_s()  # type: ignore[assignment]
    return seconds


def since(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds by name that were used between two times."""
    return {name: now[name] - before[name] for name in now}

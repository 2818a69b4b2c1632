"""Numbers that a proof is run with, checked before anything starts: what was not run must not be reported as held."""

import argparse
from collections.abc import Callable
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Ends with one line and exit status 2 when the command line is wrong."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, without the usage before it."""
        self.exit(2, f"{message}\n")


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return a type for options that are whole numbers within these bounds."""

    def read(text: str) -> int:
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"give a whole number from {least} to {most}, not {_shown(text)}")
        return int(text)

    return read


def minutes(most: float) -> Callable[[str], float]:
    """Return a type for options that are a time in minutes, up to so many."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value <= most:
            raise argparse.ArgumentTypeError(f"give minutes, more than 0 and up to {most:g}, not {_shown(text)}")
        return value

    return read


def _shown(text: str) -> str:
    return repr(text if len(text) <= 30 else f"{text[:30]}...")

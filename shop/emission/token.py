"""The token that a SinkBinding mounts where Eventing authenticates, to be sent with each event.

Promise: an event goes out with the token that is in the file at most CHECKED_S before. Tokens last an hour and are
replaced before that, and the file may come after the first start.
"""

import logging
import math
import re
import time
from collections.abc import Callable
from pathlib import Path

from shop.process import process

CHECKED_S = 1.0
"""How old a look at the file may be: it costs some microseconds, which a second of events share."""

_TOKEN = re.compile(r"[!-~]{1,16384}")

_log = logging.getLogger(__name__)


class Token:
    """The token of this process; there may be none."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.file = Path(process.current().settings.sink_token)
        self._clock = clock
        self._looked_at = -math.inf
        self._seen: tuple[int, int, int] | None = None
        self._text = ""

    def current(self) -> str:
        """Return the token; "" when there is none."""
        if self._clock() - self._looked_at > CHECKED_S:
            self.look()
        return self._text

    def look(self) -> None:
        """Look at the file, and read it when it changed."""
        self._looked_at = self._clock()
        try:
            found = self.file.stat()  # behind Kubernetes' links, which lead to another file when it is replaced
            seen = found.st_ino, found.st_mtime_ns, found.st_size
            if seen != self._seen:
                self._text, self._seen = self._read(), seen
        except OSError:
            self._text, self._seen = "", None

    def _read(self) -> str:
        text = self.file.read_text("ascii", "replace").strip()
        if not _TOKEN.fullmatch(text):
            _log.error("%s holds no token; events are sent without one", self.file)
            return ""
        return text

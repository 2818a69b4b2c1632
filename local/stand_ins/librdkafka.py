"""One line in the log per outage of Kafka, where librdkafka writes one for every attempt to connect."""

import json
import logging
from typing import Any

from confluent_kafka import KafkaError

SILENT = logging.getLogger("librdkafka")
"""A logger that drops what librdkafka writes, which would otherwise go to stderr."""
SILENT.setLevel(logging.CRITICAL)

_REFUSALS = (KafkaError._AUTHENTICATION, KafkaError._SSL)
_UNREACHABLE = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE)


class OutageLog:
    """Tells when Kafka cannot be reached or refuses us, and when it can again; `settings` go to a client."""

    def __init__(self, log: logging.Logger, who: str) -> None:
        self.settings: dict[str, Any] = {"error_cb": self._failed, "logger": SILENT}
        self._log = log
        self._who = who
        self._out = self._refused = False

    def _failed(self, error: KafkaError) -> None:
        if error.code() in _REFUSALS:
            if not self._refused:
                self._refused = True
                self._log.error("kafka-refuses %s reason=%s", self._who, json.dumps(error.str()))
        elif error.code() not in _UNREACHABLE:
            self._log.error("kafka %s reason=%s", self._who, json.dumps(str(error)))
        elif not self._out:
            self._out = True
            self._log.warning("kafka-unreachable %s reason=%s", self._who, json.dumps(error.str()))

    def works(self) -> None:
        """Note that Kafka answered."""
        if self._out or self._refused:
            self._out = self._refused = False
            self._log.info("kafka-reachable %s", self._who)

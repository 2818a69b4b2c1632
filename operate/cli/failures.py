"""Say in one line what went wrong; imported when something has, for it knows all that can."""

import re
import traceback
from typing import Final

from confluent_kafka import KafkaException
from pymongo.errors import ConfigurationError, InvalidName, OperationFailure, PyMongoError

from operate.errors import NotReachable, WrongUse
from wire.recording import NotARecordingError

_NOISE: Final = re.compile(
    r" \(configured timeouts: [^)]*\)|, (?:Timeout: [\d.]+s, Topology Description|full error): .*", re.DOTALL
)


def explained(error: Exception) -> str:
    """Say what went wrong; of a bug, after its trace."""
    match error:
        case WrongUse() | NotReachable() | NotARecordingError():
            return str(error)
        case ConfigurationError() | InvalidName():
            return f"a setting for MongoDB cannot be used: {error}"
        case OperationFailure():
            return f"MongoDB refuses: {without_topology(error)}"
        case PyMongoError():
            return f"MongoDB does not answer: {without_topology(error)}"
        case KafkaException():
            return f"Kafka does not answer: {error.args[0].str() if error.args else error}"
        case OSError():
            return f"{error.strerror}: {error.filename}" if error.filename else str(error)
        case UnicodeError():
            return f"this is not UTF-8: {error}"
        case _:
            traceback.print_exception(error)
            return "the above is a bug in this command; the result is unknown"


def without_topology(error: PyMongoError) -> str:
    """Return what MongoDB's driver says, without all that it knows of each server."""
    return _NOISE.sub("", str(error))

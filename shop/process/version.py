"""Say which release this is: pyproject.toml reads it here, and so does every line of the log."""

VERSION = "0.1.0"

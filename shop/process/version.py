"""Say which release this is, in every line of the log; pyproject.toml says it too, which an image does not hold."""

VERSION = "0.1.0"

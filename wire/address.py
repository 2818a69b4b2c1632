"""Say where an address leads, without the secrets in it."""

import re


def hosts(address: str) -> str:
    """Return the hosts of a URI of MongoDB, or of bootstrap servers, without credentials, however they are written."""
    bare = re.sub(r"\w[\w+]*://", "", address)
    before_options = re.split(r"\?\w+=", bare)[0]  # a password may hold any character, and an option an @
    return re.split("[/?]", before_options.rpartition("@")[2])[0]

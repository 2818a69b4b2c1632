"""What authorities this machine trusts."""

import ssl


def trusted() -> ssl.SSLContext:
    """Read them: once in a process, and only where something is https, for it takes as long as a start."""
    return ssl.create_default_context()

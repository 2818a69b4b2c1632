"""How many examples hypothesis tries: a few, the same in every run; or as many new ones as FUZZ_EXAMPLES says."""

import os

from hypothesis import HealthCheck, settings

_ASKED_FOR = int(os.environ.get("FUZZ_EXAMPLES", "0"))


def examples(usual: int) -> settings:
    """Return the settings of a property test that usually tries so many examples."""
    return settings(
        max_examples=_ASKED_FOR or usual,
        derandomize=not _ASKED_FOR,
        database=None,  # a failure is replayed by the blob it prints
        print_blob=True,
        deadline=None,  # the machine may be busy
        # Fixtures that are shared by all examples are meant to be, and what is generated here is large.
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )

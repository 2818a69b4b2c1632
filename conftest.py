"""What tests and proofs share: fixtures, and that what they start obeys signals."""

import signal

from tests.support.fixtures import configure as configure
from tests.support.fixtures import databases as databases
from tests.support.fixtures import mongod as mongod
from tests.support.fixtures import shop as shop
from tests.support.own_servers import pytest_configure as pytest_configure
from tests.support.own_servers import pytest_unconfigure as pytest_unconfigure
from tests.support.shared_processes import pytest_xdist_make_scheduler as pytest_xdist_make_scheduler
from tests.support.slowest_first import pytest_collection_modifyitems as pytest_collection_modifyitems
from tests.support.stack_fixtures import stack as stack

# A run in the background of a shell ignores SIGINT, one under nohup SIGHUP, and whatever it starts inherits that.
for ignored, default in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(ignored) is signal.SIG_IGN:
        signal.signal(ignored, default)

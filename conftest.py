"""What tests and proofs share: fixtures, and that what they start obeys SIGHUP."""

import signal

from tests.support.fixtures import configure as configure
from tests.support.fixtures import databases as databases
from tests.support.fixtures import mongod as mongod
from tests.support.fixtures import shop as shop
from tests.support.stack_fixtures import stack as stack

# Under nohup it is ignored, which whatever they start would inherit.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

"""Make collections, indexes and validators: `python -m shop.setup`, before any function is deployed; safe to re-run.

`--restored` begins a new epoch after a restore, `--mend` removes duplicates that keep a unique index from being made,
`--shard` shards the collections by user, `--users` makes a user per service, `--initiate` first makes a MongoDB, to
try it with, a replica set.
"""

from shop.setup.initiating import initiate as initiate
from shop.setup.making import NotSetUp as NotSetUp
from shop.setup.making import setup as setup
from shop.setup.mending import mend as mend
from shop.setup.restoring import restored as restored
from shop.setup.sharding import shard as shard
from shop.setup.users import make_users as make_users
from shop.state import COLLECTIONS as COLLECTIONS

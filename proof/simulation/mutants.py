"""The bugs that the simulation must find: small edits of the real code, made in this process only.

A mutant is text of a function and what stands there instead. When the code has changed so that the text is no longer
there, once, that is an error: a mutant that mutates nothing would be proof of nothing.
"""

import inspect
import pkgutil
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock


@dataclass(frozen=True)
class Mutant:
    """A bug, and the edits of one function that make it."""

    bug: str
    function: str
    """With its module, and its class if it has one."""

    edits: tuple[tuple[str, str], ...]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Run with the bug. Raises ValueError when the code is no longer what the mutant edits."""
        owner_name, _, name = self.function.rpartition(".")
        owner = pkgutil.resolve_name(owner_name)  # a module, or a class in one
        source = textwrap.dedent(inspect.getsource(getattr(owner, name)))
        for old, new in self.edits:
            if source.count(old) != 1:
                raise ValueError(f"{self.bug}: {self.function} has {old!r} {source.count(old)} times, not once")
            source = source.replace(old, new)
        made: dict[str, object] = {}
        module = inspect.getmodule(getattr(owner, name))
        exec(compile(source, f"<{self.bug}>", "exec"), vars(module), made)  # noqa: S102 - our own text
        with mock.patch.object(owner, name, made[name]):
            yield


_NOW = '__import__("datetime").datetime.fromtimestamp(__import__("time").time() // 0.001 / 1000)'  # whole milliseconds

_IN_HAND = '__import__("pkgutil").resolve_name("proof.simulation.processes:_current").get().instance.name.startswith'

MUTANTS = (
    # --- what requests share
    Mutant(
        "who shares a batch is told of somebody else's document",
        "shop.store.shared._with_key",
        (("if all(each[name] == value for name, value in key.items())", ""),),
    ),
    Mutant(
        "what is shared is read durable, not latest",
        "shop.store.shared._documents",
        (("_command(of, command)", '_command(of, {**command, "readConcern": {"level": "majority"}})'),),
    ),
    # --- decision
    Mutant(
        "paid_baskets is not looked at",
        "shop.billing._decide_it",
        (('array("paid_baskets.basket")', "[]"),),
    ),
    Mutant(
        "archived_through is not looked at",
        "shop.billing._decide_it",
        (('{"$ifNull": ["$archived_through", Int64(0)]}', "Int64(0)"),),
    ),
    Mutant(
        "a decline is not final",
        "shop.billing._decide_it",
        (('{"$eq": ["$declined.basket", basket]}', "False"),),
    ),
    Mutant(
        "a decline is of the basket, not of the attempt",
        "shop.billing._decide_it",
        (('{"$gte": ["$declined.attempt", attempt]}', "True"),),
    ),
    Mutant(
        "an older attempt is decided after a later one was declined",
        "shop.billing._decide_it",
        (('{"$gte": ["$declined.attempt", attempt]}', '{"$eq": ["$declined.attempt", attempt]}'),),
    ),
    Mutant(
        "the balance is not looked at",
        "shop.billing._decide_it",
        (('{"$gte": [{"$ifNull": ["$balance", Int64(-1)]}, sum_]}', '{"$gte": ["$balance", Int64(0)]}'),),
    ),
    Mutant(
        "charge and memory are two writes",
        "shop.billing.decide",
        (
            (
                "seen = await shared.apply(_users(), decide_it)\n",
                "(decide_here,) = _decide_it(requested, None)\n"
                '    as_it_was = {"$mergeObjects": ["$as_it_was", {"balance": "$balance"}]}\n'
                '    charge = [{"$set": {"as_it_was": "$$ROOT"}}, decide_here, {"$replaceWith": as_it_was}]\n'
                "    before = await _users().find_one_and_update(key, charge, upsert=True) or {}\n"
                '    as_before = {"funds": "$balance", "balance": before.get("balance", "$$REMOVE")}\n'
                '    after = [{"$set": {"balance": "$funds"}}, {"$unset": "funds"}]\n'
                '    remember = [{"$set": as_before}, decide_here, *after]\n'
                "    its = shared.Statement(key, remember, upsert=is_first, shown=shown)\n"
                "    seen = await shared.apply(_users(), its)\n",
            ),
        ),
    ),
    Mutant(
        "an older attempt is answered with the later one's reason",
        "shop.billing._told",
        (
            ("if asked < attempt:", "if False:"),
            ("if (term := other_term(agreed, decided)) is not None:", "if term := None:"),
            ("        decided,\n", '        {**decided, "attempt": asked, "sum": requested.sum},\n'),
        ),
    ),
    Mutant(
        "a decision is dated when it is emitted",
        "shop.billing._told",
        (('decided_at=decided["paid_at" if is_paid else "decided_at"]', f"decided_at={_NOW}"),),
    ),
    Mutant(
        "any attempt is decided as if it were its turn",
        "shop.billing._decide_it",
        (("is_its_turn = True if attempt == 1 else is_next", "is_its_turn = True"),),
    ),
    # --- deposits
    Mutant(
        "a deposit does not look for its key",
        "shop.billing._credit_it",
        (('{"$not": [{"$in": [literal(key), array("deposits.key")]}]},', ""),),
    ),
    Mutant(
        "a keyed deposit is not conditional on the archive",
        "shop.billing._credit_it",
        (("DEPOSITS.is_still(looked),", ""),),
    ),
    Mutant(
        "a key in the archive is not looked up",
        "shop.archive.Archive.settle",
        (
            (
                "await self.find(account, key, session)",
                "await self.find(account, key, session) if self is not DEPOSITS else None",
            ),
        ),
    ),
    Mutant(
        "a deposit whose outcome is unknown is taken for done",
        "shop.billing.credit",
        (
            (
                "if key is not None:\n            raise\n",
                "return Deposited(balance=sum_, replayed=False, account={})\n",
            ),
        ),
    ),
    Mutant(
        "creating a user again empties the account",
        "shop.billing.create_user",
        (('{"$ifNull": ["$balance", Int64(0)]}', "Int64(0)"),),
    ),
    # --- archives
    Mutant(
        "archived_through is not raised with the pull",
        "shop.archive.Archive._move",
        (('if "number" in entries[0]:', "if False:"),),
    ),
    Mutant(
        "a basket in the archive is not looked up",
        "shop.archive.Archive.settle",
        (
            (
                "await self.find(account, key, session)",
                "await self.find(account, key, session) if self is DEPOSITS else None",
            ),
        ),
    ),
    Mutant(
        "entries are pulled whatever was moved since",
        "shop.archive.Archive._move",
        (('{"_id": user, **as_read}', '{"_id": user}'),),
    ),
    Mutant(
        "entries are pulled before they are in the archive",
        "shop.archive.Archive._move",
        (
            ("    await self._collection().bulk_write(upserts, ordered=False)\n", ""),
            (
                '.update_one({"_id": user, **as_read}, changes)\n',
                '.update_one({"_id": user, **as_read}, changes)\n    await self._collection().bulk_write(upserts)\n',
            ),
        ),
    ),
    Mutant(
        "the limits of the arrays are ignored",
        "shop.archive.Archive.bound",
        (("limits = process.current().settings.array_limits", "limits = process.Settings().array_limits"),),
    ),
    # --- baskets and orders
    Mutant(
        "a new basket is made with a condition beside its unique key",
        "shop.orders._make_basket",
        (
            (
                'content = {"status": OPEN, "attempt": Int64(0)}',
                'key, content = {**key, "status": OPEN}, {"attempt": Int64(0)}',
            ),
        ),
    ),
    Mutant(
        "a new basket is made while the last one is on its way",
        "shop.orders.current_basket",
        (
            (
                'latest is None or latest["status"] == PAID_STATUS',
                'latest is None or latest["status"] != OPEN',
            ),
        ),
    ),
    Mutant(
        "an ordered basket is ordered again",
        "shop.orders._order_it",
        (('{"$eq": ["$status", OPEN]}', '{"$ne": ["$status", PAID_STATUS]}'),),
    ),
    Mutant(
        "the attempt that a client sends is not looked at",
        "shop.orders._order_it",
        (("if (attempt := _attempt(request)) is not None:", "if False:"),),
    ),
    Mutant(
        "an order is emitted before it is in the database",
        "shop.orders.place",
        (
            (
                "mine = ObjectId()",
                "mine = ObjectId()\n"
                "    from shop.emission import emit\n"
                "    seen = await find_order(request.user, request.basket)\n"
                '    if seen["status"] == OPEN:\n'
                '        wanted = {**seen, "sum": request.sum, "attempt": seen["attempt"] + 1}\n'
                '        await emit.emit(payment_requested({**wanted, "ordered_at": mine.generation_time}))',
            ),
        ),
    ),
    Mutant(
        "a request for payment is dated when it is emitted",
        "shop.orders.payment_requested",
        (("epoch=None", f"epoch=None, ordered_at={_NOW}"),),
    ),
    Mutant(
        "an order that meets another sum is accepted",
        "shop.orders._order_again",
        (("if (term := other_term(agreed, stored)) is not None:", "if term := None:"),),
    ),
    Mutant(
        "a decline is kept under the attempt after it",
        "shop.orders._with_the_latest_decline",
        (("    return", '    latest["attempt"] = {"$add": ["$attempt", Int64(1)]}\n    return'),),
    ),
    Mutant(
        "the outcome of an earlier attempt is the basket's",
        "shop.orders._known_of",
        (("elif attempt == current:", "elif True:"),),
    ),
    # --- settlement and resend
    Mutant(
        "settlement does not look at the attempt",
        "shop.orders._settle_it",
        (('{"$eq": ["$attempt", Int64(decided.attempt)]},', ""),),
    ),
    Mutant(
        "settlement does not look at the sum",
        "shop.orders._settle_it",
        (("for term in TERMS", "for term in ()"),),
    ),
    Mutant(
        "a decline settles nothing",
        "shop.orders._settle_it",
        (('{"$eq": ["$status", ORDERED]},', '{"$eq": ["$status", ORDERED]},\n        {"$ne": [status, OPEN]},'),),
    ),
    Mutant(
        "resend does not look at the status",
        "shop.orders.claim_due",
        (('{"status": ORDERED, "$expr"', '{"$expr"'),),
    ),
    Mutant(
        "resend finds nothing",
        "shop.orders.claim_due",
        (('{"$lte": ["$resend_at", NOW]}', "False"),),
    ),
    # --- primaries that were replaced
    Mutant(
        "a refusal is not confirmed to rest on the latest state",
        "shop.store.change.update",
        (("if await is_latest(of, key, stored):", "if True:"),),
    ),
    # --- restores
    *(
        Mutant(
            f"{function} does not look at the epoch of an event",
            "shop.edge.events._check_epoch",
            (("if event.epoch < epoch.number:", f'if event.epoch < epoch.number and not {_IN_HAND}("{function}"):'),),
        )
        for function in ("billing_handler", "order_handler", "notify_handler")
    ),
    Mutant(
        "an event does not say its epoch",
        "shop.emission.emit._data",
        (("if epoch := context.epoch.get():", "if epoch := 0:"),),
    ),
    # --- notifications
    Mutant(
        "a notification is written over",
        "shop.notifications._record_it",
        (('{"$eq": [{"$type": "$recorded_at"}, "missing"]}', "True"),),
    ),
    Mutant(
        "a notification is inserted, and a duplicate ignored",
        "shop.notifications._recorded",
        (
            (
                'return await change.upsert(_notifications(), {"_id": key, "user": content["user"]}, '
                "_record_it(key, content))",
                'made = {"_id": key, **content, "recorded_at": content["decided_at"]}\n'
                "        await _notifications().insert_one(made)\n"
                "        return made",
            ),
            ('return await client.latest(_notifications()).find_one({"_id": key})', "return content"),
        ),
    ),
)

"""What must be true of every run once faults have stopped and all has settled: the promises of the shop."""

from collections import Counter, defaultdict
from collections.abc import Mapping

from bson import ObjectId

from proof.simulation.observer import Attempt, Backup, Holdings, Sent, Witness, holds
from shop.messages import event_id, to_datetime
from shop.schema.events_pb2 import PAID
from shop.store.client import Document


def check(witness: Witness, holdings: Holdings) -> None:
    """Check all promises. Raises Anomaly."""
    charges: dict[str, Document] = {}
    for user in witness.users:
        account = holdings.accounts.get(user, {})
        paid = _charges(account, holdings.of("paid_archive", user))
        deposits = _deposits(account, holdings.of("deposit_archive", user))
        _check_balance(account, paid, deposits)
        _check_deposits_counted([sent for sent in witness.calls if sent.call.user == user], deposits)
        _check_baskets(holdings.of("baskets", user), paid)
        charges |= {str(charge["basket"]): {**charge, "user": user} for charge in paid}
    baskets = {str(basket["_id"]): basket for basket in holdings.baskets}
    _check_decisions(witness, charges, baskets)
    _check_notifications(witness, holdings.notifications)
    _check_answers(witness, baskets, holdings.accounts)
    _check_outcomes(witness, baskets)


def check_apart(witness: Witness, holdings: Holdings, before: Backup, restored: Backup) -> None:
    """Check what holds even when a database was restored alone, which nothing can make right. Raises Anomaly.

    `before` is what there was right before the latest restore, `restored` right after it.
    """
    for user in witness.users:
        account, baskets = holdings.accounts.get(user, {}), holdings.of("baskets", user)
        array: list[Document] = account.get("paid_baskets", [])
        holds(len({charge["basket"] for charge in array}) == len(array), "a basket is charged at most once", array)
        archived, made = account.get("archived", {}), account.get("deposits", [])
        deposited = archived.get("deposited", 0) + sum(deposit["sum"] for deposit in made)
        paid = archived.get("paid", 0) + sum(charge["sum"] for charge in array)
        holds(account.get("balance", 0) == deposited - paid, "balance = deposits - paid", account)
        holds(account.get("balance", 0) >= 0, "a balance is never negative", account)
        known = {basket["_id"]: basket for basket in baskets}
        for charge in array:
            if charge.get("epoch", 0) == witness.epoch:  # charged since the restore
                basket = known.get(charge["basket"])
                right = basket is not None and basket["status"] != "open" and basket["attempt"] == charge["attempt"]
                holds(right, "nothing is charged that orders has as declined or open", charge, basket)
        unpaid = [basket for basket in baskets if basket["status"] != "paid"]
        holds(len(unpaid) <= 1, "a user has one unpaid basket", baskets)
        for basket in unpaid:
            if basket["status"] == "ordered":
                seen = (str(basket["_id"]), basket["attempt"]) in witness.refused
                holds(seen, "nobody is locked out in silence", basket)
        for name, key, entries in (("deposits", "key", made), ("paid_baskets", "basket", array)):
            lost = _keys(before, name, user, key) - _keys(restored, name, user, key)
            in_account = next((each for each in restored["users"] if each["_id"] == user), {})
            if in_account == next((each for each in before["users"] if each["_id"] == user), {}):
                lost -= {entry[key] for entry in in_account.get(name, [])}
                again = lost & {entry[key] for entry in entries}
                holds(not again, "nothing is done again that an archive has lost", again, account)


def _keys(backup: Backup, name: str, user: str, key: str) -> set[object]:
    return {entry[key] for entry in backup[name] if entry["user"] == user}


def check_bounded(holdings: Holdings, most_paid: int, most_deposits: int) -> None:
    """Check that arrays this long are archived, when nothing failed that archives them. Raises Anomaly."""
    for account in holdings.accounts.values():
        archived = account.get("archived", {})
        paid = len(account.get("paid_baskets", [])) < most_paid or "paid" in archived
        deposits = len(account.get("deposits", [])) < most_deposits or "deposits" in archived
        holds(paid and deposits, "what outgrows an array is archived", account)


def check_unchanged(before: Holdings, after: Holdings) -> None:
    """Check that events delivered again changed nothing. Raises Anomaly.

    They may heal: a notification that was lost is recorded, and what is overdue is archived.
    """
    holds(before.baskets == after.baskets, "a replay changes no basket", before.baskets, after.baskets)
    same = all(notification in after.notifications for notification in before.notifications)
    holds(same, "a replay sends no notification again", before.notifications, after.notifications)
    for user, account in before.accounts.items():
        same = all(account.get(name) == after.accounts[user].get(name) for name in ("balance", "declined"))
        holds(same, "a replay changes no balance and no decline", account, after.accounts[user])


def _charges(account: Document, archive: list[Document]) -> list[Document]:
    """Return each charge once, from the array and the archive, whose overlap a crash may leave."""
    array: list[Document] = account.get("paid_baskets", [])
    ids = Counter(charge["basket"] for charge in array)
    holds(all(count == 1 for count in ids.values()), "a basket is charged at most once", array)
    moved = [charge for charge in archive if charge["basket"] not in ids]
    _check_archive(account, archive, moved, "paid_baskets", "paid")
    highest = max((charge["number"] for charge in moved), default=0)
    holds(account.get("archived_through", 0) >= highest, "archived_through is the highest archived", account, archive)
    return array + moved


def _deposits(account: Document, archive: list[Document]) -> list[Document]:
    """Return each deposit once, from the array and the archive, whose overlap a crash may leave."""
    array: list[Document] = account.get("deposits", [])
    keys = Counter(deposit["key"] for deposit in array)
    holds(all(count == 1 for count in keys.values()), "a deposit is made at most once", array)
    moved = [deposit for deposit in archive if deposit["key"] not in keys]
    _check_archive(account, archive, moved, "deposits", "deposited")
    return array + moved


def _check_archive(account: Document, archive: list[Document], moved: list[Document], count: str, sum_: str) -> None:
    archived = account.get("archived", {})
    said, total = archived.get(count, 0), sum(entry["sum"] for entry in moved)
    holds(said == len(moved), "an account counts what it moved to the archive", count, account, archive)
    holds(archived.get(sum_, 0) == total, "an account adds up what it moved to the archive", sum_, account, archive)
    positions = sorted(entry["position"] for entry in moved)
    holds(positions == list(range(1, said + 1)), "the archive is numbered by its moves", account, archive)


def _check_balance(account: Document, paid: list[Document], deposits: list[Document]) -> None:
    expected = sum(deposit["sum"] for deposit in deposits) - sum(charge["sum"] for charge in paid)
    balance = account.get("balance", 0)
    holds(balance == expected, "balance = deposits - paid", balance, expected, account)
    holds(balance >= 0, "a balance is never negative", account)


def _check_deposits_counted(calls: list[Sent], deposits: list[Document]) -> None:
    made = Counter((str(deposit["key"]), deposit["sum"]) for deposit in deposits if isinstance(deposit["key"], str))
    keyless = Counter(deposit["sum"] for deposit in deposits if isinstance(deposit["key"], ObjectId))
    sent, acknowledged = Counter[int](), Counter[int]()
    sums_by_key = defaultdict[str, list[int]](list)
    for one in calls:
        if one.call.function != "deposit_cash":
            continue
        sum_, key = one.call.fields["sum"], one.call.key
        if key is None:
            sent[sum_] += 1
            acknowledged[sum_] += one.status == 200
            continue
        sums_by_key[key].append(sum_)
        if one.status == 200:
            holds((key, sum_) in made, "an acknowledged deposit is counted", one)
    for one in calls:
        if one.call.function == "deposit_cash" and one.status == 422:
            other_sum = one.call.key is not None and len(set(sums_by_key[one.call.key])) > 1
            holds(other_sum, "a deposit is refused only for the key of another sum", one)
    for key, sum_ in made:
        holds(sum_ in sums_by_key[key], "a deposit was sent", key, sum_)
    for sum_ in sent | keyless:
        counted = acknowledged[sum_] <= keyless[sum_] <= sent[sum_]
        holds(counted, "keyless deposits: acknowledged <= counted <= sent", acknowledged, keyless, sent)


def _check_baskets(baskets: list[Document], paid: list[Document]) -> None:
    numbers = [basket["number"] for basket in baskets]
    holds(numbers == list(range(1, len(baskets) + 1)), "baskets are numbered 1, 2, 3", baskets)
    for basket in baskets[:-1]:
        holds(basket["status"] == "paid", "a new basket exists only after the one before is paid", baskets)
    for basket in baskets:
        holds(basket["status"] != "ordered", "every ordered basket is settled", basket)
        charge = next((charge for charge in paid if charge["basket"] == basket["_id"]), None)
        holds((basket["status"] == "paid") == (charge is not None), "paid means charged", basket, charge)
        if charge is not None:
            same = all(charge[name] == basket[name] for name in ("number", "attempt", "sum"))
            same &= charge["paid_at"] == basket["decided_at"]
            holds(same, "a basket is paid by its own charge", basket, charge)
    ids = {basket["_id"] for basket in baskets}
    holds(all(charge["basket"] in ids for charge in paid), "a charge is of the user's own basket", paid, baskets)


def _check_decisions(witness: Witness, charges: Mapping[str, Document], baskets: Mapping[str, Document]) -> None:
    for (basket, attempt), decided in witness.decided.items():
        requested = witness.requested.get((basket, attempt))
        holds(requested is not None, "what is decided was requested", decided)
        same = all(getattr(decided, name) == getattr(requested, name) for name in ("user", "number", "sum"))
        holds(same, "a decision is about what was requested", decided, requested)
        charge = charges.get(basket)
        if decided.outcome == PAID:
            right = charge is not None and (charge["attempt"], charge["sum"]) == (attempt, decided.sum)
            holds(right, "PAID means charged, at this attempt, this sum", decided, charge)
        else:
            holds(charge is None or charge["attempt"] > attempt, "DECLINED means not charged", decided, charge)
    for basket, stored in baskets.items():
        for attempt in range(1, stored["attempt"] + 1):
            decision = witness.decided.get((basket, attempt))
            last = attempt == stored["attempt"]
            holds(decision is not None, "an attempt ends with a decision", stored, attempt)
            assert decision is not None
            right = (decision.outcome == PAID) == (last and stored["status"] == "paid")
            holds(right, "an attempt follows a decline, and none a payment", stored, decision)
            if last:
                same = (decision.sum, decision.reason) == (stored["sum"], stored.get("reason", ""))
                holds(same, "a basket tells the sum and the reason of its decision", stored, decision)
        holds((basket, stored["attempt"] + 1) not in witness.requested, "what is requested was ordered", stored)


def _check_notifications(witness: Witness, notifications: list[Document]) -> None:
    recorded = {notification["_id"]: notification for notification in notifications}
    decisions = {event_id(decided): decided for decided in witness.decided.values()}
    for decided in witness.notified.values():
        holds(event_id(decided) in recorded, "a decision that was delivered is notified", decided)
    for key, notification in recorded.items():
        holds(key in decisions, "what is notified was decided", notification)
        decided = decisions[key]
        same = (
            notification["user"] == decided.user
            and notification["sum"] == decided.sum
            and notification["outcome"] == ("paid" if decided.outcome == PAID else "declined")
            and notification["reason"] == decided.reason
            and notification["decided_at"] == to_datetime(decided.decided_at)
        )
        holds(same, "a notification says what was decided", notification, decided)


def _check_answers(witness: Witness, baskets: Mapping[str, Document], accounts: Mapping[str, Document]) -> None:
    for sent in witness.granted("create_user"):
        holds("balance" in accounts.get(sent.call.user, {}), "a user that was created exists", sent)
    for sent in witness.calls:
        if sent.status == 404 and sent.call.function in ("deposit_cash", "get_user"):
            holds(not sent.had_account, "a user that was created is found", sent)
        if sent.call.function in ("create_order", "get_order"):
            basket = baskets.get(sent.call.fields["basket"])  # None: made in a time that a restore has undone
            own = basket is not None and basket["user"] == sent.call.user
            possible = (200, 422, 503, None) if own else (404, 503, None)
            holds(sent.status in possible, "a basket is its user's own", sent)
    for sent in witness.granted("get_basket"):
        holds(sent.body["order_status"] != "paid", "a basket that is given is unpaid", sent)
    accepted = Counter[Attempt]()
    for sent in witness.granted("create_order"):
        basket, attempt = sent.body["basket"], sent.body["attempt"]
        decision = witness.decided.get((basket, attempt))
        holds(decision is not None, "an accepted order is decided", sent)
        assert decision is not None
        wanted = sent.call.fields.get("attempt", attempt)
        holds(wanted == attempt, "an answer is about the attempt that was sent", sent)
        says, paid = sent.body["message"], decision.outcome == PAID
        if not sent.replayed:
            accepted[basket, attempt] += 1
            holds(says == "order accepted", "an order that was not made before is accepted", sent)
            holds(accepted[basket, attempt] == 1, "an attempt is ordered once", sent)
        if says != "order accepted":
            holds(says.startswith("paid" if paid else "declined"), "the client is told the truth", sent, decision)
        if not sent.replayed or "attempt" not in sent.call.fields:
            holds(decision.sum == sent.call.fields["sum"], "an order is charged the sum it was accepted for", sent)


_CODES = {"": None, "insufficient funds": "insufficient_funds", "unknown user": "no_account"}
"""The `decline_code` of each reason: said again here, to find what the functions say wrongly."""

_KEPT = 16
"""How many declines before the latest attempt a basket keeps."""


def _check_outcomes(witness: Witness, baskets: Mapping[str, Document]) -> None:
    for basket, stored in baskets.items():
        kept = [(each["attempt"], each["sum"], each.get("reason")) for each in stored.get("declines", [])]
        earlier = [witness.decided[basket, attempt] for attempt in range(1, stored["attempt"])][-_KEPT:]
        declined = [(each.attempt, each.sum, each.reason) for each in earlier]
        holds(kept == declined, "a basket keeps its earlier declines as they were decided", stored, declined)
    for sent in [*witness.granted("create_order"), *witness.granted("get_order")]:
        outcome, attempt = sent.body["outcome"], sent.body["attempt"]
        holds(outcome != "none" or sent.call.function == "get_order", "an order that is accepted has an outcome", sent)
        if outcome in ("paid", "declined"):
            decision = witness.decided.get((sent.body["basket"], attempt))
            final = decision is not None and outcome == ("paid" if decision.outcome == PAID else "declined")
            holds(final, "an attempt's outcome, once told final, never changes", sent, decision)
            assert decision is not None
            forgotten = baskets[sent.body["basket"]]["attempt"] > attempt + _KEPT
            code = sent.body["decline_code"]
            right = code == _CODES[decision.reason] or (forgotten and code is None)
            holds(right, "a client is told why an attempt was declined", sent, decision)

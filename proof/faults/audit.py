"""Hold the three databases against each other, and against what customers were told. No anomaly is acceptable.

Written apart from the code on purpose, and from `operate.audit`: it reads what is stored under the names written here,
so a mistake in the list of terms, in the statuses or in the types of shop.state shows as an anomaly.
"""

from collections.abc import Iterator

from proof.faults.load import Ledger
from proof.faults.system import Document, System


async def anomalies(system: System, ledgers: list[Ledger]) -> list[str]:
    """Return what is wrong with these customers' money, baskets and notifications, once all is settled."""
    found = []
    for ledger in ledgers:
        state = await _State.read(system, ledger.user)
        found += [f"{ledger.user}: {anomaly}" for anomaly in (*_of(state), *_against(state, ledger))]
    return found


class _State:
    """All that the three databases hold of one user; archives after the user document, twins dropped."""

    def __init__(self, account: Document, paid: list[Document], deposits: list[Document]) -> None:
        self.account = account
        inline_paid, inline_deposits = account.get("paid_baskets", []), account.get("deposits", [])
        # An archiving that was cut short has left entries in both places.
        self.archived_paid = _without(paid, inline_paid, "basket")
        self.archived_deposits = _without(deposits, inline_deposits, "key")
        self.paid = [*self.archived_paid, *inline_paid]
        self.deposits = [*self.archived_deposits, *inline_deposits]
        self.charges = {(entry["basket"], entry["attempt"]): entry["sum"] for entry in self.paid}
        self.baskets: list[Document] = []
        self.notifications: list[Document] = []

    @classmethod
    async def read(cls, system: System, user: str) -> "_State":
        account = await system.collection("billing.users").find_one({"_id": user}) or {}
        paid = await system.collection("billing.paid_baskets").find({"user": user}).to_list()
        deposits = await system.collection("billing.deposits").find({"user": user}).to_list()
        state = cls(account, paid, deposits)
        state.baskets = await system.collection("orders.baskets").find({"user": user}, sort=[("number", 1)]).to_list()
        state.notifications = await system.collection("notify.notifications").find({"user": user}).to_list()
        return state


def _without(archived: list[Document], inline: list[Document], key: str) -> list[Document]:
    known = {entry[key] for entry in inline}
    return [entry for entry in archived if entry[key] not in known]


def _of(state: _State) -> Iterator[str]:
    """Yield where the databases contradict themselves or each other."""
    balance, archived = state.account.get("balance", 0), state.account.get("archived", {})
    if len(state.charges) != len({basket for basket, _ in state.charges}) or len(state.charges) != len(state.paid):
        yield "a basket was charged twice"
    if balance != sum(entry["sum"] for entry in state.deposits) - sum(state.charges.values()):
        yield f"the balance, {balance}, is not deposits - paid"
    if len({entry["key"] for entry in state.deposits}) != len(state.deposits):
        yield "a deposit was counted twice"
    if archived.get("paid", 0) != sum(entry["sum"] for entry in state.archived_paid):
        yield "the archive of paid baskets is not what the account says"
    if archived.get("deposited", 0) != sum(entry["sum"] for entry in state.archived_deposits):
        yield "the archive of deposits is not what the account says"
    if [basket["number"] for basket in state.baskets] != list(range(1, len(state.baskets) + 1)):
        yield "the baskets' numbers have a gap"

    charged_baskets = set()
    decided = {}
    for basket in state.baskets:
        for attempt in range(1, basket["attempt"] + 1):
            decided[basket["_id"], attempt] = "declined"
        if basket["status"] == "ordered":
            yield f"basket {basket['_id']} was never settled"
        if basket["status"] == "paid":
            decided[basket["_id"], basket["attempt"]] = "paid"
            charged_baskets.add(basket["_id"])
            if state.charges.get((basket["_id"], basket["attempt"])) != basket["sum"]:
                yield f"basket {basket['_id']} is paid without its charge"
    if stray := {basket for basket, _ in state.charges} - charged_baskets:
        yield f"charged, but not paid: {stray}"
    notified = {(one["basket"], one["attempt"]): one["outcome"] for one in state.notifications}
    for key in decided.keys() | notified.keys():
        if decided.get(key) != notified.get(key):
            yield f"{key} is {decided.get(key)}, but the notification says {notified.get(key)}"


def _against(state: _State, ledger: Ledger) -> Iterator[str]:
    """Yield where customers were told something else."""
    yield from ledger.surprises
    counted = {entry["key"]: entry["sum"] for entry in state.deposits}
    for deposit in ledger.confirmed:
        asked, found = ledger.deposits[deposit], counted.get(deposit)
        if found != asked:
            yield f"deposit {deposit} of {asked} was confirmed, and counted as {found}"
    if unknown := counted.keys() - ledger.deposits.keys():
        yield f"deposits that nobody made: {unknown}"
    notified = {(str(one["basket"]), one["attempt"]): one for one in state.notifications}
    for key, told in ledger.orders.items():
        decision = notified.get(key)
        if decision is None:
            yield f"{key} was accepted and never decided"
        elif decision["sum"] != told.sum or told.status not in ("accepted", decision["outcome"]):
            yield f"{key} for {told.sum} was told {told.status}, and is {decision['outcome']} for {decision['sum']}"

"""notify_handler records one notification per decision."""

from tests.functions.conftest import Client, everything


async def test_each_decision_is_recorded_once_however_often_it_comes(client: Client) -> None:
    """A decline and then a payment of one basket are two decisions."""
    await client.user()
    declined = (await client.ordered(10))["PaymentDecided"]
    await client.bring("order_handler", declined)
    await client.post("/DepositCash", {"user": "Pavel", "sum": 100})
    paid = (await client.ordered(10))["PaymentDecided"]
    for event in (paid, declined, paid, declined):
        assert (await client.bring("notify_handler", event)).status == 200
    told = (await client.get("/List", {"user": "Pavel"})).json["notifications"]
    assert sorted((each["attempt"], each["outcome"]) for each in told) == [(1, "declined"), (2, "paid")]


async def test_a_decision_changes_nothing_but_its_notification(client: Client) -> None:
    """Orders and billing are others' to settle; nothing is emitted."""
    await client.user(balance=100)
    decided = (await client.ordered(10))["PaymentDecided"]
    before = await everything()
    assert (await client.bring("notify_handler", decided)).status == 200
    assert sum(len(documents) for documents in await everything()) == sum(map(len, before)) + 1
    assert client.sink.received == []

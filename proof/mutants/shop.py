"""Mutants of shop/ and functions/: time-outs, concerns, indexes, validators, and what an answer rests on."""

from functools import partial

from proof.mutants.mutant import mutant_in

_TIMEOUTS = "tests/docs/test_figures.py::test_timeouts_are_the_codes"
_VALUES = "tests/knative/test_values.py"
_RESEND = "tests/functions/test_resend_orders.py"
_SETUP = "tests/shop/setup/test_making.py"
_RULES = "tests/shop/setup/test_making.py::test_each_rule_of_the_validators_holds"
_REQUIRED = "tests/shop/setup/test_making.py::test_a_document_without_a_field_that_it_must_have_is_refused"
_UNIQUE = "tests/shop/setup/test_making.py::test_the_unique_indexes_are_there_and_unique"
_SERVE = "tests/shop/test_serve.py"
_READINESS = "tests/shop/store/test_readiness.py"
_MONGO = "tests/shop/store/test_client.py"
_EMISSION = "tests/shop/emission/test_emit.py"
_SINK = "tests/shop/emission/test_sink.py"
_NOTIFICATIONS = "tests/shop/test_notifications.py"
_BOUNDS = "tests/shop/edge/test_event_bounds.py"
_TERMS = "tests/shop/test_terms.py"
_TIMES = "tests/shop/test_messages.py::test_a_time_is_written_as_the_dispatcher_would"


_in = partial(mutant_in, "shop")

MUTANTS = (
    # --- time-outs that must fit into one another
    _in("emission/sink", "the sink may take longer than the function", "TIMEOUT_S = 2.0", "TIMEOUT_S = 6.0", _VALUES),
    _in("emission/sink", "the sink is given no time", "TIMEOUT_S = 2.0", "TIMEOUT_S = 0.2", _TIMEOUTS),
    _in("store/client", "MongoDB may take as long as the function", "DEADLINE_S = 5.0", "DEADLINE_S = 10.0", _VALUES),
    _in("serve", "a draining server cuts requests off", "DRAIN_S = 22", "DRAIN_S = 12", _VALUES),
    _in("serve", "a server drains until it is killed", "DRAIN_S = 22", "DRAIN_S = 60", _VALUES),
    _in("serve", "a server does not drain", "        timeout_graceful_shutdown=DRAIN_S,\n", "", _SERVE),
    _in("serve", "a proxy meets a closing connection", "KEEP_ALIVE_S = 120", "KEEP_ALIVE_S = 60", _VALUES),
    _in("serve", "the server's own keep-alive holds", "        timeout_keep_alive=KEEP_ALIVE_S,\n", "", _SERVE),
    # --- what every answer rests on
    _in("store/client", "a write is on one member", 'w="majority"', "w=1", _MONGO),
    _in("store/client", "a write is not journaled", "j=True", "j=False", _MONGO),
    _in(
        "store/client",
        "a read may roll back",
        'read_concern=ReadConcern("majority")',
        'read_concern=ReadConcern("local")',
        _MONGO,
    ),
    _in(
        "store/client",
        "a read may be of a secondary",
        "ReadPreference.PRIMARY",
        "ReadPreference.SECONDARY_PREFERRED",
        _MONGO,
    ),
    _in(
        "store/client",
        "an answer may be from before a failover",
        'ReadConcern("linearizable")',
        'ReadConcern("majority")',
        _MONGO,
    ),
    _in(
        "store/change",
        "every state is the latest",
        "return await latest(of).find_one(key) == seen",
        "return True",
        _MONGO,
    ),
    _in("store/change", "a refusal is never confirmed", "if await is_latest(of, key, stored):", "if True:", _MONGO),
    _in(
        "store/client",
        "calls are not bounded",
        "with pymongo.timeout(limit):",
        "with pymongo.timeout(None):",
        _MONGO,
    ),
    # --- emission
    _in(
        "emission/sink", "any answer of the sink will do", "if not 200 <= status < 300:", "if status >= 500:", _EMISSION
    ),
    _in("emission/sink", "a redirect will do", "if not 200 <= status < 300:", "if not 200 <= status < 400:", _EMISSION),
    _in(
        "emission/sink",
        "a closed connection loses the event",
        "except ClosedError:",
        "except ZeroDivisionError:",
        _EMISSION,
    ),
    _in(
        "emission/sink",
        "the second try may meet another closed connection",
        "status = await sink.post(headers, data, fresh=True)",
        "status = await sink.post(headers, data)",
        _SINK,
    ),
    _in(
        "emission/sink",
        "whatever breaks is tried again",
        "if self._again and not self._came else",
        "if True else",
        _SINK,
    ),
    _in("emission/sink", "an interim answer is the answer", "and (status >= 200 or status == 101)", "", _SINK),
    _in("emission/sink", "a head may be endless", "if self._came > MAX_HEAD:", "if False:", _SINK),
    _in(
        "emission/sink",
        "who waits is given the answer to another",
        "return self._whole and not self._transport.is_closing()",
        "return not self._transport.is_closing()",
        _SINK,
    ),
    _in("emission/sink", "connections are kept without a bound", "len(self._kept) < MAX_KEPT", "True", _SINK),
    _in("emission/sink", "a connection is kept for good", " and time.monotonic() - since <= KEPT_S", "", _SINK),
    _in("emission/emit", "a partition key is not ASCII", 'quote(event.user, safe="")', "event.user", _EMISSION),
    # --- indexes and validators
    _in(
        "state",
        "two baskets of one number",
        'Index("user_number", {"user": 1, "number": 1}, unique=True)',
        'Index("user_number", {"user": 1, "number": 1})',
        _UNIQUE,
    ),
    _in(
        "state",
        "an archived entry twice",
        'Index(f"user_{key}", {"user": 1, key: 1}, unique=True)',
        'Index(f"user_{key}", {"user": 1, key: 1})',
        _UNIQUE,
    ),
    _in("state", "resend looks at all baskets", ', only={"status": ORDERED})', ")", _RESEND),
    _in(
        "state",
        "a balance may be negative",
        "balance: NotRequired[Annotated[Int64, AtLeast(0)]]",
        "balance: NotRequired[Int64]",
        _RULES,
    ),
    _in(
        "state",
        "a sum may be zero",
        "Count = Annotated[Int64, AtLeast(1)]",
        "Count = Annotated[Int64, AtLeast(0)]",
        _RULES,
    ),
    _in(
        "state",
        "a sum may be a double",
        'Int64: "long"',
        'Int64: "number"',
        _RULES,
    ),
    _in(
        "state",
        "a status may be any word",
        "    status: Status\n",
        "    status: str\n",
        _RULES,
    ),
    _in(
        "state",
        "an outcome may be any word",
        "    outcome: Outcome\n",
        "    outcome: str\n",
        _RULES,
    ),
    _in(
        "state",
        "a basket needs no number",
        "    user: str\n    number: Count\n",
        "    user: str\n    number: NotRequired[Count]\n",
        _REQUIRED,
    ),
    _in(
        "state",
        "an archived entry needs no user",
        "class Owned(TypedDict):",
        "class Owned(TypedDict, total=False):",
        _REQUIRED,
    ),
    _in(
        "state",
        "an account keeps deposits of any form",
        "deposits: NotRequired[list[Deposit]]",
        "deposits: NotRequired[list[Archived]]",
        _RULES,
    ),
    # --- readiness
    _in("store/readiness", "an index that is being built counts", ' if "buildUUID" not in index]', "]", _READINESS),
    _in(
        "store/readiness",
        "an index that is not unique counts",
        'bool(index.get("unique")), index',
        "True, index",
        _READINESS,
    ),
    _in(
        "store/readiness",
        "missing indexes are not looked for",
        "            if missing := await _missing(service):\n",
        "            if missing := None:\n",
        _READINESS,
    ),
    _in(
        "store/readiness",
        "a left-over process learns the new epoch",
        "    if service not in epochs:",
        "    if True:",
        _READINESS,
    ),
    _in(
        "store/readiness",
        "an epoch from before a failover",
        "meta = client.latest(client.collection(service, state.META))",
        "meta = client.collection(service, state.META)",
        _READINESS,
    ),
    # --- notifications
    _in(
        "notifications",
        "other content is notified silently",
        "if stored.get(field) != content.get(field))",
        "if False)",
        _NOTIFICATIONS,
    ),
    _in(
        "notifications",
        "a notification is refused unconfirmed",
        "        if await change.is_latest(",
        "        if True or await change.is_latest(",
        _NOTIFICATIONS,
    ),
    _in(
        "notifications",
        "one user's list is everybody's",
        '{} if user is None else {"user": user}',
        "{}",
        _NOTIFICATIONS,
    ),
    _in("notifications", "a page has no next", "limit=limit + 1", "limit=limit", _NOTIFICATIONS),
    _in(
        "notifications",
        "a page skips those of one moment",
        '{"recorded_at": recorded_at, "_id": {"$lt": key}}',
        '{"recorded_at": recorded_at, "_id": {"$lt": ""}}',
        _NOTIFICATIONS,
    ),
    # --- messages
    _in(
        "messages",
        "a sum may be a thousand times as much",
        "yield field.name, (said.low, said.high)",
        "yield field.name, (said.low, said.high * 1000)",
        "tests/functions/test_http_contract.py",
    ),
    _in(
        "messages",
        "two orders are always the same",
        "(name for name in TERMS if one.get(name) != other.get(name))",
        "(name for name in ())",
        _TERMS,
    ),
    _in(
        "orders",
        "what another call made is answered as this one's",
        "    return None\n\n\ndef next_attempt",
        "    return seen.document\n\n\ndef next_attempt",
        "tests/shop/test_orders.py",
    ),
    _in(
        "orders",
        "an unpaid basket is answered as it was",
        'latest = await shared.look_at_last(_baskets(), "user", user, by="number")\n',
        'latest = latest or await shared.look_at_last(_baskets(), "user", user, by="number")\n',
        "tests/shop/test_orders.py",
    ),
    _in("orders", "a new basket costs a read as of now", ", durable=True", "", "tests/shop/test_orders.py"),
    _in("orders", "a term is not stored", "literal(agreed[term]) if term in agreed else REMOVE", "REMOVE", _TERMS),
    _in(
        "messages",
        "a field that nobody says is left out",
        "if field.is_optional else document[name]",
        "if True else document[name]",
        "tests/shop/test_messages.py::test_only_an_optional_field_may_be_said_by_nobody",
    ),
    _in(
        "messages",
        "a number that JSON cannot carry",
        'MAX_BALANCE: Final = RANGES["balance"][1]',
        "MAX_BALANCE: Final = 2**63 - 1",
        "tests/functions/test_http_contract.py",
    ),
    _in(
        "messages",
        "true is a sum",
        "elif type(value) is not int:",
        "elif not isinstance(value, int):",
        "tests/functions/test_every_function.py::test_a_number_of_another_json_type_is_400",
    ),
    _in(
        "messages",
        "an event's basket may be in capitals",
        "if event.basket != event.basket.lower():",
        "if False:",
        _BOUNDS,
    ),
    _in("messages", "an edited time passes", "if _timestamp(event).nanos % 1_000_000:", "if False:", _BOUNDS),
    _in("messages", "a time has zeros at its end", 'text.rstrip("0").rstrip(".")', "text", _TIMES),
)

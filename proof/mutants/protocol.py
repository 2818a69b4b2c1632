"""Mutants of the decisions and the edges: looks in archives, refusals, settings, epochs, the resend loop."""

from proof.mutants.mutant import Mutant

_LOOKS = "tests/shop/test_looks.py"
_BILLING = "tests/shop/test_billing.py"
_ARCHIVE = "tests/shop/test_archive.py"
_ORDERS = "tests/shop/test_orders.py"
_SHARED = "tests/shop/store/test_shared.py"
_EVENTS = "tests/shop/edge/test_events.py"
_EDGE = "tests/shop/edge/test_handling.py"
_SETTINGS = "tests/shop/process/test_settings.py"
_VALUES = "tests/knative/test_values.py"
_RESEND = "tests/functions/test_resend_orders.py"
_CREATE_ORDER = "tests/functions/test_create_order.py"
_EVERY = "tests/functions/test_every_function.py"
_UNKNOWN = "tests/functions/test_unknown_outcomes.py"


def _in(file: str, bug: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(bug, f"{file}.py", old, new, tests)


MUTANTS = (
    # --- looks in an archive
    _in(
        "shop/archive",
        "a look finds another user's entry",
        '{"user": account["_id"], "$or": wanted}',
        '{"$or": wanted}',
        _LOOKS,
    ),
    _in("shop/archive", "a look has no session", '"$or": wanted}, session=session)', '"$or": wanted})', _LOOKS),
    _in(
        "shop/store/client", "a session promises nothing", "causal_consistency=True", "causal_consistency=False", _LOOKS
    ),
    _in(
        "shop/archive",
        "a part of the archive is all of it",
        "if moved != Moved() and not found:",
        "if False:",
        "tests/shop/test_archive.py::test_05_an_old_key_is_not_credited_again_when_the_archive_is_too_old[4/2]",
    ),
    _in(
        "shop/archive",
        "an entry ahead of its account counts",
        'if entry.get("through", 0) > moved.sum:',
        "if False:",
        "tests/shop/test_archive.py::test_an_archive_that_is_ahead_of_its_account_is_no_proof_either[4/2]",
    ),
    _in(
        "shop/archive",
        "a move goes over what the archive lacks",
        "        await self._check(account, held)\n        return held\n",
        "        return moved\n",
        "tests/shop/test_archive.py::test_05_no_move_hides_what_the_archive_lacks[4/2]",
    ),
    _in(
        "shop/archive",
        "a move is made beside entries of another history",
        "if await self._has_strangers(account):",
        "if False:",
        "tests/shop/test_archive.py::test_no_move_is_made_beside_entries_of_another_history[4/2]",
    ),
    _in(
        "shop/archive",
        "a move that began since is another history",
        "            and latest.get(self.array) == account.get(self.array)\n",
        "",
        f"{_ARCHIVE}::test_a_move_of_what_came_later_is_no_stranger[4/2]",
        f"{_ARCHIVE}::test_a_move_of_67d5614_during_the_look_is_no_other_history[4/2-under way]",
    ),
    _in(
        "shop/archive",
        "a failed move fails the answer",
        "except (Exception, asyncio.CancelledError) as error:",
        "except ZeroDivisionError as error:",
        _LOOKS,
    ),
    _in(
        "shop/archive",
        "an array is never bounded",
        "len(account.get(self.array, ()))) < limits.limit:",
        "len(account.get(self.array, ()))) < 10**9:",
        _LOOKS,
    ),
    _in(
        "shop/archive",
        "one entry too many is kept",
        "len(account.get(self.array, ()))) < limits.limit:",
        "len(account.get(self.array, ()))) <= limits.limit:",
        _LOOKS,
    ),
    _in(
        "shop/archive",
        "a move counts for nothing",
        "Int64(count - moved.count)",
        "Int64(0)",
        "tests/shop/test_archive.py::test_04_of_many_moves_of_the_same_entries_one_counts[4/2]",
    ),
    _in(
        "shop/archive",
        "two that move the same count twice",
        '{"_id": user, **as_read}, changes',
        '{"_id": user}, changes',
        "tests/shop/test_billing.py::TestBounded::test_two_that_archive_the_same_entries_count_them_once[4/2]",
    ),
    _in(
        "shop/archive",
        "entries have no position",
        '"user": user, "position": Int64(count), "through": Int64(through)}',
        '"user": user}',
        "tests/shop/test_archive.py::test_04_of_many_moves_of_the_same_entries_one_counts[4/2]",
    ),
    # --- billing
    _in(
        "shop/billing",
        "an unlooked-at archive counts as looked at",
        "is_not_archived = is_above if looked is None else",
        "is_not_archived = True if looked is None else",
        _LOOKS,
    ),
    _in(
        "shop/billing",
        "a move after the look does not matter",
        "else PAID_BASKETS.is_still(looked)",
        "else True",
        _LOOKS,
    ),
    _in(
        "shop/billing",
        "any attempt is its turn",
        "is_its_turn = True if attempt == 1 else is_next",
        "is_its_turn = True",
        "tests/shop/test_archive.py::TestSuccessor::test_06_a_forged_attempt_is_refused_and_not_remembered",
    ),
    _in(
        "shop/billing",
        "an attempt is refused unconfirmed",
        "if await change.is_latest(_users(), key, account):",
        "if True:",
        _LOOKS,
    ),
    _in(
        "shop/billing",
        "what was declined before it was paid and archived is told as declined",
        "if (paid or not may_hold(account)) and",
        "if",
        _LOOKS,
    ),
    _in(
        "shop/orders",
        "a statement that is executed twice orders twice",
        ', {"$ne": ["$request", mine]}]',
        "]",
        _ORDERS,
    ),
    _in(
        "shop/orders",
        "a basket paid meanwhile is given all the same",
        'if latest is not None and latest["status"] != PAID_STATUS:\n            return latest',
        "if latest is not None:\n            return latest",
        _ORDERS,
    ),
    _in(
        "shop/orders",
        "a decline is kept with the reason of the first one",
        '"reason", *times, "traceparent")}\n',
        '"reason", *times, "traceparent")}\n'
        '    latest["reason"] = {"$ifNull": [{"$first": "$declines.reason"}, "$reason"]}  # type: ignore[assignment]\n',
        _ORDERS,
    ),
    # --- what requests share
    _in(
        "shop/store/shared",
        "who shares a batch is told of somebody else's document",
        "if all(each[name] == value for name, value in key.items())), None)",
        "), None)",
        _SHARED,
    ),
    _in("shop/store/shared", "a statement that failed is done", "None if place in failed else Seen(", "Seen(", _SHARED),
    _in(
        "shop/store/shared",
        "a write concern error of a batch is not looked at",
        'if error := reply.get("writeConcernError"):',
        'if error := reply.get("nothing"):',
        _SHARED,
    ),
    _in(
        "shop/store/shared",
        "all of a batch changed something when some did",
        "== len(batch)\n    changed",
        "> 0\n    changed",
        _SHARED,
    ),
    _in("shop/store/shared", "one failure ends a batch's rest", '"ordered": False', '"ordered": True', _SHARED),
    _in("shop/store/shared", "a batch is not repeated", "if is_last:\n", "if True:\n", _SHARED),
    _in("shop/store/shared", "a batch has no bound", "MOST = 100", "MOST = 1000", _SHARED),
    _in(
        "shop/store/shared",
        "a batch has the deadline of the first one in it",
        "create_task(lane.run(process.current()), context=Context())",
        "create_task(lane.run(process.current()))",
        _SHARED,
    ),
    _in(
        "shop/store/shared",
        "who waits for a batch waits for ever",
        "asyncio.timeout(client.is_left())",
        "asyncio.timeout(None)",
        _SHARED,
    ),
    _in(
        "shop/store/client",
        "a command that is shared is not bounded",
        "async with asyncio.timeout(limit):",
        "async with asyncio.timeout(None):",
        _SHARED,
    ),
    _in(
        "shop/store/shared",
        "a command that was given up goes on in MongoDB",
        'command | {"maxTimeMS": client.max_time_ms()}',
        "command",
        _SHARED,
    ),
    _in(
        "shop/billing",
        "no account is refused unconfirmed",
        "if await change.is_latest(_users(), account, None):",
        "if True:",
        _LOOKS,
    ),
    _in(
        "shop/billing",
        "a full balance is refused unconfirmed",
        "if await change.is_latest(_users(), account, before):",
        "if True:",
        _LOOKS,
    ),
    _in(
        "shop/billing",
        "another sum of a key is a replay",
        'if known["sum"] != sum_:',
        "if False:",
        "tests/shop/test_billing.py::TestDeposit::test_a_key_with_another_sum_is_refused[4/2]",
    ),
    _in(
        "shop/billing",
        "another number of a basket passes",
        'if requested.number != decided["number"]:',
        "if False:",
        "tests/shop/test_archive.py::TestSuccessor::test_the_same_basket_under_another_number_is_refused",
    ),
    _in(
        "shop/billing",
        "orders restored alone goes unnoticed",
        'if requested.epoch > decided.get("epoch", 0):',
        "if False:",
        "tests/shop/test_archive.py::TestEpochs::test_10_an_older_attempt_of_a_later_epoch_is_refused",
    ),
    _in(
        "shop/billing",
        "a decision forgets its epoch",
        "if requested.epoch:",
        "if False:",
        "tests/shop/test_archive.py::TestEpochs::test_a_decision_of_a_later_epoch_remembers_it",
    ),
    _in(
        "shop/billing",
        "only MongoDB makes a deposit unknown",
        "except (Exception, asyncio.CancelledError) as error:\n        if key",
        "except ZeroDivisionError as error:\n        if key",
        "tests/functions/test_keyless_deposit.py::test_14_whatever_ends_it_midway_is_unknown",
    ),
    _in(
        "shop/billing",
        "a stub is an account",
        '_ACCOUNT = {"balance": {"$exists": True}}',
        "_ACCOUNT: Mapping[str, Any] = {}",
        _BILLING,
    ),
    # --- orders
    _in(
        "shop/orders",
        "resend comes before billing has answered",
        "RESEND_AFTER_MS = 60_000",
        "RESEND_AFTER_MS = 6_000",
        _VALUES,
    ),
    _in(
        "shop/orders",
        "a basket waits a day for its resend",
        "RESEND_AT_MOST_EVERY_MS = 3_600_000",
        "RESEND_AT_MOST_EVERY_MS = 86_400_000",
        _ORDERS,
    ),
    _in(
        "shop/orders",
        "waits do not grow",
        '{"$min": [{"$max": [age, RESEND_AFTER_MS]}, RESEND_AT_MOST_EVERY_MS]}',
        "RESEND_AFTER_MS",
        _ORDERS,
    ),
    _in(
        "shop/orders",
        "hopeless baskets come first",
        'sort=[("resend_at", 1)], limit',
        'sort=[("resend_at", -1)], limit',
        _RESEND,
    ),
    _in(
        "shop/orders",
        "a claimed basket is claimed again",
        '{"_id": candidate["_id"], "user": candidate["user"], **due}',
        '{"_id": candidate["_id"], "user": candidate["user"]}',
        _ORDERS,
    ),
    _in(
        "shop/orders",
        "a settled basket is made due again",
        '{"$and": [{"$eq": ["$status", ORDERED]}, {"$eq": ["$attempt", Int64(event.attempt)]}]}',
        '{"$eq": [1, 1]}',
        _RESEND,
    ),
    _in(
        "shop/orders",
        "an order shows who has not ordered it",
        '{"_id": ObjectId(basket), "user": user})\n    if stored',
        '{"_id": ObjectId(basket)})\n    if stored',
        "tests/functions/test_get_order.py",
    ),
    _in("shop/orders", "the other outcome settles again", 'if stored["status"] != status:', "if False:", _ORDERS),
    _in(
        "shop/orders",
        "a replay of another basket's attempt emits",
        'event=payment_requested(stored) if about["outcome"] == PENDING_OUTCOME else None',
        'event=payment_requested(stored) if stored["status"] == ORDERED else None',
        _ORDERS,
    ),
    # --- the resend loop
    _in(
        "shop/orders",
        "a failed emission does not end the tick",
        "except (Unavailable, PyMongoError) as error:",
        "except ZeroDivisionError as error:",
        _RESEND,
    ),
    _in(
        "shop/orders",
        "what was not emitted waits",
        "            await due_again(due.event)\n",
        "            pass\n",
        _RESEND,
    ),
    _in(
        "shop/orders",
        "a failure is taken for sent",
        "            await due_again(due.event)\n        raise\n",
        "            await due_again(due.event)\n",
        _RESEND,
    ),
    _in(
        "shop/orders",
        "a tick works without end",
        "while time.monotonic() < until:",
        "while True:",
        _RESEND,
    ),
    _in(
        "shop/orders",
        "a tick emits one event",
        "            resent += 1\n",
        '            return "resent 1"\n',
        _RESEND,
    ),
    _in(
        "functions/resend_orders/main", "without a sink baskets are claimed", ", emits=PaymentRequested)", ")", _RESEND
    ),
    _in(
        "shop/orders",
        "a claim may take the whole tick",
        "            with client.deadline():\n                due = await claim_due()",
        "            with client.deadline(60):\n                due = await claim_due()",
        _RESEND,
    ),
    _in("functions/billing_handler/main", "a charge's label names no event", ", emits=PaymentDecided)", ")", _EVENTS),
    _in("functions/resend_orders/main", "a tick outlasts Serving", "WORK_S = 15.0", "WORK_S = 20.0", _VALUES),
    # --- functions
    _in(
        "shop/orders",
        "a failed emission fails an accepted order",
        "        except Unavailable as error:\n            # Accepted",
        "        except ZeroDivisionError as error:\n            # Accepted",
        _CREATE_ORDER,
    ),
    _in(
        "shop/billing",
        "a decision is not told",
        "    await emit(decision.event, traceparent)\n",
        "",
        _CREATE_ORDER,
    ),
    _in(
        "shop/billing",
        "paid baskets are never moved",
        "    await PAID_BASKETS.bound(decision.account)\n",
        "",
        f"{_BILLING}::TestBounded",
    ),
    _in(
        "shop/billing",
        "deposits are never moved",
        "    await DEPOSITS.bound(deposited.account)\n",
        "",
        f"{_BILLING}::TestDeposit::test_a_key_is_remembered_in_the_archive",
    ),
    # --- edges
    _in("shop/edge/call", "without a sink an order is taken", "        emit.check()\n", "", _CREATE_ORDER),
    _in("shop/edge/handling", "a function works for a minute", "DEADLINE_S = 10.0", "DEADLINE_S = 60.0", _VALUES),
    _in("shop/edge/handling", "a body may take all of Serving's time", "BODY_S = 10.0", "BODY_S = 20.0", _VALUES),
    _in("shop/edge/handling", "a health check outlasts the probe", "HEALTH_S = 0.5", "HEALTH_S = 5.0", _VALUES),
    _in(
        "shop/edge/handling",
        "a health check POSTed does something",
        'if method not in ("GET", "HEAD"):',
        "if False:",
        f"{_EVERY}::test_18_a_health_check_is_a_get_and_whatever_else_is_sent_there_is_refused",
    ),
    _in(
        "shop/edge/handling",
        "a body is read without end",
        "if len(body) > MAX_BODY:",
        "if False:",
        f"{_EVERY}::test_a_body_over_the_limit_is_413_and_one_at_the_limit_is_read",
    ),
    _in(
        "shop/edge/handling",
        "work has no deadline",
        "bound.reschedule(now() + limit(deadline_s))",
        "bound.reschedule(now() + limit(100 * deadline_s))",
        _EDGE,
    ),
    _in(
        "shop/edge/handling",
        "work begins before setup",
        "current = await readiness.ready(label.service)",
        "current = readiness.Epoch(0, None)",
        "tests/shop/store/test_before_setup.py::test_every_function_answers_503_and_does_nothing",
    ),
    _in(
        "shop/edge/events",
        "an event of before a restore is acted on",
        "if event.epoch < epoch.number:",
        "if False:",
        "tests/functions/test_epochs.py",
    ),
    _in(
        "shop/edge/events",
        "an event of after a restore is refused for good",
        "if event.epoch > epoch.number:",
        "if False:",
        "tests/functions/test_epochs.py",
    ),
    _in(
        "shop/archive",
        "a deposit that a newer archive knows is asked for again and again",
        "raise self.unfit(account) from None",
        "pass",
        "tests/shop/test_archive.py::test_a_key_that_only_a_newer_archive_knows_is_neither_credited_nor_replayed",
    ),
    _in(
        "shop/edge/events", "any source is believed", 'if attributes["source"] != SOURCES[kind]:', "if False:", _EVENTS
    ),
    _in("shop/edge/events", "an edited id passes", 'if attributes["id"] != event_id(event):', "if False:", _EVENTS),
    _in("shop/edge/events", "a refusal is retried", "str(reason), 422)", "str(reason), 503)", _EVENTS),
    _in(
        "shop/edge/events",
        "later is never",
        "str(reason), 503)",
        "str(reason), 400)",
        _EVENTS,
    ),
    _in(
        "shop/edge/http",
        "a misspelt field is not seen",
        "        refuse_unknown(kind, sent)\n",
        "",
        f"{_EVERY}::test_19_an_unknown_field_of_a_post_is_400_and_the_nearest_one_is_named",
    ),
    _in(
        "shop/edge/http",
        "a field sent twice is taken once",
        "if len(fields) < len(pairs):",
        "if False:",
        f"{_EVERY}::test_19_a_json_key_sent_twice_is_400",
    ),
    _in(
        "shop/edge/call",
        "a misspelt key is not seen",
        'return name != b"idempotency-key" and bool',
        "return False and bool",
        f"{_EVERY}::test_19_a_header_that_is_meant_for_idempotency_key_is_400",
    ),
    _in(
        "shop/edge/http",
        "an attempt in a query is not seen",
        "        _refuse_query(kind, query, parameters)\n",
        "",
        f"{_EVERY}::test_19_a_field_of_a_post_in_its_query_is_400",
    ),
    _in("shop/edge/http", "an unsafe repeat is asked for", "    if reason.code.retryable:", "    if True:", _UNKNOWN),
    _in(
        "shop/edge/http",
        "a look at whether a basket is there makes it",
        'allows = ("GET", "OPTIONS") if makes else',
        'allows = ("GET", "HEAD", "OPTIONS") if makes else',
        f"{_EVERY}::test_a_head_makes_nothing",
    ),
    _in(
        "shop/edge/origins",
        "any page may read what customers have",
        "        if origin in allowed:",
        "        if origin is not None:",
        "tests/functions/test_origins.py",
    ),
    # --- settings
    _in("shop/process/settings", "an override may replace the source", "if name in _OURS:", "if False:", _SETTINGS),
    _in(
        "shop/process/settings",
        "a batch over its limit",
        "if not reading.wrong and limits.batch > limits.limit:",
        "if False:",
        _SETTINGS,
    ),
    _in(
        "shop/process/settings",
        "one wrong setting hides the next",
        '            self.wrong.append(f"{name} {error}")\n            return default\n',
        '            raise WrongSettings(f"{name} {error}") from error\n',
        _SETTINGS,
    ),
    _in(
        "shop/edge/handling",
        "settings are found out over a message",
        "origins = process.start().settings.cors_origins",
        "origins: tuple[str, ...] = ()",
        f"{_SETTINGS}::test_16_a_process_with_a_wrong_setting_ends_before_it_takes_a_message",
    ),
)

"""Mutants of the `orders` command: what it looks at, reads and sends, what a replay tells, and what exit codes say."""

from proof.mutants.mutant import Mutant

_TOPICS = "tests/operate/test_topics.py"
_DATABASES = "tests/operate/test_databases.py"
_SENDING = "tests/operate/test_deliver.py"
_DELIVERY = "tests/wire/test_delivery.py"
_STATE = "tests/operate/test_difference.py"
_REPLAY = "tests/operate/test_replay.py"
_EPOCHS = "tests/operate/cli/test_epochs.py"
_HALFWAY = "tests/operate/cli/test_halfway.py"
_WRONG = "tests/operate/cli/test_wrong_use.py"


def _in(file: str, bug: str, old: str, new: str, *tests: str) -> Mutant:
    folder = "wire" if file in ("address", "delivery") else "operate"
    return Mutant(bug, f"{folder}/{file}.py", old, new, tests)


MUTANTS = (
    # --- what is read
    _in(
        "databases",
        "the command reads what may roll back",
        'read_concern=ReadConcern("majority")',
        'read_concern=ReadConcern("local")',
        _DATABASES,
    ),
    _in(
        "databases",
        "the command reads a member that is behind",
        "read_preference=ReadPreference.PRIMARY",
        "read_preference=ReadPreference.SECONDARY_PREFERRED",
        _DATABASES,
    ),
    _in("topics", "reading a topic commits", '"enable.auto.commit": False', '"enable.auto.commit": True', _TOPICS),
    _in("topics", "what a transaction took back is read", '"read_committed"', '"read_uncommitted"', _TOPICS),
    _in(
        "topics",
        "the last record of a partition is not read",
        "offset + 1 >= left[place]",
        "offset + 2 >= left[place]",
        _TOPICS,
    ),
    _in("topics", "what comes meanwhile is read", "offset < left[place]", "offset <= left[place]", _TOPICS),
    _in(
        "topics",
        "a silent Kafka is the end",
        "                if first is None:\n                    raise NotReachable(",
        "                if first is None:\n                    return\n                    raise NotReachable(",
        _TOPICS,
    ),
    _in("topics", "a group waits for what retention took", "max(place.offset, low)", "place.offset", _TOPICS),
    _in(
        "topics",
        "nothing young is everything",
        "if found.offset >= 0 else high",
        "if found.offset >= 0 else 0",
        _TOPICS,
    ),
    _in("topics", "a refusal is a Kafka that is away", "reasons = refusals or [", "reasons = [", _TOPICS),
    _in("cli/options", "an age before Kafka's time means the end", "max(0, int(", "int((", _TOPICS),
    # --- what is sent
    _in("delivery", "a conflict is not tried again", "(404, 408, 409, 429)", "(404, 408, 429)", _DELIVERY),
    _in("delivery", "a server's error is not tried again", "status >= 500", "status > 500", _DELIVERY),
    _in("deliver", "a redirection is a success", "self.status < 300", "self.status < 400", _SENDING),
    _in(
        "delivery",
        "what gave no answer is refused",
        "return status is None or",
        "return status is not None and",
        _DELIVERY,
    ),
    _in(
        "delivery",
        "a refusal is tried again",
        "            if not is_retried(response.status):\n                break\n",
        "",
        _DELIVERY,
    ),
    _in("deliver", "an event is tried thrice", "DeliverySpec(retry=3", "DeliverySpec(retry=2", _SENDING),
    _in("deliver", "retries follow at once", "backoff_delay_s=0.1", "backoff_delay_s=0.0", _SENDING),
    _in(
        "deliver",
        "a target that is gone is tried with each",
        "            if answer.status is None:\n                await target.reach()\n",
        "",
        _HALFWAY,
    ),
    _in(
        "epochs",
        "events of before a restore are sent",
        "what.epoch < epoch and not all_epochs",
        "what.epoch < 0 and not all_epochs",
        _EPOCHS,
    ),
    _in(
        "epochs",
        "events of this epoch are left out",
        "what.epoch < epoch and not all_epochs",
        "what.epoch <= epoch and not all_epochs",
        _EPOCHS,
    ),
    _in(
        "epochs",
        "nobody can send what is refused",
        "what.epoch < epoch and not all_epochs",
        "what.epoch < epoch",
        _EPOCHS,
    ),
    _in("epochs", "events of before a restore are not counted", "older += what.epoch < epoch", "older += 0", _EPOCHS),
    _in(
        "epochs",
        "each consumer is in the latest epoch",
        "    return found[KNOWN[consumer].service].number",
        "    return max(epoch.number for epoch in found.values())",
        _EPOCHS,
    ),
    _in("epochs", "a URL is in the oldest epoch", "return max(epoch.number", "return min(epoch.number", _EPOCHS),
    _in("send", "a new event is of an old epoch", "        about.epoch = epoch\n", "        pass\n", _EPOCHS),
    _in(
        "cli/event",
        "sending nothing but what was refused is fine",
        "    if sent.reasons:\n        raise typer.Exit(CHECK_FAILED)\n",
        "",
        _HALFWAY,
    ),
    # --- what a replay says
    _in(
        "difference",
        "a claim of resend is a difference",
        "    if RESEND_FIELD in raw:\n        kept",
        "    if False:\n        kept",
        _STATE,
    ),
    _in("difference", "a basket that is due counts", "if each.at <= now", "if each.at < now", _STATE),
    _in(
        "difference",
        "the user of a basket that is due counts",
        '                ("billing.users", each.user),\n',
        "",
        _STATE,
    ),
    _in(
        "difference",
        "archives are not compared",
        '        yield "billing", "paid_baskets", "user", self.users\n',
        "",
        _STATE,
    ),
    _in(
        "difference",
        "notifications are not compared",
        '        yield "notify", "notifications", "_id", self.requested | self.decided\n',
        "",
        _STATE,
    ),
    _in(
        "difference",
        "what was made is no difference",
        "WHERE a.moment = 'after' AND b.key IS NULL",
        "WHERE a.moment = 'after' AND b.key IS NULL AND 0",
        _STATE,
    ),
    _in(
        "difference",
        "a second charge is a first one",
        'meanings.append(f"charged AGAIN for {what}")',
        'meanings.append(f"charged for {what}")',
        _STATE,
    ),
    _in(
        "difference",
        "a decline is an effect like others",
        'in ("declined", "open", "notified declined")',
        "in ()",
        _STATE,
    ),
    _in("replay", "a replay goes through the file once", "events * (2 if self.twice else 1)", "events * 1", _REPLAY),
    _in(
        "tally",
        "what was given up is rejected",
        "        self.failed += answer.later",
        "        self.rejected += answer.later",
        _REPLAY,
    ),
    _in(
        "replay",
        "an expectation that is not met is fine",
        "            if name in found:\n                yield from",
        "            if name in found and False:\n                yield from",
        _REPLAY,
    ),
    _in(
        "cli/replay",
        "what was delivered before it stopped is not said",
        (
            "                if target.begun:\n"
            "                    _show(replayed, _stopped(replayed), replayed.as_json(stopped=True), json=json)\n"
        ),
        "",
        _HALFWAY,
    ),
    # --- what is looked at, and what the exit code says
    _in(
        "stack",
        "a stack that has ended is looked at",
        "    if not _is_held(folder / _LOCK):",
        "    if not folder.exists():",
        "tests/operate/test_places.py::test_what_a_stopped_stack_has_left_is_not_believed",
    ),
    _in(
        "places",
        "one shop's orders go through another's topics",
        'if told and addresses and hosts(told.at) != hosts(addresses.get(its_own, "")):',
        "if False:",
        "tests/operate/test_places.py::test_a_stack_counts_as_a_whole_or_not_at_all",
    ),
    _in(
        "running",
        "what is looked at is not said",
        '            self.tell(f"looking at {self.places}")\n',
        "            pass\n",
        f"{_WRONG}::test_the_common_options_are_taken_before_and_after_the_verb",
    ),
    _in(
        "address",
        "a password is said",
        'before_options.rpartition("@")[2]',
        "before_options",
        "tests/wire/test_address.py",
    ),
    _in(
        "places",
        "any port is one",
        "0 < int(port[:6]) < 2**16",
        "int(port[:6]) >= 0",
        f"{_WRONG}::test_a_broker_that_cannot_be_one_is_named",
    ),
    _in(
        "cli/verbs",
        "an option after the verb is none of ours",
        "return first + rest",
        "return args",
        f"{_WRONG}::test_the_common_options_are_taken_before_and_after_the_verb",
    ),
    _in(
        "cli/output",
        "wrong use is a check that failed",
        "WRONG_USE: Final = 2",
        "WRONG_USE: Final = 1",
        f"{_WRONG}::test_a_verb_that_was_told_nothing_refuses",
    ),
    _in(
        "cli/failures",
        "the topology of MongoDB is told",
        'return _NOISE.sub("", str(error))',
        "return str(error)",
        f"{_WRONG}::test_what_is_looked_at_is_said_with_what_says_so",
    ),
    _in(
        "record",
        "a recording empties the former one",
        'beside = file.parent / f".{secrets.token_hex(8)}.part"',
        "beside = file.parent / file.name; file.unlink(missing_ok=True)",
        _HALFWAY,
    ),
    _in(
        "urls",
        "a password goes to whoever reads the output",
        '    if "@" in parts.netloc:',
        '    if "@@" in parts.netloc:',
        f"{_WRONG}::test_a_url_that_cannot_be_one_is_named",
    ),
)

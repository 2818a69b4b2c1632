"""Mutants of the `orders` command: what is healed, what counts as a refusal, what differs, and what repair asks for."""

from functools import partial

from proof.mutants.mutant import Mutant, mutant_in

_AUDIT = "tests/operate/test_audit.py"
_LETTERS = "tests/operate/test_letters.py"
_REDRIVE = "tests/operate/cli/test_redrive.py"
_PAYMENTS = "tests/operate/test_payments.py"
_REPAIR = "tests/operate/cli/test_repair.py"
_VERIFY = "tests/operate/cli/test_verify.py"
_DAMAGE = f"{_VERIFY}::test_damage_is_found_and_named"


_in = partial(mutant_in, "operate")

MUTANTS = (
    # --- a login to Kafka
    Mutant(
        "half a login to Kafka counts",
        "wire/login.py",
        "if missing := [name for name in wanted if name not in said]:",
        "if missing := []:",
        ("tests/wire/test_login.py",),
    ),
    Mutant(
        "a command line shows the password for Kafka",
        "local/settings.py",
        "if name == PASSWORD else",
        'if name == "" else',
        ("tests/local/test_settings.py",),
    ),
    Mutant(
        "every function is told the password for Kafka",
        "local/plan.py",
        '"K_SERVICE": service.name,',
        '"K_SERVICE": service.name, **self.settings.kafka_login,',
        ("tests/local/test_plan.py",),
    ),
    _in(
        "places",
        "the environment's login to Kafka comes before the file's",
        "{**_login(environment), **properties}",
        "{**properties, **_login(environment)}",
        "tests/operate/test_places.py",
    ),
    # --- what has healed
    _in(
        "letters",
        "billing's letters heal by any decision of the basket",
        'return bool(requested.number == decision["number"]) and other_term(terms(requested), decision) is None',
        "return True",
        _LETTERS,
    ),
    _in(
        "letters",
        "a number does not matter to billing",
        'bool(requested.number == decision["number"]) and other_term',
        "other_term",
        _LETTERS,
    ),
    _in(
        "letters",
        "what is older than a restored orders heals",
        'return bool(requested.epoch <= decision.get("epoch", 0))',
        "return True",
        _LETTERS,
    ),
    _in(
        "letters",
        "a request heals before its attempt is decided",
        'if decision is None or requested.attempt > decision["attempt"]:',
        "if decision is None:",
        _LETTERS,
    ),
    _in(
        "letters",
        "the archive does not heal",
        'self._decisions[entry["user"], str(entry["basket"])] = entry',
        "pass",
        _LETTERS,
    ),
    _in(
        "letters",
        "a decline counts before the charge",
        '(account.get("declined"), *account.get("paid_baskets", ()))',
        '(*account.get("paid_baskets", ()), account.get("declined"))',
        _LETTERS,
    ),
    _in(
        "letters",
        "somebody else's basket heals",
        'found if found is not None and found["user"] == about.user else None',
        "found",
        _LETTERS,
    ),
    _in(
        "letters",
        "a decision heals by any settlement",
        'return bool(basket["status"] == {PAID: "paid", DECLINED: "open"}.get(decided.outcome))',
        'return bool(basket["status"] != "ordered")',
        _LETTERS,
    ),
    _in(
        "letters",
        "another sum heals",
        "    if other_term(terms(decided), basket) is not None:\n        return False\n",
        "",
        _LETTERS,
    ),
    _in(
        "letters",
        "any notification heals",
        "return notification is not None and tells_of(notification, decided)",
        "return notification is not None",
        _LETTERS,
    ),
    _in(
        "letters",
        "the lost time's letters wait",
        "letter.about.epoch < epoch.number",
        "letter.about.epoch > epoch.number",
        _LETTERS,
    ),
    _in(
        "letters",
        "the newest epoch's letters are outdated",
        "letter.about.epoch < epoch.number",
        "letter.about.epoch <= epoch.number",
        _LETTERS,
    ),
    _in(
        "letters",
        "the epoch is that of orders for all",
        "known[KNOWN[letter.consumer].service]",
        'known["orders"]',
        _LETTERS,
    ),
    _in(
        "audit",
        "the time of a decision does not matter",
        'notification["decided_at"] == happened_at(decided)',
        "True",
        _LETTERS,
    ),
    # --- what counts as a refusal
    _in(
        "letters",
        "a try answered later is a refusal",
        "return self.replays - self.later",
        "return self.replays",
        _REDRIVE,
    ),
    _in(
        "redrive",
        "a try answered later is not taken back",
        "            await self._note(letters.mark(replace(letter, later=letter.later + 1)))\n",
        "",
        _REDRIVE,
    ),
    _in(
        "redrive",
        "a replay is not counted before it is sent",
        "        await self._note(letters.mark(letter))\n",
        "",
        _REDRIVE,
    ),
    _in(
        "redrive",
        "parking something undelivered is fine",
        "return not (self.refused or self.parked or self.left)",
        "return not (self.refused or self.left)",
        _REDRIVE,
    ),
    _in(
        "redrive",
        "leaving something undelivered is fine",
        "return not (self.refused or self.parked or self.left)",
        "return not (self.refused or self.parked)",
        _REDRIVE,
    ),
    _in("redrive", "an outage is amplified", "            self.unwell = True\n", "", _REDRIVE),
    _in("cli/dead_letters", "--max bounds nothing", "if letter.waiting][:limit]", "if letter.waiting]", _REDRIVE),
    _in(
        "redrive",
        "--max-replays allows one more",
        "last = letter.refusals >= self.max_replays",
        "last = letter.refusals > self.max_replays",
        _REDRIVE,
    ),
    _in(
        "redrive",
        "what was refused too often is sent once more",
        "if letter.refusals >= self.max_replays:\n            await",
        "if letter.refusals > self.max_replays:\n            await",
        _REDRIVE,
    ),
    _in(
        "letters",
        "what is outdated waits",
        'return "outdated" if self.restored else "waiting"',
        'return "waiting"',
        _REDRIVE,
    ),
    _in(
        "deliver",
        "a 503 is a refusal",
        "return is_retried(self.status)",
        "return self.status is None",
        _REDRIVE,
    ),
    # --- what differs
    _in("audit", "a paid basket needs no charge", '    ("paid", _ANY, _ANY, "paid, not charged"),\n', "", _AUDIT),
    _in(
        "audit",
        "an attempt is undecided whatever billing lost",
        '("ordered", _ANY, "the one before", "undecided")',
        '("ordered", _ANY, _ANY, "undecided")',
        _AUDIT,
    ),
    _in("audit", "a later decline is fine", '"later", "later decision"', '"later", ""', _AUDIT),
    _in("audit", "a lost decline is fine", '(_ANY, _ANY, _ANY, "lost decline")', '(_ANY, _ANY, _ANY, "")', _AUDIT),
    _in(
        "audit",
        "an archive may hold less than was counted",
        "if held.sum == said.sum and held.count >= said.count:",
        "if held.sum == said.sum:",
        _AUDIT,
    ),
    _in(
        "audit",
        "charges in no basket are fine",
        "if lacking is not None and lacking not in known:",
        "if False:",
        _DAMAGE,
    ),
    _in(
        "verify",
        "nothing verified is fine",
        '    if not totals["users"]:\n',
        "    if False:\n",
        f"{_VERIFY}::test_nothing_verified_is_exit_code_2_and_says_where_it_looked",
    ),
    _in(
        "cli/verify",
        "a database of another name is fine",
        "        check_that_all_is_there(running, databases)\n",
        "",
        f"{_VERIFY}::test_a_database_that_is_not_set_up_is_exit_code_2",
    ),
    _in(
        "cli/verify",
        "databases of different epochs are fine",
        "if found or epochs.disagreement(look.epochs):",
        "if found:",
        f"{_VERIFY}::test_databases_of_different_epochs_are_a_problem_and_nothing_is_repaired_then",
    ),
    _in(
        "verify",
        "what looks wrong is judged without the archives",
        "if problems and not history.has_archives:",
        "if False:",
        f"{_VERIFY}::test_what_was_archived_is_known_without_an_audit",
    ),
    # --- what repair asks for
    _in(
        "audit",
        "billing is asked about what it lost",
        'if wrong == "undecided":',
        'if wrong in ("undecided", "lost decline"):',
        _REPAIR,
    ),
    _in(
        "audit",
        "billing is asked about what it decided",
        '            event = self._decision(basket["_id"], basket["attempt"])\n',
        "            event = payments.requested(basket, self._epoch)\n",
        _REPAIR,
    ),
    _in(
        "payments",
        "a request is of epoch 0",
        'basket=basket["_id"], epoch=epoch',
        'basket=basket["_id"], epoch=0',
        _PAYMENTS,
    ),
    _in("payments", "a charge is of epoch 0", "epoch=epoch, **decided)", "epoch=0, **decided)", _PAYMENTS),
    _in(
        "payments", "a decline is of epoch 0", "epoch=epoch, outcome=DECLINED)", "epoch=0, outcome=DECLINED)", _PAYMENTS
    ),
    _in("verify", "a decision is sent to billing", "TOPICS[type(payment)]", '"payments"', _REPAIR),
    _in(
        "payments",
        "a decline is told without its reason",
        "epoch=epoch, outcome=DECLINED)",
        "epoch=epoch, outcome=DECLINED, reason=None)",
        _REPAIR,
    ),
    _in(
        "verify",
        "after a repair nobody is looked at as a whole",
        "now = [problem for user in users for problem in look.at(user)]",
        "now = look.again(found)",
        _REPAIR,
    ),
)

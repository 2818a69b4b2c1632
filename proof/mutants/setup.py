"""Mutants of shop.setup, and of the statements that name their user."""

from functools import partial

from proof.mutants.mutant import Mutant, mutant_in

_SETUP = "tests/shop/setup/test_making.py"
_AGAIN = f"{_SETUP}::test_a_second_setup_keeps_everything_and_changes_nothing"
_RULES = f"{_SETUP}::test_a_validator_of_before_is_brought_up_to_date"
_DUPLICATES = f"{_SETUP}::test_duplicates_are_named_and_everything_else_is_set_up"
_RESTORED = "tests/shop/setup/test_restoring.py"
_MENDING = "tests/shop/setup/test_mending.py"
_SHARD = "tests/shop/setup/test_sharding.py"
_READINESS = "tests/shop/store/test_readiness.py"
_STATEMENTS = "tests/functions/test_sharding.py"
_USERS = "tests/shop/setup/test_users.py"
_COMMAND = "tests/shop/setup/test_command.py"


_in = partial(mutant_in, "shop/setup")

MUTANTS = (
    # --- making
    _in(
        "making",
        "every setup locks every collection",
        'elif not rules.items() <= there[0]["options"].items():',
        "else:",
        _AGAIN,
    ),
    _in("making", "a validator that warns is kept", '        "validationAction": "error",\n', "", _RULES),
    _in("making", "a validator that is off is kept", '        "validationLevel": "strict",\n', "", _RULES),
    _in(
        "making",
        "a validator of before is kept",
        "elif not rules.items() <=",
        "elif False and rules.items() <=",
        _RULES,
    ),
    _in(
        "making",
        "setups at once fail one another",
        '    48: "NamespaceExists",',
        '    -48: "NamespaceExists",',
        f"{_SETUP}::test_eight_setups_at_once_all_succeed",
        f"{_SETUP}::test_setup_succeeds_beside_functions",
    ),
    _in("making", "duplicates end setup", "except DuplicateKeyError:", "except KeyError:", _DUPLICATES),
    _in("making", "what failed is not said", "    if problems:\n        raise NotSetUp(problems)\n", "", _DUPLICATES),
    _in("making", "indexes are not unique", "unique=index.unique, ", "", _READINESS),
    _in("making", "an index has all baskets", "unique=index.unique, **only)", "unique=index.unique)", _READINESS),
    _in(
        "duplicates",
        "one user's number is another's",
        '"_id": {field: f"${field}" for field in index.keys},',
        '"_id": {field: f"${field}" for field in index.keys if field != "user"},',
        _DUPLICATES,
    ),
    # --- a restore
    _in(
        "restoring",
        "an epoch is one that another restore of the backup had",
        ", int(restored_at.timestamp() * 1000))",
        ")",
        f"{_RESTORED}::test_a_backup_that_is_restored_twice_does_not_begin_the_same_epoch_twice",
    ),
    _in(
        "restoring",
        "an epoch is that of before",
        "each.epoch + 1 for each",
        "each.epoch for each",
        f"{_RESTORED}::test_each_run_begins_another_epoch_in_all_three",
    ),
    _in(
        "restoring",
        "an epoch begins where a database is away",
        "        found = {}\n",
        '        found = {}\n        await _write(databases["notify"], 9, datetime.now(UTC))\n',
        f"{_RESTORED}::test_when_one_cannot_be_read_nothing_is_changed",
    ),
    _in(
        "restoring",
        "an epoch falls",
        '{"$max": ["$epoch", Int64(epoch)]}',
        "Int64(epoch)",
        f"{_RESTORED}::test_an_epoch_never_falls",
    ),
    _in(
        "restoring",
        "what is paid is asked for again",
        '{"status": ORDERED}, [',
        "{}, [",
        f"{_RESTORED}::test_what_is_ordered_is_asked_for_at_once",
    ),
    _in(
        "restoring",
        "what is ordered waits",
        '[{"$set": {"resend_at": NOW}}]',
        '[{"$set": {"resend_at": "$resend_at"}}]',
        f"{_RESTORED}::test_what_is_ordered_is_asked_for_at_once",
    ),
    # --- duplicates
    _in("mending", "a basket that was declined goes", '        and document["attempt"] == 0\n', "", _MENDING),
    _in("mending", "a basket on its way goes", 'if document["status"] == OPEN\n        and', "if", _MENDING),
    _in("mending", "billing is not asked", "and not await _billing_knows(", "and not _billing_knows and (", _MENDING),
    _in(
        "mending",
        "billing's archive is not asked",
        ', {"_id": 1}) is not None',
        ', {"_id": 1}) is not None and False',
        _MENDING,
    ),
    _in(
        "mending",
        "another user's charge counts",
        'find_one({"_id": user, **mentioned}',
        "find_one({**mentioned}",
        _MENDING,
    ),
    _in("mending", "none of the baskets stays", "else unused[1:]", "else unused", _MENDING),
    _in(
        "mending",
        "what was ordered meanwhile goes",
        '_NEVER_ORDERED = {"status": OPEN, "attempt": 0}',
        "_NEVER_ORDERED: Document = {}",
        f"{_MENDING}::test_a_basket_that_is_ordered_between_the_look_and_the_removal_stays",
    ),
    _in("mending", "entries that differ are one", "[1:] if same else []", "[1:]", _MENDING),
    _in("mending", "the entry that counts goes", '"position" not in each', '"position" in each', _MENDING),
    # --- sharding
    _in("sharding", "accounts are sharded by a field they do not have", "{collection.user: 1}", '{"user": 1}', _SHARD),
    Mutant(
        "a claim does not name its user",
        "shop/orders.py",
        '{"_id": candidate["_id"], "user": candidate["user"], **due}',
        '{"_id": candidate["_id"], **due}',
        (_STATEMENTS,),
    ),
    Mutant(
        "a notification does not name its user",
        "shop/notifications.py",
        '{"_id": key, "user": content["user"]}, _record_it',
        '{"_id": key}, _record_it',
        (_STATEMENTS,),
    ),
    Mutant(
        "a claim that came too late ends the tick",
        "shop/orders.py",
        "        if len(found) < candidates:\n",
        "        if found:\n",
        ("tests/shop/test_orders.py::TestResend::test_a_claim_that_came_too_late_for_all_it_found_looks_again",),
    ),
    # --- the command
    _in(
        "__main__",
        "an option is guessed",
        "        allow_abbrev=False,\n",
        "",
        f"{_COMMAND}::test_wrong_arguments_are_exit_code_2_and_nothing_is_done",
    ),
    _in(
        "__main__",
        "wrong settings end in a trace",
        "    process.start()\n",
        "",
        f"{_COMMAND}::test_a_setting_that_cannot_be_right_is_named",
    ),
    _in(
        "__main__",
        "a restore is not set up",
        "        await restored()\n",
        "        return await restored()\n",
        f"{_COMMAND}::test_restored_sets_up_and_begins_an_epoch",
    ),
    # --- users
    _in(
        "users",
        "functions remove documents",
        'else ["find", "insert", "listIndexes", "update"]',
        'else ["find", "insert", "listIndexes", "remove", "update"]',
        f"{_USERS}::test_a_services_user_may_not",
    ),
    _in(
        "users",
        "functions begin epochs",
        'return ["find"] if collection.name == META else',
        'return ["find"] if collection.name == "no meta" else',
        f"{_USERS}::test_a_services_user_may_not",
    ),
    _in(
        "users",
        "a password is never changed",
        "if not is_new and not await databases",
        "if is_new and not await databases",
        f"{_USERS}::test_another_password_replaces_the_one_before",
    ),
    _in(
        "users",
        "a role that has too much keeps it",
        "    if superfluous:\n",
        "    if not superfluous:\n",
        f"{_USERS}::test_what_a_user_or_a_role_has_too_much_is_taken_back",
    ),
    _in(
        "users",
        "roles of a user stay",
        "    if superfluous := [role for role in roles if role != own]:",
        "    if superfluous := []:",
        f"{_USERS}::test_what_a_user_or_a_role_has_too_much_is_taken_back",
    ),
)

"""Mutants of the status, the diagnosis and the console: a cause that goes unseen, and who may push what."""

from functools import partial

from proof.mutants.mutant import mutant_in

_WATCH = "tests/operate/test_watch.py"
_DIAGNOSIS = "tests/operate/test_diagnosis.py"
_PAGES = "tests/operate/console/test_pages.py"
_BUTTONS = "tests/operate/console/test_buttons.py"


_in = partial(mutant_in, "operate")

MUTANTS = (
    _in(
        "troubles",
        "a group without a member is fine",
        "if group is not None and not group.members:",
        "if False:",
        _WATCH,
    ),
    _in(
        "watch",
        "each decision is recent",
        '{"$match": {"recorded_at": {"$gt": self._databases.now() - RECENT}}}',
        '{"$match": {}}',
        _WATCH,
    ),
    _in("troubles", "an order may hang without a word", "    if orders.stuck:", "    if False:", _WATCH),
    _in("troubles", "what a consumer answers does not matter", "        if answer:", "        if False:", _WATCH),
    _in(
        "actions",
        "a form that is sent twice acts twice",
        "        return None\n    for oldest",
        "        pass\n    for oldest",
        _WATCH,
        _BUTTONS,
    ),
    _in(
        "diagnosis", "a dead letter is every order's", "each.about.attempt) == effect]", "each) != effect]", _DIAGNOSIS
    ),
    _in(
        "diagnosis",
        "a dead letter of an attempt before explains this one",
        "(each.about.basket, each.about.attempt) == effect]",
        "each.about.basket == effect[0]]",
        _DIAGNOSIS,
    ),
    _in(
        "diagnosis",
        "what was given up hides what is wrong now",
        "for each in letters if each.refused]",
        "for each in letters]",
        _DIAGNOSIS,
    ),
    _in(
        "diagnosis",
        "the decision of an attempt before counts",
        '(each.get("basket"), each.get("attempt")) == (basket, attempt)',
        'each.get("basket") == basket',
        _DIAGNOSIS,
    ),
    _in(
        "baskets",
        "a page begins with the last of the page before",
        '{"$gte" if latest_first else "$lte": id_}',
        '{"$gt" if latest_first else "$lt": id_}',
        _PAGES,
    ),
    _in(
        "baskets",
        "a trace finds the latest attempt alone",
        '{"declines.traceparent": ordered_in_it}',
        '{"traceparent": ordered_in_it}',
        _PAGES,
    ),
    _in("console/answers", "a name is markup", "autoescape=True", "autoescape=False", _PAGES),
    _in("console/app", "another site may push", "    if not ours or", "    if", _BUTTONS),
    _in(
        "console/app",
        "any name of this machine will do",
        'if not _LOOPBACK.fullmatch(request.header(b"host") or ""):',
        "if False:",
        _BUTTONS,
    ),
    _in("console/app", "anybody may push anywhere", "if not self.shop.anybody_may_push:", "if False:", _BUTTONS),
    _in("console/app", "whoever has a token may look", '    caller.check("admin", None)\n', "", _BUTTONS),
    _in(
        "console/buttons",
        "billing is asked about what is decided",
        'or known.basket["status"] != ORDERED',
        "or False",
        _BUTTONS,
    ),
    _in("console/buttons", "no reason is needed", "if not why or", "if", _BUTTONS),
    _in(
        "console/buttons",
        "what nobody has seen is pushed",
        "each.waiting and _came_ms(each) <= until_ms",
        "each.waiting",
        _BUTTONS,
    ),
    _in(
        "console/app",
        "a page that was refused asks no more",
        "if page.refresh or status >= 400 else",
        "if page.refresh else",
        _PAGES,
    ),
    _in("console/answers", "a name may hide what it is", "    finalize=_shown,\n", "", _PAGES),
    _in(
        "console/pages",
        "who is called like a basket is not found",
        "    if stored is not None:",
        "    if True:",
        _PAGES,
    ),
    _in(
        "console/pages",
        "a trace that nobody recorded is a link",
        "if is_sampled(traceparent) else",
        "if True else",
        _PAGES,
    ),
    _in(
        "troubles",
        "webhooks that are behind are no trouble",
        "    for name in KNOWN:",
        "    for name in list(KNOWN)[:3]:",
        _WATCH,
    ),
)

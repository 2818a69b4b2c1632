"""Mutants of waiting: who waits is told too early, too late, wrongly or never, or costs more than a look a tick."""

from functools import partial

from proof.mutants.mutant import Mutant, mutant_in

_WAITING = "tests/shop/test_waiting.py"
_EDGE = "tests/shop/edge/test_wait.py"
_CALLS = "tests/functions/test_waiting.py"
_VALUES = "tests/knative/test_values.py"
_LATER = "tests/shop/test_orders.py::TestOrder::test_once_decided_it_is_told_of_its_own_attempt"
_SIGTERM = "tests/functions/test_serve.py::test_sigterm_answers_at_once_who_waits_for_an_outcome"


_in = partial(mutant_in, "shop")

MUTANTS = (
    # --- what is decided, and who looks
    _in("waiting", "an attempt on its way counts as decided", 'basket["status"] != ORDERED', "True", _WAITING),
    _in(
        "waiting", "an earlier attempt tells of a later one", '["attempt"] > self.number', '["attempt"] != 0', _WAITING
    ),
    _in("waiting", "a later attempt tells nothing of one", '["attempt"] > self.number', '["attempt"] < 0', _WAITING),
    _in("waiting", "a look reads what has not changed", '{"status": {"$ne": ORDERED}}', "{}", _WAITING),
    _in("waiting", "a look misses who waits for less", "min(each.number", "max(each.number", _WAITING),
    _in("waiting", "a look may hang for long", "LOOK_S = 2.0", "LOOK_S = 20.0", _WAITING),
    _in("waiting", "looks go on when nobody waits", "while self._waiting:", "while True:", _WAITING),
    _in("waiting", "who gave up is looked for", "            del self._waiting[future]\n", "", _WAITING),
    _in("waiting", "each who waits has a look of his own", "elif self._looking is None:", "else:", _WAITING),
    _in("waiting", "MongoDB's failure ends the looks", "except PyMongoError as", "except KeyError as", _WAITING),
    _in("waiting", "the tick is the usual wait", "wait_s / LOOKS_A_WAIT", "wait_s", _WAITING),
    _in("waiting", "looks begin too early", "FIRST_LOOK_AFTER = 0.6", "FIRST_LOOK_AFTER = 0.0", _WAITING),
    _in(
        "waiting",
        "who comes late keeps others from a look",
        "first = next(iter(",
        "first = next(reversed(",
        _WAITING,
    ),
    _in("waiting", "an outage is looked at in haste", "max(self._usual_s, ", "min(self._usual_s, ", _WAITING),
    _in("waiting", "the usual wait is never learned", "_WEIGHT = 1 / 8", "_WEIGHT = 0", _WAITING),
    _in("waiting", "who comes late waits in an ending process", "self._is_over = True", "pass", _WAITING),
    _in("serve", "who waits keeps an ending process", "        waiting.everybody().end()\n", "", _SIGTERM),
    # --- how long, and what is answered then
    _in("edge/wait", "a wait of hours", "min(int(text), LONGEST_S)", "int(text)", _EDGE),
    _in("edge/wait", "Serving cuts a wait off", "ANSWERED_AFTER_S = 28.0", "ANSWERED_AFTER_S = 31.0", _VALUES),
    _in("edge/wait", "the work's time is waited again", "min(self.seconds, longest_s)", "self.seconds", _EDGE),
    _in("edge/wait", "a client that is gone is waited for", "(coming, gone),", "(coming,),", _EDGE),
    _in("edge/wait", "nobody tells who looks", "            coming.cancel()\n", "", _EDGE),
    _in("edge/wait", "the end of a process is a failure", " or coming.cancelled()", "", _EDGE),
    _in("edge/wait", "a preference counts before the query", "        case []:", "        case [] | [_]:", _EDGE),
    _in("edge/wait", "a wrong query is waited out", "if not _SECONDS.fullmatch(text):", "if not text:", _EDGE),
    _in("edge/http", "a post may not wait by its query", "if name in parameters:", "if False:", _CALLS),
    _in("edge/http", "a misspelt wait is not seen", "(letters, parameters, n=1", "(letters, (), n=1", _CALLS),
    _in("edge/http", "a query is said to be a preference", " and wait.preferred:", ":", _CALLS),
    _in("orders", "a wait tells of the basket's latest attempt", "    again.attempt = known.attempt\n", "", _LATER),
    Mutant(
        "an outcome cannot be waited for",
        "functions/get_order/main.py",
        "GetOrderResponse, waits=True",
        "GetOrderResponse",
        (_CALLS,),
    ),
)

"""Mutants of what receivers outside are told: its words, its signature, when it is done, and whom it may reach."""

from functools import partial

from proof.mutants.mutant import mutant_in

_TOLD = "tests/shop/test_webhooks.py"
_RECEIVER = "tests/shop/emission/test_receiver.py"


_in = partial(mutant_in, "shop")

MUTANTS = (
    # --- what is said, and who says it
    _in("webhooks", "a signature is over the words alone", 'f"{name}.{now}.".encode() + content', "content", _TOLD),
    _in(
        "webhooks", "the older of two secrets is not sent", "in webhooks.secrets),", "in webhooks.secrets[1:]),", _TOLD
    ),
    _in("webhooks", "each try has the time of the decision", "int(clock())", "decided.decided_at.seconds", _TOLD),
    _in("webhooks", "an id is of a try", "key(decided), body(decided)", 'f"{clock()}", body(decided)', _TOLD),
    _in("webhooks", "an id is of a basket", 'f"{decided.basket}_{decided.attempt}"', 'f"{decided.basket}_1"', _TOLD),
    _in(
        "webhooks",
        "a decline has no reason for programs",
        "None if is_paid else decline_code(decided.reason)",
        "None",
        _TOLD,
    ),
    # --- when it is done
    _in("webhooks", "a redirect is a yes", "200 <= answer < 300", "200 <= answer < 400", _TOLD),
    _in("webhooks", "a receiver that is gone is told for ever", " or answer == GONE\n", "\n", _TOLD),
    _in(
        "webhooks",
        "one receiver that took it is enough",
        "    if failed:\n",
        "    if len(failed) == len(posts):\n",
        _TOLD,
    ),
    _in("webhooks", "what gave no answer is done", "    return False\n", "    return True\n", _TOLD),
    _in("emission/receiver", "an address is told with its secrets", "str(urlsplit(url).hostname)", "url", _TOLD),
    # --- whom it may reach, and for how long
    _in("emission/receiver", "a private address is as good", "private or is_public(address)", "True", _TOLD, _RECEIVER),
    _in(
        "emission/receiver", "the first address alone is looked at", "in addresses:\n", "in addresses[:1]:\n", _RECEIVER
    ),
    _in(
        "emission/receiver",
        "a name is looked up once more for the connection",
        "await _connect(addresses, remote.port, tls)",
        "await _connect(await _look_up(remote.host, remote.port, private=True), remote.port, tls)",
        _RECEIVER,
    ),
    _in("emission/receiver", "IPv4 inside of IPv6 is public", "if within is not None:", "if False:", _RECEIVER),
    _in("emission/receiver", "an interim answer of a receiver counts", ">= 200:", ">= 100:", _RECEIVER),
    _in("emission/receiver", "a receiver outlasts the function", "TIMEOUT_S = 8.0", "TIMEOUT_S = 12.0", _TOLD),
)

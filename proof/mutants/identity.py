"""Mutants of who is let in: tokens, the keys that verify them, what a caller may do; and the token of events."""

from functools import partial

from proof.mutants.mutant import Mutant, mutant_in

_TABLE = "tests/functions/test_tokens.py"
_BAD = f"{_TABLE}::test_a_bad_token_opens_nothing"
_WHO = f"{_TABLE}::test_who_may_make_which_call"
_KEYS = "tests/shop/identity/test_keys.py"
_SENT = "tests/shop/emission/test_token.py"
_SETTINGS = "tests/shop/process/test_settings.py"


_in = partial(mutant_in, "shop")

MUTANTS = (
    # --- tokens
    _in("identity/tokens", "any audience is taken", "audience=auth.audience", "audience=['other', 'shop']", _BAD),
    _in("identity/tokens", "any issuer is taken", "issuer=auth.issuer", "issuer=None", _BAD),
    _in("identity/tokens", "a token may never expire", '"require": ["exp", ', '"require": [', _BAD),
    _in("identity/tokens", "clocks may differ by hours", "LEEWAY_S = 10\n", "LEEWAY_S = 10_000\n", _TABLE),
    _in("identity/tokens", "the first of two headers counts", "if len(sent) > 1:", "if False:", _TABLE),
    _in("identity/tokens", "a token may be huge", "if len(sent[0]) > MAX_TOKEN:", "if False:", _BAD),
    _in(
        "identity/tokens",
        "a part of a word is a role",
        "        return found.split()\n",
        "        return [ADMIN] if ADMIN in found else []\n",
        f"{_TABLE}::test_the_role_is_in_the_claim_that_a_setting_names",
    ),
    # --- what a caller may do
    _in(
        "identity/caller",
        "any user's token acts for any user",
        "if user != self.user:\n            raise",
        "if False:\n            raise",
        _WHO,
    ),
    _in("identity/caller", "everybody lists everybody", "if user is None:", "if False:", _WHO),
    _in("identity/caller", "everybody is an admin", "if self.is_admin:", "if True:", _WHO),
    _in("identity/caller", "what is for admins is for all", 'if needs == "admin":', "if False:", _WHO),
    _in(
        "edge/http",
        "who calls is found out and forgotten",
        "            if caller is not None:",
        "            if False:",
        _WHO,
    ),
    Mutant(
        "everybody may add to his balance",
        "functions/deposit_cash/main.py",
        ', needs="admin"',
        "",
        (_WHO,),
    ),
    # --- keys
    _in("identity/keys", "each token with a key made up is a fetch", "ASK_AGAIN_S = 10.0", "ASK_AGAIN_S = -1.0", _KEYS),
    _in(
        "identity/keys", "keys that are known are never fetched again", "if age_s > FRESH_S and", "if False and", _KEYS
    ),
    _in(
        "identity/keys",
        "an outage keeps withdrawn keys for ever",
        "if age_s <= KEPT_S else None",
        "if True else None",
        _KEYS,
    ),
    _in("identity/keys", "everybody fetches", "        if self._fetching is None:\n", "        if True:\n", _KEYS),
    _in("identity/keys", "who hangs up ends the fetch", "asyncio.shield(self._fetch())", "self._fetch()", _KEYS),
    _in("identity/keys", "a redirect is an answer", "if status != 200:", "if status >= 400:", _KEYS),
    _in("identity/keys", "a short key is taken", "key.key.key_size < MIN_RSA_BITS", "key.key.key_size < 512", _KEYS),
    _in("identity/keys", "a key for encryption verifies", 'or fields.get("use", "sig") != "sig"', "", _KEYS),
    _in(
        "identity/keys",
        "an answer may be of any size",
        "        if self._came > MAX_BYTES:\n",
        "        if False:\n",
        _KEYS,
    ),
    _in(
        "identity/keys",
        "without keys a token is refused for good",
        "        if self._problem is not None:\n            raise",
        "        if False:\n            raise",
        _KEYS,
    ),
    # --- the token of events
    _in(
        "emission/token",
        "a token is read once",
        "if self._clock() - self._looked_at > CHECKED_S:",
        "if not self._text:",
        _SENT,
    ),
    _in(
        "emission/token",
        "a token of the same length is the same",
        "found.st_ino, found.st_mtime_ns, found.st_size",
        "0, 0, found.st_size",
        _SENT,
    ),
    _in("emission/token", "each event looks at the file", "> CHECKED_S:", "> -1:", _SENT),
    _in("emission/token", "anything is a token", "if not _TOKEN.fullmatch(text):", "if False:", _SENT),
    _in("emission/sink", "a token that was replaced is found out a second later", "self._token.look()", "pass", _SENT),
    _in("emission/sink", "a refused event is sent twice for nothing", 'not in ("", self._sent)', 'not in ("",)', _SENT),
    # --- settings
    _in(
        "process/settings",
        "half of what verifies tokens demands none",
        "    if missing and (len(missing) < len(_AUTH) or claim):",
        "    if missing and claim:",
        _SETTINGS,
    ),
    _in(
        "process/settings",
        "keys come unencrypted from anywhere",
        'if url.scheme == "http" and not _INSIDE.fullmatch(host):',
        "if False:",
        _SETTINGS,
    ),
)

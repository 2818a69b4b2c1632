"""Tokens against calls, as a table: who is let in, where tokens are demanded, and what everybody else is told."""

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from shop.errors import Code
from tests.functions.conftest import Client, everything
from tests.support import issuer as tokens
from tests.support.asgi import Answer, call
from tests.support.functions import PATHS, triggered
from tests.support.issuer import Issuer, forged, token
from tests.support.openapi import check_answer, example

NOBODY = None
BASKET = "66f0c1d2e3a4b5c6d7e8f901"


@pytest.fixture
async def issuer(client: Client, configure: Callable[..., None]) -> AsyncIterator[Issuer]:
    """Have two users and an issuer, whose tokens every function demands."""
    for user in ("Pavel", "Anna"):
        await client.user(user, balance=100)
    async with Issuer() as running:
        configure(auth=running.auth)
        yield running


async def ask(
    function: str, fields: dict[str, Any] | None = None, *sent: str | None, headers: tuple[tuple[str, str], ...] = ()
) -> Answer:
    """Call a function, its request that of the document unless another is given, with these headers Authorization."""
    method, fields = (example(function)[0], example(function)[1] if fields is None else fields)
    headers = (*headers, *(("Authorization", value) for value in sent if value is not None))
    answer = await call(function, method, path=PATHS[function], headers=headers, body=json.dumps(fields).encode())
    check_answer(PATHS[function], answer.status, answer.headers, answer.body)
    return answer


def signed_with_the_public_key() -> str:
    """Return an HS256 token whose secret is the issuer's public key, which anybody can read."""
    unsigned = forged({"alg": "HS256", "kid": "rsa"}, claims()).rpartition(".")[0]
    return (
        f"{unsigned}." + forged({}, {}, hmac.digest(tokens.pem("rsa"), unsigned.encode(), hashlib.sha256)).split(".")[2]
    )


def claims(**more: Any) -> dict[str, Any]:
    """Return what a good token of Pavel claims."""
    usual = {"sub": "Pavel", "iss": tokens.ISSUER, "aud": tokens.AUDIENCE, "exp": int(time.time()) + 60}
    return {**usual, **more}


def with_another_payload() -> str:
    """Return a token that was Anna's until somebody wrote his name into it."""
    head, _, signature = token("Anna").split(".")
    return f"{head}.{forged({}, claims()).split('.')[1]}.{signature}"


GOOD: dict[str, Callable[[], str]] = {
    "RS256": lambda: f"Bearer {token()}",
    "ES256": lambda: f"Bearer {token(key='ec')}",
    "EdDSA": lambda: f"bearer {token(key='ed')}",
    "more audiences": lambda: f"Bearer {token(aud=['other', 'shop'])}",
    "expired within the leeway": lambda: f"Bearer {token(exp=int(time.time()) - 5)}",
    "valid within the leeway": lambda: f"Bearer {token(nbf=int(time.time()) + 5)}",
}

MISSING: dict[str, Callable[[], str | None]] = {
    "none": lambda: None,
    "an empty one": lambda: "",
    "a password": lambda: "Basic UGF2ZWw6cGF2ZWw=",
    "another scheme": lambda: f"DPoP {token()}",
}

BAD: dict[str, Callable[[], str]] = {
    "of another audience": lambda: token(aud="other"),
    "of no audience": lambda: token(aud=None),
    "of another issuer": lambda: token(iss="https://issuer.example/"),
    "of no issuer": lambda: token(iss=None),
    "without a user": lambda: token(None),
    "whose user is a number": lambda: token(7),  # type: ignore[arg-type]
    "that never expires": lambda: token(exp=None),
    "that expires at a word": lambda: token(exp="never"),
    "that expires at infinity": lambda: token(exp=float("inf")),
    "that is not valid yet": lambda: token(nbf=int(time.time()) + 60),
    "issued in the future": lambda: token(iat=int(time.time()) + 60),
    "alg: none": lambda: forged({"alg": "none", "kid": "rsa"}, claims()),
    "alg: None": lambda: forged({"alg": "None", "kid": "rsa"}, claims()),
    "no alg": lambda: forged({"kid": "rsa"}, claims(), b"x"),
    "an alg that is no word": lambda: forged({"alg": ["RS256"], "kid": "rsa"}, claims(), b"x"),
    "HS256, with the public key": signed_with_the_public_key,
    "RS512": lambda: forged({"alg": "RS512", "kid": "rsa"}, claims(), b"x"),
    "the algorithm of another key": lambda: forged({"alg": "ES256", "kid": "rsa"}, claims(), b"x" * 64),
    "a key of nobody": lambda: token(key="rsa-unknown"),
    "the key id of another key": lambda: token(key="rsa-unknown", header={"kid": "rsa"}),
    "no key id": lambda: token(header={"kid": None}),
    "a key id that is no word": lambda: forged({"alg": "RS256", "kid": 7}, claims(), b"x"),
    "its own key": lambda: token(key="rsa-own", header={"jwk": tokens.public("rsa-own")}),
    "its own key server": lambda: token(key="rsa-own", header={"jku": "http://127.0.0.1:1/keys"}),
    "a condition that nobody knows": lambda: token(header={"crit": ["exp2"], "exp2": 1}),
    "a payload that is not signed": lambda: token(header={"crit": ["b64"], "b64": False}),
    "another payload": with_another_payload,
    "no signature": lambda: token().rpartition(".")[0] + ".",
    "a payload that is no object": lambda: forged({"alg": "RS256", "kid": "rsa"}, [1]),  # type: ignore[arg-type]
    "a header that is too deep": lambda: "W1tb" * 1500 + ".e30.x",
    "words": lambda: "let me in",
    "two parts": lambda: "e30.e30",
    "encrypted": lambda: "e30.e30.e30.e30.e30",
    "two of them": lambda: f"{token()}, Bearer {token()}",
    "a huge one": lambda: token(padding="x" * 9000),
}


@pytest.mark.parametrize("case", GOOD)
async def test_a_good_token_acts_for_its_user(issuer: Issuer, case: str) -> None:
    """The algorithms are three, the name of the scheme has no case, clocks may differ by some seconds."""
    assert (await ask("get_user", {"user": "Pavel"}, GOOD[case]())).status == 200


@pytest.mark.parametrize("case", MISSING)
async def test_without_a_token_nothing_is_done(issuer: Issuer, case: str) -> None:
    """And the client is told which kind to send."""
    answer = await ask("get_user", {"user": "Pavel"}, MISSING[case]())
    assert (answer.status, answer.json["code"]) == (401, "token_missing")
    assert answer.headers["www-authenticate"] == 'Bearer realm="shop"'


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_token_opens_nothing(issuer: Issuer, case: str) -> None:
    """The message says what is wrong with it, and nothing that is in it."""
    answer = await ask("get_user", {"user": "Pavel"}, f"Bearer {BAD[case]()}")
    assert (answer.status, answer.json["code"]) == (401, "token_invalid"), answer.message
    assert answer.headers["www-authenticate"] == 'Bearer realm="shop", error="invalid_token"'
    assert "Pavel" not in answer.message


async def test_an_expired_token_has_a_code_of_its_own(issuer: Issuer) -> None:
    """A client gets another one and sends the same request."""
    answer = await ask("get_user", {"user": "Pavel"}, f"Bearer {token(exp=int(time.time()) - 60)}")
    assert (answer.status, answer.json["code"]) == (401, "token_expired")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("order", [("Pavel", "Anna"), ("Anna", "Pavel")])
async def test_two_headers_are_refused_whoever_is_named_first(issuer: Issuer, order: tuple[str, str]) -> None:
    """Proxies do not agree which of two counts."""
    answer = await ask("get_user", {"user": "Pavel"}, *(f"Bearer {token(user)}" for user in order))
    assert (answer.status, answer.json["code"]) == (401, "token_invalid")


CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, example(name)[1]) for name in triggered("GET", "POST")},
    "list_notify": ("list_notify", {"user": "Pavel"}),
    "List of all": ("list_notify", {}),
}
"""Every call, about Pavel or about everybody."""

ADMINS_ONLY = {"create_user", "deposit_cash", "List of all"}


@pytest.mark.parametrize("case", CALLS)
async def test_who_may_make_which_call(issuer: Issuer, case: str) -> None:
    """An admin: any. The user whom it is about: any but those for admins. Another user, or nobody: none."""
    function, fields = CALLS[case]
    before = await everything()
    wanted = {None: Code.TOKEN_MISSING, "Anna": Code.OTHER_USER, "Pavel": None}
    if case in ADMINS_ONLY:
        wanted |= {"Anna": Code.ADMINS_ONLY, "Pavel": Code.ADMINS_ONLY}
    for user, code in wanted.items():
        answer = await ask(function, fields, f"Bearer {token(user)}" if user else None)
        if code is None:
            assert answer.status in (200, 404), answer.text  # 404: the basket of the example is not there
            assert answer.status == 200 or answer.json["code"] == "unknown_basket"
        else:
            assert (answer.status, answer.json["code"]) == (code.status, str(code)), (user, answer.text)
            assert await everything() == before
    answer = await ask(function, fields, f"Bearer {token('Root', roles=['reader', 'admin'])}")
    assert answer.status in (200, 404), answer.text


async def test_what_an_admin_does_for_others_is_logged_with_his_name(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    """Whose token made this money? What he does for himself says so by its key."""
    caplog.set_level("INFO")
    root = f"Bearer {token('Root', roles=['admin'])}"
    for user in ("Root", "Pavel"):
        await ask("get_basket", {"user": user}, root)
    await ask("list_notify", {}, root)
    said = [record.getMessage() for record in caplog.records if "an admin" in record.getMessage()]
    assert said == ["Root, an admin, acts for Pavel", "Root, an admin, acts for everybody"]


async def test_a_basket_of_another_user_is_as_one_that_is_not_there(issuer: Issuer) -> None:
    """Whoever tries ids learns nothing: the same answer, byte for byte."""
    theirs = (await ask("get_basket", {"user": "Anna"}, f"Bearer {token('Anna')}")).json["basket"]
    answers = [
        await ask("get_order", {"user": "Pavel", "basket": basket}, f"Bearer {token()}") for basket in (theirs, BASKET)
    ]
    assert [answer.status for answer in answers] == [404, 404]
    assert answers[0].body == answers[1].body


ROLES: dict[str, tuple[str, dict[str, Any]]] = {
    "a list": ("roles", {"roles": ["admin"]}),
    "words": ("roles", {"roles": "reader admin"}),
    "a claim in a claim": ("realm_access.roles", {"realm_access": {"roles": ["admin"]}}),
    "a claim with dots in its name": ("https://shop.example/roles", {"https://shop.example/roles": ["admin"]}),
}

NO_ADMIN: dict[str, tuple[str, dict[str, Any]]] = {
    "no claim": ("roles", {}),
    "another role": ("roles", {"roles": ["administrator", "Admin"]}),
    "a part of a word": ("roles", {"roles": "admins"}),
    "an object": ("roles", {"roles": {"admin": True}}),
    "a number": ("roles", {"roles": 1}),
    "a list in a list": ("roles", {"roles": [["admin"]]}),
    "another claim": ("groups", {"roles": ["admin"]}),
    "nothing on the way": ("realm_access.roles", {"realm_access": ["roles"]}),
}


@pytest.mark.parametrize("case", [*ROLES, *NO_ADMIN])
async def test_the_role_is_in_the_claim_that_a_setting_names(
    issuer: Issuer, configure: Callable[..., None], case: str
) -> None:
    """However the issuer writes it down; what looks like it is none."""
    claim, given = (ROLES | NO_ADMIN)[case]
    configure(auth=type(issuer.auth)(issuer.auth.jwks_url, tokens.ISSUER, tokens.AUDIENCE, claim))
    answer = await ask("list_notify", {}, f"Bearer {token(**given)}")
    assert answer.status == (200 if case in ROLES else 403)


async def test_a_key_that_was_rotated_in_is_taken_and_one_that_was_withdrawn_is_not(
    issuer: Issuer, configure: Callable[..., None]
) -> None:
    """The issuer is asked again when a key id is new, as soon as it may be."""
    issuer.published = ["rsa"]
    assert (await ask("get_user", {"user": "Pavel"}, f"Bearer {token()}")).status == 200
    issuer.published = ["rsa-2"]
    assert (await ask("get_user", {"user": "Pavel"}, f"Bearer {token(key='rsa-2')}")).status == 401  # too soon to ask
    configure(auth=issuer.auth)  # another process, or this one some seconds later: see test_keys.py
    assert (await ask("get_user", {"user": "Pavel"}, f"Bearer {token(key='rsa-2')}")).status == 200
    assert (await ask("get_user", {"user": "Pavel"}, f"Bearer {token()}")).status == 401


async def test_without_its_keys_nobody_is_let_in(issuer: Issuer, configure: Callable[..., None]) -> None:
    """503, to be sent again: not 401, which would tell an honest client to throw its token away, and never open."""
    issuer.status = 500
    before = await everything()
    answer = await ask("create_user", {"user": "Maria"}, f"Bearer {token(roles=['admin'])}")
    assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "keys_unavailable", "1")
    assert await everything() == before


async def test_a_malformed_request_is_nothing_to_talk_about_with_a_stranger(issuer: Issuer) -> None:
    """Who calls comes before what is asked; health needs no token."""
    assert (await ask("create_order", {"nonsense": 1})).status == 401
    assert (await call("get_user", "GET", path="/healthz")).status == 200


@pytest.mark.parametrize("function", triggered("event", "tick"))
async def test_events_and_ticks_need_no_token(issuer: Issuer, function: str) -> None:
    """A KafkaSource has none of ours: what keeps strangers away is that consumers are cluster-local."""
    assert (await call(function, headers=[("Authorization", "Bearer x")])).status in (200, 422)

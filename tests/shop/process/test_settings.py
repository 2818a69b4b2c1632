"""Settings are read once, at the start, and a wrong one ends the process there (fault 16)."""

import asyncio
import base64
import json
import os
import sys

import pytest

from shop.process.settings import ArrayLimits, Auth, Settings, Webhooks, WrongSettings
from tests.support import openapi


def test_an_empty_environment_is_the_defaults() -> None:
    """A variable that is empty counts as not set."""
    names = ("MONGODB_URI", "ORDERS_DATABASE", "ARRAY_LIMIT", "ARCHIVE_BATCH", "K_SINK", "K_CE_OVERRIDES", "PORT")
    assert Settings.read({}) == Settings.read(dict.fromkeys(names, "")) == Settings()


def test_every_setting_is_read() -> None:
    """Under its name."""
    overrides = {"extensions": {"cluster": "eu west", "number7": "7"}}
    assert Settings.read(
        {
            "MONGODB_URI": "mongodb://a.example:1,b.example:2/?replicaSet=rs",
            "ORDERS_DATABASE": "orders_2",
            "ARRAY_LIMIT": "4",
            "ARCHIVE_BATCH": "2",
            "K_SINK": "http://kafka-sink-ingress.knative-eventing.svc.cluster.local/shop/payments",
            "K_CE_OVERRIDES": json.dumps(overrides),
            "CORS_ORIGINS": "https://shop.example.com, http://localhost:5173,http://[::1]:8080",
            "SINK_TOKEN_FILE": "/tokens/sink",
            "AUTH_JWKS_URL": "https://issuer.example/keys",
            "AUTH_ISSUER": "https://issuer.example",
            "AUTH_AUDIENCE": "shop",
            "AUTH_ROLES_CLAIM": "realm_access.roles",
            "WEBHOOK_URLS": "https://hooks.example/a?b=c\nhttp://127.0.0.1:8000/",
            "WEBHOOK_SECRETS": f"whsec_{'b' * 32} {'c' * 32}",
            "WEBHOOK_PRIVATE": "1",
            "FUNCTION_TARGET": "get_user",
            "HOST": "127.0.0.1",
            "PORT": "9000",
        }
    ) == Settings(
        mongodb_uri="mongodb://a.example:1,b.example:2/?replicaSet=rs",
        databases={"orders": "orders_2", "billing": "billing", "notify": "notify"},
        array_limits=ArrayLimits(4, 2),
        sink="http://kafka-sink-ingress.knative-eventing.svc.cluster.local/shop/payments",
        event_overrides=overrides["extensions"],
        cors_origins=("https://shop.example.com", "http://localhost:5173", "http://[::1]:8080"),
        sink_token="/tokens/sink",  # noqa: S106 - a path
        auth=Auth("https://issuer.example/keys", "https://issuer.example", "shop", "realm_access.roles"),
        webhooks=Webhooks(
            ("https://hooks.example/a?b=c", "http://127.0.0.1:8000/"),
            (base64.b64decode("b" * 32), base64.b64decode("c" * 32)),
            private=True,
        ),
        function="get_user",
        host="127.0.0.1",
        port=9000,
    )


def override(**extensions: object) -> str:
    return json.dumps({"extensions": extensions})


OURS = ("id", "type", "source", "subject", "time", "partitionkey", "specversion", "datacontenttype")

WRONG = [
    *(("ARRAY_LIMIT", value) for value in ("abc", "0", "-1", "1.5", "1001", " 4", "٤", "9" * 30)),
    *(("ARCHIVE_BATCH", value) for value in ("abc", "0", "65", "1001")),
    ("ARRAY_LIMIT", "16"),  # alone, it is under the batch that nobody set
    *(("PORT", value) for value in ("0", "65536", "http")),
    *(
        ("MONGODB_URI", value)
        for value in ("127.0.0.1:27017", "mongodb://", "mongodb://h:abc", "http://h", "mongodb://a/?w=-9")
    ),
    *(("BILLING_DATABASE", value) for value in ("a.b", "a b", "$a", "x" * 64, "a/b")),
    *(("K_SINK", value) for value in ("sink", "ftp://a/", "http://", "http://a b/")),
    *(
        ("K_SINK", value)
        for value in ("http://a:http/", "http://a:65536/", "http://:80/", "http://[::1/", "http://a..b/")
    ),
    *(
        ("AUTH_JWKS_URL", value)
        for value in (
            "keys",
            "ftp://a/",
            "https://",
            "https://a b/",
            "https://me:secret@a/",
            "https://a:0/",
            "http://a/",
        )
    ),
    ("AUTH_JWKS_URL", "http://svc.issuer.example/keys"),
    *(
        ("K_CE_OVERRIDES", value)
        for value in ("{", "null", "[]", '"x"', "5", '{"extensions": [1]}', '{"extensions": "x"}')
    ),
    *(
        ("K_CE_OVERRIDES", override(cluster=value))
        for value in ("a\nb", "a\r\nce-id: x", "\x7f", "eü", " eu", "eu ", "")
    ),
    *(("K_CE_OVERRIDES", override(**{name: "eu"})) for name in ("", "Cluster", "cl-uster", "clüster", "x" * 21)),
    *(("K_CE_OVERRIDES", override(**{name: "x"})) for name in OURS),
    *(("WEBHOOK_URLS", value) for value in ("http://a/", "a", "https://", "https://u:secret@a/", "https://a/#b")),
    *(("WEBHOOK_URLS", value) for value in ("https://a:0/", "https://a:x/", "https://a,b ftp://c", "https://a/")),
    *(("WEBHOOK_SECRETS", value) for value in ("whsec_", "secret!", "whsec_" + "b" * 28, "b" * 90)),
    *(("WEBHOOK_SECRETS", value) for value in (" ".join(["b" * 32] * 3),)),
    ("WEBHOOK_PRIVATE", "yes"),
    *(("CORS_ORIGINS", value) for value in ("*", "null", "shop.example.com", "https://shop.example.com/", "https://")),
    *(
        ("CORS_ORIGINS", value)
        for value in ("https://*.example.com", "https://Shop.example.com", "ftp://a", "https://a,")
    ),
    *(("CORS_ORIGINS", value) for value in ("https://a:443", "http://a:80", "https://a b", "https://ü.example")),
]


@pytest.mark.parametrize(("variable", "value"), WRONG)
def test_16_a_setting_that_cannot_be_right_is_refused_by_its_name(variable: str, value: str) -> None:
    """Whoever mends it knows where to look."""
    with pytest.raises(WrongSettings, match=variable):
        Settings.read({variable: value})


AUTH = {
    "AUTH_JWKS_URL": "https://issuer.example/keys",
    "AUTH_ISSUER": "https://issuer.example",
    "AUTH_AUDIENCE": "shop",
}


@pytest.mark.parametrize("given", [*([name] for name in AUTH), *([*(AUTH.keys() - {name})] for name in AUTH)])
def test_half_of_what_verifies_tokens_is_refused(given: list[str]) -> None:
    """It would let everybody in, or nobody; the message names what is missing."""
    with pytest.raises(WrongSettings) as refused:
        Settings.read({name: AUTH[name] for name in given})
    assert all((name in str(refused.value)) == (name not in given) for name in AUTH)


def test_a_claim_of_roles_alone_is_refused() -> None:
    """Whoever names it means tokens to be looked at."""
    with pytest.raises(WrongSettings, match="AUTH_JWKS_URL and AUTH_ISSUER and AUTH_AUDIENCE must be set"):
        Settings.read({"AUTH_ROLES_CLAIM": "groups"})


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:80/k", "http://localhost/k", "http://keys.auth.svc/k", "http://keys.auth.svc.cluster.local/"],
)
def test_keys_come_unencrypted_from_inside_only(url: str) -> None:
    """From this machine, and from a cluster's own names."""
    assert Settings.read({**AUTH, "AUTH_JWKS_URL": url}).auth == Auth(url, "https://issuer.example", "shop")


@pytest.mark.parametrize("overrides", ["{}", '{"extensions": null}', '{"extensions": {}}'])
def test_no_overrides_are_no_overrides(overrides: str) -> None:
    """However Knative writes that there are none."""
    assert Settings.read({"K_CE_OVERRIDES": overrides}) == Settings()


def test_16_all_that_is_wrong_is_said_at_once() -> None:
    """One start tells everything; a password in a URI is not told."""
    with pytest.raises(WrongSettings) as refused:
        Settings.read({"ARRAY_LIMIT": "abc", "PORT": "x", "MONGODB_URI": "mongodb://me:secret@h:abc"})
    text = str(refused.value)
    assert all(name in text for name in ("ARRAY_LIMIT", "PORT", "MONGODB_URI"))
    assert "secret" not in text


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "shop.serve"),
        (
            "-m",
            "functions_framework",
            "--asgi",
            "--target",
            "billing_handler",
            "--source",
            "functions/billing_handler/main.py",
        ),
    ],
    ids=["shop.serve", "functions-framework"],
)
async def test_16_a_process_with_a_wrong_setting_ends_before_it_takes_a_message(command: tuple[str, ...]) -> None:
    """It charged, emitted and answered 500 for every payment; now it says which variable is wrong, and is gone."""
    environment = {"PATH": os.environ["PATH"], "FUNCTION_TARGET": "billing_handler", "ARRAY_LIMIT": "16", "PORT": "0"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *command),
        env=environment,
        cwd=openapi.ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        told, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode != 0
    assert b"PORT must be a whole number" in told

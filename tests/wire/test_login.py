"""What the environment says of a Kafka that demands a login."""

from pathlib import Path

import pytest

from wire.login import CA, MECHANISM, PASSWORD, PROTOCOL, USERNAME, LoginError, checked, login

USER = {MECHANISM: "SCRAM-SHA-512", USERNAME: "shop", PASSWORD: "se=cr et"}


@pytest.mark.parametrize("nothing", [{}, {PROTOCOL: "", PASSWORD: ""}, {"KAFKA_BOOTSTRAP_SERVERS": "k:9092"}])
def test_without_a_word_nothing_is_said(nothing: dict[str, str]) -> None:
    """As before there was such a setting; an empty variable is none."""
    assert login(nothing) == {}


def test_each_variable_becomes_what_librdkafka_calls_it(tmp_path: Path) -> None:
    """All of them, and for each protocol those that it uses."""
    ca = tmp_path / "ca.crt"
    ca.write_text("PEM")
    credentials = {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "shop", "sasl.password": "se=cr et"}
    tls = {"ssl.ca.location": str(ca)}
    assert login({PROTOCOL: "SASL_SSL", **USER, CA: str(ca)}) == {"security.protocol": "SASL_SSL"} | credentials | tls
    assert login({PROTOCOL: "SASL_PLAINTEXT", **USER}) == {"security.protocol": "SASL_PLAINTEXT"} | credentials
    assert login({PROTOCOL: "SSL", CA: str(ca)}) == {"security.protocol": "SSL"} | tls
    assert login({PROTOCOL: "SSL"}) == {"security.protocol": "SSL"}  # the authorities that the system trusts
    assert login({PROTOCOL: "PLAINTEXT"}) == {"security.protocol": "PLAINTEXT"}


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_each_mechanism_is_taken(mechanism: str) -> None:
    """Those that Knative's KafkaSource knows."""
    assert login({PROTOCOL: "SASL_SSL", **USER, MECHANISM: mechanism})["sasl.mechanism"] == mechanism


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({PROTOCOL: "TLS"}, [f"{PROTOCOL}=TLS is not known: give PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"]),
        ({PROTOCOL: "sasl_ssl", **USER}, [f"{PROTOCOL}=sasl_ssl is not known"]),
        ({PROTOCOL: "SASL_SSL", **USER, MECHANISM: "GSSAPI"}, [f"{MECHANISM}=GSSAPI is not known: give PLAIN, "]),
        (USER, [f"{MECHANISM}, {USERNAME}, {PASSWORD}, but not {PROTOCOL}: give PLAINTEXT, "]),
        ({PROTOCOL: "SASL_SSL"}, [f"SASL_SSL, but not {MECHANISM}, {USERNAME}, {PASSWORD}: set what is missing"]),
        ({PROTOCOL: "SASL_PLAINTEXT", **USER, PASSWORD: ""}, [f"SASL_PLAINTEXT, but not {PASSWORD}: "]),
        ({PROTOCOL: "SSL", **USER}, [f"SSL makes no use of {MECHANISM}, {USERNAME}, {PASSWORD}: unset it"]),
        ({PROTOCOL: "SASL_PLAINTEXT", **USER, CA: __file__}, [f"SASL_PLAINTEXT makes no use of {CA}"]),
        ({PROTOCOL: "SSL", CA: "/no/such/file"}, [f"{CA}=/no/such/file cannot be read: No such file"]),
        ({PROTOCOL: "X", MECHANISM: "Y"}, [f"{PROTOCOL}=X is", f"{MECHANISM}=Y is"]),
        ({PROTOCOL: "SASL_SSL", CA: "/no/such/file"}, ["but not", "cannot be read"]),
    ],
)
def test_half_a_set_or_an_unknown_value_is_named_with_what_to_do(variables: dict[str, str], said: list[str]) -> None:
    """All that is wrong, at once, and never the password."""
    with pytest.raises(LoginError) as refused:
        login(variables)
    assert len(refused.value.faults) == len(said)
    for fault, part in zip(refused.value.faults, said, strict=True):
        assert part in fault
        assert fault in str(refused.value)
    assert USER[PASSWORD] not in str(refused.value)


def test_the_file_is_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The console of `make run` does not run where `make` does."""
    (tmp_path / "ca.crt").write_text("PEM")
    monkeypatch.chdir(tmp_path)
    assert checked({PROTOCOL: "SSL", CA: "ca.crt"})[CA] == str(tmp_path / "ca.crt")

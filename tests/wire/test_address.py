"""wire.address says where an address leads, and no secret."""

import pytest

from wire.address import hosts


@pytest.mark.parametrize("password", ["p", "p@ss", "p/ss", "p?ss", "p%2F", "://p"])
@pytest.mark.parametrize("rest", ["", "/", "/shop?w=1", "/?appName=a@b", "?appName=a@b/c"])
def test_a_password_is_not_shown_however_it_is_written(password: str, rest: str) -> None:
    """Those that MongoDB wants escaped, too: it says so only afterwards."""
    assert hosts(f"mongodb://ann:{password}@a:1,b:2{rest}") == "a:1,b:2"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mongodb+srv://cluster.example.org/?appName=a@b", "cluster.example.org"),
        ("mongodb://[::1]:27017", "[::1]:27017"),
        ("a:9092,b:9092", "a:9092,b:9092"),
        ("SASL_SSL://a:9092,SASL_SSL://b:9092", "a:9092,b:9092"),
        ("", ""),
    ],
)
def test_the_hosts_are_shown(address: str, shown: str) -> None:
    """Of MongoDB and of Kafka."""
    assert hosts(address) == shown

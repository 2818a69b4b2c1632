"""The token of a SinkBinding goes out with each event, and the one that replaced it soon after."""

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from shop.emission.sink import send
from shop.emission.token import CHECKED_S, Token
from shop.errors import Code, Unavailable
from shop.process import process
from shop.process.process import Process
from shop.process.settings import Settings
from tests.support.sink import Sink


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where the token is mounted, once it is."""
    return tmp_path / "oidc" / "token"


@pytest.fixture
async def sink(configure: Callable[..., None], file: Path) -> AsyncIterator[Sink]:
    """Listen where K_SINK says."""
    async with Sink() as listening:
        configure(sink=listening.url, sink_token=str(file))
        yield listening
        await process.current().close()


def mount(file: Path, text: str) -> None:
    """Replace the token as the kubelet does: a link leads to another folder from one moment to the next."""
    folder = file.parents[1] / f"..{len(list(file.parents[1].iterdir()))}"
    folder.mkdir()
    (folder / file.name).write_text(text)
    link = file.parents[1] / "new"
    link.symlink_to(folder)
    link.rename(file.parent)


async def sent(sink: Sink) -> str | None:
    """Send an event, and return its last header Authorization."""
    await send({"ce-id": "1"}, b"data")
    return sink.received[-1].header("Authorization")


async def test_without_a_token_there_is_no_header(sink: Sink) -> None:
    """As in every cluster whose Eventing authenticates nobody."""
    assert await sent(sink) is None


async def test_a_token_is_sent_with_each_event(sink: Sink, file: Path) -> None:
    """Its last line may end."""
    mount(file, "one.two.three\n")
    assert [await sent(sink), await sent(sink)] == ["Bearer one.two.three"] * 2


async def test_a_token_comes_before_a_password_of_the_url(
    sink: Sink, file: Path, configure: Callable[..., None]
) -> None:
    """Two headers would be none."""
    mount(file, "token")
    configure(sink=sink.url.replace("//", "//Pavel:a@"))
    assert await sent(sink) == "Bearer token"
    assert [name for name, _ in sink.received[-1].headers].count("Authorization") == 1
    await process.current().close()


async def test_a_refused_token_is_replaced_at_once_where_there_is_another(sink: Sink, file: Path) -> None:
    """Whatever the last look said: a 401 means that nothing was stored."""
    mount(file, "old")
    assert await sent(sink) == "Bearer old"
    mount(file, "new")
    sink.answers = [401]
    assert await sent(sink) == "Bearer new"
    assert [request.header("Authorization") for request in sink.received] == ["Bearer old", "Bearer old", "Bearer new"]


@pytest.mark.parametrize("mounted", [True, False])
@pytest.mark.parametrize(("status", "says"), [(401, "SinkBinding is ready"), (403, "EventPolicy")])
async def test_a_refusal_says_what_to_do_and_is_not_repeated(
    sink: Sink, file: Path, status: int, says: str, mounted: bool
) -> None:
    """The event waits for a resend or a retry, as in any outage of the sink."""
    if mounted:
        mount(file, "token.two")
    sink.answers = [status]
    with pytest.raises(Unavailable, match=f"the sink answered {status}: .*{says}") as error:
        await sent(sink)
    assert error.value.code is Code.SINK_UNAVAILABLE
    assert len(sink.received) == 1
    assert "token.two" not in str(error.value)


def test_the_file_is_looked_at_once_a_second_and_read_when_it_changed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come late, change, go and come back; a thousand events cost one look."""
    now, looks, stat = [0.0], [], os.stat
    monkeypatch.setattr(os, "stat", lambda path, **more: (looks.append(path), stat(path, **more))[1])

    def later() -> str:
        now[0] += CHECKED_S + 0.1
        return token.current()

    with process.running(Process(Settings(sink_token=str(file)))):
        token = Token(lambda: now[0])
        assert [token.current() for _ in range(1000)] == [""] * 1000
        assert looks.count(file) == 1
        mount(file, "first")
        assert token.current() == ""
        assert later() == "first"
        mount(file, "other")  # as long as the first
        assert token.current() == "first"
        assert later() == "other"
        (file.parent).rename(file.parents[1] / "away")
        assert later() == ""
        (file.parents[1] / "away").rename(file.parent)
        assert later() == "other"


@pytest.mark.parametrize("text", ["", "\n", "two words", "a\r\nce-id: 2", "t\u00f6ken", "x" * 16385])
async def test_what_is_no_token_is_not_sent(
    sink: Sink, file: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    """It would be another header, or none that a server reads."""
    mount(file, text)
    assert await sent(sink) is None
    assert "holds no token" in caplog.text

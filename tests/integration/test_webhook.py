"""A webhook that misbehaves: in bounded time, with an error that tells what to mend and never what the URL holds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from deliverer import webhook
from deliverer.webhook import WebhookError, post

SECRET = "hunter2"


@asynccontextmanager
async def answering(answer: bytes, *, dribble: bool = False) -> AsyncIterator[str]:
    """Run a web server with one answer, without end if it dribbles; yield a URL that holds a secret."""
    conversations: set[asyncio.Task[object]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        conversations.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            while dribble:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)  # slower than any reader, sooner than any deadline of a single read
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"http://somebody:{SECRET}@127.0.0.1:{server.sockets[0].getsockname()[1]}/{SECRET}"
    finally:
        server.close()
        for conversation in conversations:
            conversation.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "it answers 500"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            "it answers 302, which leads elsewhere: set webhook to where it leads",
        ),
        (b"220 mail.example ESMTP\r\n", "no answer that can be read: RemoteProtocolError"),
        (b"HTTP/1.1 200 " + b"x" * 200_000 + b"\r\n", "no answer that can be read: RemoteProtocolError"),
        (b"", "no answer that can be read: RemoteProtocolError"),
    ],
    ids=["refusal", "redirect", "another protocol", "endless status", "hang up"],
)
async def test_an_answer_that_is_no_yes_is_told(answer: bytes, told: str) -> None:
    """A redirect is not followed: what was posted would be lost, or land elsewhere."""
    async with answering(answer) as url:
        with pytest.raises(WebhookError) as raised:
            await post(url, {"notices": []})
    assert str(raised.value) == told


async def test_an_answer_of_an_octet_at_a_time_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline is for all of it."""
    monkeypatch.setattr(webhook, "SECONDS", 0.4)
    async with answering(b"HTTP/1.1 200 OK\r\nX-Slow: ", dribble=True) as url, asyncio.timeout(5):
        with pytest.raises(WebhookError, match="no answer in 0 s"):
            await post(url, {"notices": []})


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/hunter2", "http://a:hunter2@127.0.0.1:1x/", "https://[::hunter2]/"]
)
async def test_no_error_holds_what_the_url_holds(url: str) -> None:
    """It may hold a token in its path, or a password."""
    with pytest.raises(WebhookError) as raised:
        await post(url, {"notices": []})
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None

"""The copies that the tap makes."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from serving import wire
from serving.guard import TRAFFIC
from serving.spool import Spool
from serving.tap import Tap
from tests.serving.asgi import Answer, Headers, Upstream, ask

CHAT = "/v1/chat/completions"
SECRET: Headers = [(b"authorization", b"Bearer k"), (b"cookie", b"c=1"), (b"x-api-key", b"k")]


class Basket(Spool):
    """A spool that goes nowhere: keeps captures to look at."""

    def __init__(self, room: int = 1 << 20) -> None:
        super().__init__("", "w", room)

    def start(self) -> None:
        """Connects to nothing."""

    @property
    def captures(self) -> list[wire.Capture]:
        """What it was given."""
        return [wire.decode_capture(b"".join(pieces)[5:]) for _, pieces in self._unacked.values()]


def tapped(upstream: Any, cap: int = 1 << 20, room: int = 1 << 20) -> tuple[Tap, Basket]:
    """A tap before an app, and the basket that it fills."""
    basket = Basket(room)
    return Tap(upstream, basket, cap, b"sesame"), basket


def only(basket: Basket) -> wire.Capture:
    """The one capture."""
    (capture,) = basket.captures
    return capture


@pytest.mark.parametrize("path", sorted(TRAFFIC))
def test_a_full_exchange_is_copied(path: str) -> None:
    """Bytes pass untouched, and the copy holds them all with status, times and the allowed headers alone."""
    tap, basket = tapped(Upstream([b'{"id":"x"}'], status=201))
    headers = [*SECRET, (b"content-type", b"application/json"), (b"x-trimtab-user", b"u1")]
    answer = asyncio.run(ask(tap, path, [b'{"a":', b"1}"], headers=headers))
    assert (answer.status, answer.body) == (201, b'{"id":"x"}')
    capture = only(basket)
    assert (capture.request, capture.response, capture.status) == (b'{"a":1}', b'{"id":"x"}', 201)
    assert (capture.path, capture.method, capture.outcome, capture.seq) == (path, "POST", "complete", 1)
    assert capture.headers == {"content-type": "application/json", "x-trimtab-user": "u1"}
    assert (capture.request_cut, capture.response_cut, capture.dropped) == (0, 0, 0)


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_an_answered_error_is_complete(status: int) -> None:
    """A refusal is an answer like any other, kept with its status."""
    tap, basket = tapped(Upstream([b'{"error":1}'], status=status))
    assert asyncio.run(ask(tap, CHAT)).status == status
    assert (only(basket).status, only(basket).outcome, only(basket).response) == (status, "complete", b'{"error":1}')


def test_compressed_bytes_stay_compressed() -> None:
    """The tap reads nothing: gzip passes and is copied as it is, in both directions."""
    asks, says = gzip.compress(b'{"model":"base"}'), gzip.compress(b'{"ok":1}' * 99)
    upstream = Upstream([says[:20], says[20:]])
    tap, basket = tapped(upstream)
    answer = asyncio.run(ask(tap, CHAT, asks))
    assert (upstream.bodies, answer.body) == ([asks], says)
    assert (only(basket).request, only(basket).response) == (asks, says)


def test_a_request_without_a_body() -> None:
    """Nothing asked and nothing answered is an exchange, too."""
    tap, basket = tapped(Upstream([]))
    asyncio.run(ask(tap, CHAT, b""))
    assert (only(basket).request, only(basket).response, only(basket).marks) == (b"", b"", ())


def test_headers_are_kept_as_they_came() -> None:
    """Letters beyond ASCII and values of any length survive; a value that no frame can hold is cut."""
    long = b"x" * 70_000
    tap, basket = tapped(Upstream())
    asyncio.run(ask(tap, CHAT, headers=[(b"user-agent", b"caf\xe9"), (b"traceparent", long), (b"x-request-id", b"")]))
    kept = only(basket).headers
    assert (kept["user-agent"], kept["x-request-id"]) == ("caf\xe9", "")
    assert kept["traceparent"] == "x" * 65_534


def test_no_credential_is_anywhere_in_the_frame() -> None:
    """Whatever header carries a secret, the bytes that leave the process do not hold it."""
    secrets = (
        "authorization",
        "proxy-authorization",
        "cookie",
        "x-api-key",
        "api-key",
        "x-trimtab-token",
        "x-amz-token",
    )
    tap, basket = tapped(Upstream())
    asyncio.run(ask(tap, CHAT, headers=[(name.encode(), b"planted-" + name.encode()) for name in secrets]))
    ((_, pieces),) = basket._unacked.values()
    assert b"planted" not in b"".join(pieces)


@pytest.mark.parametrize("prompt", [10, 5000])
def test_a_frame_in_pieces_is_as_long_as_it_says(prompt: int) -> None:
    """A long request stands in its frame as it came, not copied; either way the frame is whole, its bytes counted."""
    tap, basket = tapped(Upstream([b"data: x\n\n"] * 3))
    body = json.dumps({"model": "home", "prompt": "x" * prompt}).encode()
    asyncio.run(ask(tap, CHAT, body))
    ((nbytes, pieces),) = basket._unacked.values()
    assert nbytes == sum(map(len, pieces)) == basket.held_bytes
    assert any(piece is body for piece in pieces) == (prompt > 4096)
    assert (only(basket).request, only(basket).response) == (body, b"data: x\n\n" * 3)


def test_a_stream_beyond_the_cap_costs_no_more_memory() -> None:
    """An endless answer keeps streaming to the client; the copy stops growing, marks included."""
    tap, basket = tapped(Upstream([b"data: x\n\n"] * 3000), cap=100)
    answer = asyncio.run(ask(tap, CHAT))
    assert len(answer.body) == 27_000
    assert (len(only(basket).response), only(basket).response_cut) == (100, 26_900)
    assert len(only(basket).marks) == 12


def test_a_message_that_is_no_asgi_stays_the_apps_affair() -> None:
    """What the tap cannot read passes on; the fault is counted, and the exchange still ends."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": 7, "more_body": True})
        await send({"type": "http.response.body", "body": b"end"})

    tap, basket = tapped(app)
    asyncio.run(ask(tap, CHAT))
    assert (only(basket).outcome, only(basket).response, basket.faults) == ("complete", b"end", 1)


def test_a_stream_keeps_its_marks() -> None:
    """Each event leaves when and how long; the lengths add up and the times only grow."""
    tap, basket = tapped(Upstream([b"data: 1\n\n", b"data: 22\n\n", b"data: [DONE]\n\n"]))
    answer = asyncio.run(ask(tap, CHAT))
    capture = only(basket)
    assert capture.response == answer.body == b"data: 1\n\ndata: 22\n\ndata: [DONE]\n\n"
    assert [n for _, n in capture.marks] == [9, 10, 14]
    offsets = [at for at, _ in capture.marks]
    assert offsets == sorted(offsets)
    assert offsets[-1] <= capture.total_us


def test_the_alias_rides_along() -> None:
    """What the alias layer chose stands in the copy."""
    tap, basket = tapped(Upstream())
    asyncio.run(ask(tap, CHAT, trimtab=("home", "home-v1")))
    assert (only(basket).alias, only(basket).version) == ("home", "home-v1")


@pytest.mark.parametrize(
    ("path", "method"), [("/v1/models", "POST"), ("/health", "GET"), (CHAT, "GET"), (CHAT, "HEAD"), (CHAT, "OPTIONS")]
)
def test_other_requests_are_ignored(path: str, method: str) -> None:
    """Only POSTs of traffic paths are exchanges."""
    tap, basket = tapped(Upstream())
    asyncio.run(ask(tap, path, method=method))
    assert (basket.captures, basket.seq) == ([], 0)


def test_lifespan_and_websocket_pass() -> None:
    """What is no HTTP request passes through."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    tap, basket = tapped(app)
    for kind in ("lifespan", "websocket"):
        asyncio.run(tap({"type": kind}, None, None))  # type: ignore[arg-type]
    assert (seen, basket.seq) == (["lifespan", "websocket"], 0)


@pytest.mark.parametrize(
    ("headers", "captured"),
    [
        ([(b"x-trimtab-internal", b"1"), (b"x-trimtab-token", b"sesame")], 0),
        ([(b"x-trimtab-token", b"sesame"), (b"x-trimtab-internal", b"1")], 0),
        ([(b"x-trimtab-internal", b"1"), (b"authorization", b"Bearer sesame")], 0),
        ([(b"x-trimtab-internal", b"1")], 1),
        ([(b"x-trimtab-internal", b"1"), (b"x-trimtab-token", b"wrong")], 1),
        ([(b"x-trimtab-token", b"sesame")], 1),
    ],
)
def test_only_trimtabs_own_requests_go_unseen(headers: Headers, captured: int) -> None:
    """A client cannot hide from the capture by a header alone; the token must come with it."""
    tap, basket = tapped(Upstream())
    asyncio.run(ask(tap, CHAT, headers=headers))
    assert len(basket.captures) == captured


@pytest.mark.parametrize("size", [9, 10, 11, 35])
def test_huge_bodies_are_cut_and_the_cut_is_counted(size: int) -> None:
    """The copy holds at most the cap of each body, the client gets all, and copied plus cut is what passed."""
    body = bytes(range(size))
    chunks = [body[i : i + 4] for i in range(0, size, 4)]
    upstream = Upstream(chunks)
    tap, basket = tapped(upstream, cap=10)
    answer = asyncio.run(ask(tap, CHAT, chunks))
    assert (answer.body, upstream.bodies) == (body, [body])
    capture = only(basket)
    assert (capture.request, capture.response) == (body[:10], body[:10])
    assert capture.request_cut == capture.response_cut == max(0, size - 10)
    assert sum(n for _, n in capture.marks) == len(capture.response)


async def leaves_in_stream(app: Tap) -> Answer:
    """Goes when the first chunk has arrived."""
    return await ask(app, CHAT, send_fails_at=2)


async def leaves_in_request(app: Tap) -> Answer:
    """Goes before the body is whole."""
    return await ask(app, CHAT, [b"{", b"}"], gone_after=1)


@pytest.mark.parametrize("leaves", [leaves_in_stream, leaves_in_request])
def test_a_client_that_leaves(leaves: Callable[[Tap], Awaitable[Answer]]) -> None:
    """A client that goes in the midst is told apart, and what passed until then is kept."""
    tap, basket = tapped(Upstream([b"one", b"two"]))

    async def go() -> None:
        with contextlib.suppress(OSError):
            await leaves(tap)

    asyncio.run(go())
    assert only(basket).outcome == "client_gone"
    assert only(basket).response in (b"one", b"")


def test_the_null_answer_of_a_client_that_left() -> None:
    """The engine answers 200 with `null` when the client left before a full answer: that is no answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        await Upstream([b"null"])(scope, lambda: asyncio.sleep(0, {"type": "http.request"}), send)

    tap, basket = tapped(app)
    asyncio.run(ask(tap, CHAT))
    assert (only(basket).status, only(basket).response, only(basket).outcome) == (200, b"null", "client_gone")


def test_a_stream_that_stops_without_its_end() -> None:
    """An app that returns in the midst of an answer has not completed it."""
    tap, basket = tapped(Upstream([b"one"], ends=False))
    asyncio.run(ask(tap, CHAT))
    assert only(basket).outcome == "error"


def test_an_app_that_raises_is_seen_to_raise() -> None:
    """The tap hides no error, and keeps the exchange as an error."""

    def fail(i: int) -> None:
        if i == 1:
            raise RuntimeError("boom")

    tap, basket = tapped(Upstream([b"one", b"two"], before=fail))
    with pytest.raises(RuntimeError, match="boom"):
        asyncio.run(ask(tap, CHAT))
    assert (only(basket).outcome, only(basket).response) == ("error", b"one")


def test_a_full_spool_drops_and_counts() -> None:
    """The newest exchange is dropped, takes its number, and the next copy says how many were."""
    tap, basket = tapped(Upstream(), room=1500)
    for size in (1, 4000, 1):
        asyncio.run(ask(tap, CHAT, b"x" * size))
    assert [(c.seq, c.dropped) for c in basket.captures] == [(1, 0), (3, 1)]
    assert (basket.seq, basket.dropped) == (3, 1)


def test_a_fault_of_the_tap_stays_in_the_tap() -> None:
    """A copy that cannot be packed is lost and counted; the client notices nothing."""
    tap, basket = tapped(Upstream())
    answer = asyncio.run(ask(tap, CHAT, trimtab=("home", 7)))
    assert answer.body == b'{"ok":true}'
    assert (basket.captures, basket.seq, basket.dropped, basket.faults) == ([], 1, 1, 1)

"""JSON lines must come in whole, once, and be refused by the line."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from sqlalchemy.exc import OperationalError

from agent.intake.attach.lines import MAX_LINES, read_lines
from agent.intake.attach.offer import Refused
from agent.intake.redact import Redactor
from agent.origin import origin
from agent.types import Exchange, Features, InvalidInput, Message, Outcome
from agent.web import attach as web
from tests.agent.intake.attach.reception import START, Reception, lines

LONG = {
    "id": "shop-1",
    "timestamp": "2026-01-31T12:00:00+02:00",
    "request": {"model": "home", "stream": True, "messages": [{"role": "user", "content": "Where is my parcel?"}]},
    "response": {
        "id": "chatcmpl-7",
        "model": "home-v3",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Nearby."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2},
    },
    "user": "ann",
    "conversation": "c1",
    "latency_s": 1.25,
    "ttft_s": 0.5,
}
SHORT = {"prompt": "Lights on", "response": "Done."}
ANTHROPIC = {
    "request": {"model": "home", "system": "Be brief.", "messages": [{"role": "user", "content": "Hi"}]},
    "response": {
        "id": "msg_1",
        "type": "message",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 1},
    },
}
DISK_FULL = OperationalError("insert", {}, sqlite3.OperationalError("database or disk is full"))


def test_a_long_line_becomes_the_exchange_a_tap_would_have_made(reception: Reception) -> None:
    """All that the bodies and the line say must be found in the exchange."""
    assert reception.hand_in(LONG, source="shop") == {"stored": 1, "duplicates": 0, "refused": []}
    (e,) = reception.stored()
    assert (e.id, e.worker, e.seq, e.path) == ("shop-1", "attach-shop", 1, "/v1/chat/completions")
    assert (e.alias, e.version, e.status, e.outcome) == ("home", "home-v3", 200, Outcome.COMPLETE)
    assert (e.messages, e.answer) == ((Message(role="user", text="Where is my parcel?"),), "Nearby.")
    assert e.started_at.isoformat() == "2026-01-31T10:00:00+00:00"
    assert (e.total_s, e.ttft_s, e.streamed, e.finish_reason) == (1.25, 0.5, True, "stop")
    assert (e.prompt_tokens, e.answer_tokens) == (9, 2)
    assert e.user == reception.redactor.hash("ann")
    assert e.conversation == reception.redactor.hash("c1")
    assert e.profiled


def test_a_short_line_is_enough(reception: Reception) -> None:
    """Two texts must make an exchange of the agent's own alias, now."""
    reception.hand_in(SHORT, {**SHORT, "alias": "office", "version": "office-v2", "template": "t"})
    first, second = reception.stored()
    assert (origin(first), origin(second)) == (None, "t")  # nobody knows the system message of two texts
    assert (first.prompt, first.answer, first.alias, first.version) == ("Lights on", "Done.", "home", "home")
    assert first.started_at == START
    assert (second.alias, second.version) == ("office", "office-v2")


@pytest.mark.parametrize(
    ("line", "path", "prompt", "answer"),
    [
        (ANTHROPIC, "/v1/messages", "Hi", "Hello"),
        (
            {"request": {"prompt": "Once"}, "response": {"choices": [{"text": " upon"}]}},
            "/v1/completions",
            "Once",
            " upon",
        ),
        (
            {
                "request": {"input": "Say hi"},
                "response": {
                    "object": "response",
                    "status": "completed",
                    "output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}],
                },
            },
            "/v1/responses",
            "Say hi",
            "hi",
        ),
        ({**ANTHROPIC, "path": "/v1/messages?beta=true"}, "/v1/messages", "Hi", "Hello"),
    ],
)
def test_the_bodies_show_which_api_was_spoken(
    reception: Reception, line: dict[str, Any], path: str, prompt: str, answer: str
) -> None:
    """A line without a path must be read in the form that its bodies have."""
    reception.hand_in(line)
    (e,) = reception.stored()
    assert (e.path, e.prompt, e.answer) == (path, prompt, answer)


def test_the_same_batch_again_stores_nothing(reception: Reception) -> None:
    """A sender that got no answer may send the batch again, whether its lines have ids or not."""
    batch = (LONG, SHORT, SHORT, ANTHROPIC, {**SHORT, "timestamp": 5})
    assert reception.hand_in(*batch)["stored"] == 5
    assert reception.hand_in(*batch) == {"stored": 0, "duplicates": 5, "refused": []}
    assert len(reception.stored()) == 5


def test_an_id_is_stored_once_whichever_way_it_came(reception: Reception) -> None:
    """A second line of the same id, another source's, and a tap's exchange must all count as the same one."""
    assert reception.hand_in(LONG, LONG)["duplicates"] == 1
    assert reception.hand_in(LONG, source="other")["duplicates"] == 1
    reception.store.add_exchanges([_of_a_tap(reception.stored()[0], "chatcmpl-9")])
    assert reception.hand_in({**SHORT, "id": "chatcmpl-9"})["duplicates"] == 1


def _of_a_tap(like: Exchange, name: str) -> Exchange:
    values = {key: getattr(like, key) for key in like.__dataclass_fields__}
    return Exchange(**{**values, "id": name, "worker": "f" * 32, "seq": 1})


def test_a_line_with_a_timestamp_is_known_in_any_batch(reception: Reception) -> None:
    """Shippers batch anew when they try again; equal lines of one batch are still two exchanges."""
    stamped = {**SHORT, "timestamp": "2026-01-01T00:00:00Z"}
    assert reception.hand_in(stamped, stamped)["stored"] == 2
    assert reception.hand_in(SHORT, stamped) == {"stored": 1, "duplicates": 1, "refused": []}


def test_the_numbers_of_a_source_have_no_gaps_and_survive_a_restart(reception: Reception) -> None:
    """Lost = numbered - stored must stay zero over refusals, duplicates, faults and another process."""
    reception.hand_in(SHORT, {"prompt": "x"}, LONG, LONG, source="a")
    again = Reception(reception.folder)
    again.hand_in(LONG, {**SHORT, "id": "n"}, source="a")
    again.hand_in({**SHORT, "id": "m"}, source="b")
    numbers = {(e.worker, e.seq) for e in again.stored()}
    again.store.close()
    assert numbers == {("attach-a", 1), ("attach-a", 2), ("attach-a", 3), ("attach-b", 1)}
    assert reception.store.capture_counts()["assigned"] == 4
    assert reception.store.capture_counts()["lost"] == 0


def test_bad_lines_are_named_and_the_others_stored(reception: Reception) -> None:
    """One bad line must not cost its neighbours, and the sender must learn which and why."""
    body = lines(SHORT) + b"{not json\n\n" + lines({"prompt": "a"}, {**LONG, "latency_s": -1}, SHORT)
    said = reception.post("/v1/exchanges", body).json()
    assert said["stored"] == 2
    assert [r["line"] for r in said["refused"]] == [2, 4, 5]
    assert all(r["why"] and "\n" not in r["why"] for r in said["refused"])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[1]", "JSON array"),
        ('{"prompt": "a"}', "response is missing"),
        ('{"request": {}}', "response is missing"),
        ('{"response": {}}', "request is missing"),
        ('{"request": {}, "response": "text"}', "neither form"),
        ('{"prompt": ["a"], "response": "b"}', "neither form"),
        ('{"prompt": "a", "response": "b", "timestamp": "yesterday"}', "timestamp is no time"),
        ('{"prompt": "a", "response": "b", "timestamp": "2026-01-01T00:00:00"}', "no zone"),
        ('{"prompt": "a", "response": "b", "timestamp": 1767225600000}', "seconds since 1970"),
        ('{"prompt": "a", "response": "b", "timestamp": NaN}', "timestamp is no time"),
        ('{"prompt": "a", "response": "b", "timestamp": true}', "timestamp is no time"),
        (f'{{"prompt": "a", "response": "b", "timestamp": 1{"0" * 400}}}', "seconds since 1970"),
        ('{"prompt": "a", "response": "b", "latency_s": "1"}', "latency_s must be"),
        (f'{{"prompt": "a", "response": "b", "latency_s": 1{"0" * 400}}}', "latency_s must be"),
        ('{"prompt": "a", "response": "b", "ttft_s": 1e99}', "ttft_s must be"),
        ('{"prompt": "a", "response": "b", "status": 99}', "status must be"),
        ('{"prompt": "a", "response": "b", "path": "chat"}', "path must be"),
        ('{"prompt": "a", "response": "b", "id": {"a": 1}}', "id must be"),
        ('{"prompt": "a", "response": "b", "user": []}', "user must be"),
        ('{"request": {}, "response": {}}', "holds any text"),
        ('{"request": {"messages": 7}, "response": {"choices": 7}}', "holds any text"),
    ],
)
def test_every_refusal_says_what_to_write(reception: Reception, line: str, says: str) -> None:
    """Each kind of bad line must be refused with its own sentence, and nothing stored for it."""
    answer = reception.post("/v1/exchanges", f'{{"prompt": "ok", "response": "ok"}}\n{line}\n')
    (refused,) = answer.json()["refused"]
    assert refused["line"] == 2
    assert says in refused["why"]
    assert len(reception.stored()) == 1


def test_a_line_nested_almost_too_deep_costs_only_itself(reception: Reception) -> None:
    """Whatever the depth at which reading, writing or looking gives up, it is that line that is refused."""
    deep = [f'{{"request": {{"messages": {"[" * n}{"]" * n}}}, "response": {{}}}}' for n in range(900, 1001)]
    answer = reception.post("/v1/exchanges", "\n".join([*deep, json.dumps(SHORT)]))
    assert (answer.status_code, answer.json()["stored"]) == (200, 1)
    assert len({refused["line"] for refused in answer.json()["refused"]}) == 100


@pytest.mark.parametrize("body", [b"", b" \n\n", b"hello", b"[]", b"{", b"\xff\xfe", b'"a"\n"b"', b"[" * 100_000])
def test_what_is_no_json_lines_is_a_bad_request(reception: Reception, body: bytes) -> None:
    """A body without one object must be refused whole, in one sentence."""
    answer = reception.post("/v1/exchanges", body)
    assert answer.status_code == 400
    assert "\n" not in answer.json()["error"]
    assert reception.stored() == []


def test_gzip_is_unpacked_and_bounded(reception: Reception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed bodies must be read, in several members too; bombs and broken ones refused."""
    packed = gzip.compress(lines(SHORT)) + gzip.compress(lines(LONG))
    assert reception.post("/v1/exchanges", packed, content_encoding="gzip").json()["stored"] == 2
    for bad in (packed[:-9], b"no gzip", packed[:5]):
        assert reception.post("/v1/exchanges", bad, content_encoding="gzip").status_code == 400
    monkeypatch.setattr(web, "MAX_BODY_BYTES", 2**20)
    bomb = gzip.compress(b" " * 2**22)
    assert reception.post("/v1/exchanges", bomb, content_encoding="gzip").status_code == 413
    assert reception.post("/v1/exchanges", gzip.compress(b"") * 101, content_encoding="gzip").status_code == 400
    assert reception.post("/v1/exchanges", packed, content_encoding="br").status_code == 415


def test_a_body_too_large_is_not_read_to_its_end(reception: Reception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a length that is announced nor a stream that does not say may fill the memory."""
    monkeypatch.setattr(web, "MAX_BODY_BYTES", 1000)
    read = 0

    async def endless() -> Any:
        nonlocal read
        while True:
            read += 100
            yield b" " * 100

    assert reception.post("/v1/exchanges", endless()).status_code == 413
    assert read < 3000
    assert reception.post("/v1/exchanges", b" " * 1001).status_code == 413


def test_too_many_lines_are_refused_at_once(reception: Reception) -> None:
    """A body of nothing but line ends must not keep the agent busy."""
    answer = reception.post("/v1/exchanges", b"1\n" * (MAX_LINES + 1))
    assert answer.status_code == 400
    assert "smaller batches" in answer.json()["error"]


def test_many_refusals_are_counted_and_the_first_told(reception: Reception) -> None:
    """An answer must stay small, however bad the batch."""
    said = reception.hand_in(SHORT, *({"prompt": "x"} for _ in range(250)))
    assert (len(said["refused"]), said["refused_in_all"]) == (100, 250)


@pytest.mark.parametrize("source", ["", "a b", "../x", "x" * 41, "é"])
def test_a_source_is_a_short_name(reception: Reception, source: str) -> None:
    """The name of a source ends in the database: it must be a plain one."""
    assert reception.post(f"/v1/exchanges?source={source}", lines(SHORT)).status_code == 400


@pytest.mark.parametrize(
    ("given", "status"),
    [({}, 401), ({"authorization": "Bearer wrong"}, 401), ({"authorization": "Basic c2VjcmV0"}, 401),
     ({"authorization": "Bearer é"}, 401), ({"authorization": "bearer secret"}, 200)],
)  # fmt: skip
def test_a_token_closes_the_door(tmp_path: Path, given: dict[str, str], status: int) -> None:
    """With a token set, nobody without it may hand in anything, and nothing of the body may be read."""
    reception = Reception(tmp_path, token="secret")
    body = lines(SHORT)
    answer = reception.post("/v1/exchanges", body, **given) if "é" not in str(given) else _raw(reception, body)
    assert answer.status_code == status
    assert len(reception.stored()) == (status == 200)
    reception.store.close()


def _raw(reception: Reception, body: bytes) -> Any:
    """A token that is not ASCII, as bytes."""

    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app=reception.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
            return await client.post("/v1/exchanges", content=body, headers=[(b"authorization", b"Bearer \xe9")])

    return asyncio.run(go())


def test_a_full_store_is_said_and_the_batch_may_come_again(reception: Reception) -> None:
    """A store that takes nothing must give 503, keep nothing of the batch, and take it later, once."""
    reception.fault = lambda batch: DISK_FULL
    answer = reception.post("/v1/exchanges", lines(SHORT, LONG))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert reception.stored() == []
    reception.fault = lambda batch: None
    assert reception.post("/v1/exchanges", lines(SHORT, LONG)).json()["stored"] == 2
    assert reception.store.capture_counts()["lost"] == 0


def test_a_store_that_fills_up_midway_keeps_whole_exchanges_only(
    reception: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a long batch the part before the fault may stay; sent again, only the rest is stored."""
    monkeypatch.setattr("agent.intake.attach.desk.OFFERS_AT_ONCE", 2)
    batch = [{**SHORT, "id": f"n{n}"} for n in range(5)]
    reception.fault = lambda part: DISK_FULL if part[0].id == "n2" else None
    assert reception.post("/v1/exchanges", lines(*batch)).status_code == 503
    reception.fault = lambda part: None
    assert reception.hand_in(*batch) == {"stored": 3, "duplicates": 2, "refused": []}
    assert [e.seq for e in reception.stored()] == [1, 2, 3, 4, 5]


def test_more_batches_than_it_can_hold_are_sent_away(reception: Reception) -> None:
    """While four batches are under way the fifth must get 429 at once, and later be welcome."""
    gate = threading.Event()
    reception.fault = lambda batch: None if gate.wait(10) else DISK_FULL

    async def crowd() -> tuple[httpx.Response, list[int]]:
        transport = httpx.ASGITransport(app=reception.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
            batches = [lines({**SHORT, "id": f"b{n}"}) for n in range(web.MAX_BATCHES + 1)]
            asked = [asyncio.create_task(client.post("/v1/exchanges", content=batch)) for batch in batches]
            (first,), others = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            gate.set()
            return first.result(), [answer.status_code for answer in await asyncio.gather(*others)]

    sent_away, others = asyncio.run(crowd())
    assert (sent_away.status_code, sent_away.headers["retry-after"]) == (429, "2")
    assert others == [200] * web.MAX_BATCHES
    assert reception.hand_in({**SHORT, "id": "later"})["stored"] == 1


def test_slow_senders_keep_nobody_out(reception: Reception) -> None:
    """However many dawdle over their bodies, a whole batch is taken; and what all have sent together is bounded."""

    async def crowd() -> tuple[int, list[int]]:
        end = asyncio.Event()

        async def dawdle() -> Any:
            yield b" "
            await end.wait()
            yield lines(SHORT)

        transport = httpx.ASGITransport(app=reception.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
            slow = [asyncio.create_task(client.post("/v1/exchanges", content=dawdle())) for _ in range(web.MAX_BATCHES)]
            await asyncio.sleep(0.05)
            quick = await client.post("/v1/exchanges", content=lines({**SHORT, "id": "quick"}))
            end.set()
            return quick.status_code, [answer.status_code for answer in await asyncio.gather(*slow)]

    assert asyncio.run(crowd()) == (200, [200] * web.MAX_BATCHES)


def test_all_bodies_together_are_bounded(reception: Reception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that would take more than the room for all of them is told to come again, and leaves its room behind."""
    monkeypatch.setattr(web, "MAX_HELD_BYTES", 200)
    assert [reception.post("/v1/exchanges", b" " * 201).status_code for _ in range(2)] == [429, 429]
    assert [reception.hand_in({**SHORT, "id": name})["stored"] for name in "abcd"] == [1] * 4


SECRETS = ("ann@example.com", "4111 1111 1111 1111", "sk-abcdefghijklmnop1234", "DE89370400440532013000", "Moonbase")


def test_planted_secrets_do_not_reach_the_disk(reception: Reception) -> None:
    """No key of a line, known or not, may carry a secret past redaction into the database or the answer."""
    secret = " ".join(SECRETS)
    answers = [
        reception.post(
            "/v1/exchanges",
            lines(
                {"id": secret, "prompt": secret, "response": secret, "alias": secret, "version": secret,
                 "user": secret, "conversation": secret, "path": f"/{secret}", "extra": secret, "status": 500},
                {**LONG, "id": None, "request": {"model": secret, "user": secret, "metadata": {"template": secret},
                 "messages": [{"role": secret, "content": [{"type": "text", "text": secret}]}]},
                 "response": {"id": f"x {secret}", "model": secret, "choices": [{"message": {"content": secret,
                 "reasoning_content": secret, "tool_calls": [{"function": {"name": secret, "arguments": secret}}]},
                 "finish_reason": secret}]}},
                {"prompt": secret, "response": 7},
                {"prompt": "a", "response": "b", "timestamp": secret},
                {"prompt": "a", "response": "b", secret: secret},
            ),
        ).text
    ]  # fmt: skip
    assert len(reception.stored()) == 3
    kept = reception.bytes_on_disk().decode("utf-8", "replace") + "".join(answers)
    assert [s for s in SECRETS if s.lower() in kept.lower()] == []


class Broken(Redactor):
    """A redactor that cannot look at texts."""

    def text(self, text: str) -> str:
        """Fail."""
        raise RuntimeError(text)


def test_a_redactor_that_fails_lets_no_text_through(tmp_path: Path) -> None:
    """What cannot be redacted must be counted without text, and still be stored only once."""
    reception = Reception(tmp_path, redactor=Broken())
    assert reception.hand_in(LONG, SHORT)["stored"] == 2
    assert reception.hand_in(LONG, SHORT)["duplicates"] == 2
    for e in reception.stored():
        assert (e.outcome, e.answer, e.messages, e.alias) == (Outcome.UNREADABLE, "", (), "")
        assert "shop" not in e.id
    assert b"parcel" not in reception.bytes_on_disk()
    reception.store.close()


def test_without_texts_both_doors_bring_numbers_alone(tmp_path: Path) -> None:
    """With `capture.text = none` features must come in, no word of question or answer, and still only once."""
    measured = Features(exchange_id="", numbers={"answer_chars": 7.0}, labels={})
    reception = Reception(tmp_path, redactor=Redactor(measure=lambda exchange: measured))
    span = ExportTraceServiceRequest()
    call = span.resource_spans.add().scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    call.start_time_unix_nano, call.end_time_unix_nano = 10**18, 10**18 + 1
    for key, text in (("openinference.span.kind", "LLM"), ("input.value", "parcel"), ("output.value", "Nearby.")):
        call.attributes.add(key=key).value.string_value = text
    for _ in range(2):
        reception.hand_in(LONG)
        reception.doors.traces(span.SerializeToString(), as_json=False)
    by_line, by_span = reception.stored()
    for e in (by_line, by_span):
        assert (e.messages, e.answer, e.has_text) == ((), "", False)
        assert e.features is not None
        assert e.features.numbers == measured.numbers
    assert (by_line.alias, by_line.prompt_tokens, by_line.ttft_s) == ("home", 9, 0.5)
    kept = reception.bytes_on_disk()
    assert b"parcel" not in kept
    assert b"Nearby" not in kept
    reception.store.close()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = ("id", "timestamp", "request", "response", "prompt", "path", "alias", "user", "latency_s", "ttft_s", "status")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(KEYS), json_values) | json_values, min_size=1, max_size=4))
def test_no_json_breaks_the_reader(documents: list[Any]) -> None:
    """Whatever JSON comes, each line must be offered or refused with its number; or the whole is InvalidInput."""
    body = b"".join(json.dumps(d).encode() + b"\n" for d in documents)
    try:
        read = list(read_lines(body, 0.0))
    except InvalidInput:
        assert not any(isinstance(d, dict) for d in documents)
        return
    assert [item.at for item in read] == list(range(1, len(documents) + 1))
    assert all(isinstance(item, Refused) or item.id for item in read)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(body: bytes) -> None:
    """Bytes of any kind must be read or refused."""
    with contextlib.suppress(InvalidInput):
        list(read_lines(body, 0.0))


def test_a_line_from_the_future_is_refused(reception: Reception) -> None:
    """A date that anybody can claim moves nothing that goes by age."""
    said = reception.hand_in({**SHORT, "timestamp": "9999-01-01T00:00:00Z"}, SHORT)
    assert (said["stored"], said["refused"][0]["line"], "ahead" in said["refused"][0]["why"]) == (1, 1, True)

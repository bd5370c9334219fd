"""Spans of model calls must become exchanges, whichever convention and encoding they come in."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from agent.intake.attach import otlp
from agent.intake.attach.genai import path_of
from agent.types import Exchange, InvalidInput, Message, Outcome
from tests.agent.intake.attach.reception import Reception
from tests.agent.intake.attach.test_lines import DISK_FULL, SECRETS, Broken

PROTOBUF = "application/x-protobuf"
CALL: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "home",
    "gen_ai.response.model": "home-v3",
    "gen_ai.response.id": "chatcmpl-7",
    "gen_ai.usage.input_tokens": 9,
    "gen_ai.usage.output_tokens": 2,
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.response.time_to_first_chunk": 0.25,
    "gen_ai.conversation.id": "c1",
    "user.id": "ann",
}
ASKED = [
    {"role": "user", "parts": [{"type": "text", "content": "Weather in Paris?"}]},
    {"role": "assistant", "parts": [{"type": "tool_call", "id": "c", "name": "weather", "arguments": {"at": "Paris"}}]},
    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c", "result": "rainy"}]},
]
ANSWERED = [{"role": "assistant", "parts": [{"type": "text", "content": "Rainy."}], "finish_reason": "stop"}]
SYSTEM = [{"type": "text", "content": "Be brief."}]
NOW_FORM: dict[str, Any] = {
    **CALL,
    "gen_ai.input.messages": json.dumps(ASKED),
    "gen_ai.output.messages": json.dumps(ANSWERED),
    "gen_ai.system_instructions": json.dumps(SYSTEM),
}
START_NS = 1_767_225_600_000_000_000
TRACE, SPAN = "5B8EFFF798038103D269B633813FC60C", "EEE19B7EC3C1B174"


def fill(value: AnyValue, given: Any) -> None:
    """A Python value as OTLP's AnyValue."""
    if isinstance(given, bool):
        value.bool_value = given
    elif isinstance(given, int):
        value.int_value = given
    elif isinstance(given, float):
        value.double_value = given
    elif isinstance(given, str):
        value.string_value = given
    elif isinstance(given, list):
        value.array_value.SetInParent()
        for item in given:
            fill(value.array_value.values.add(), item)
    elif isinstance(given, dict):
        value.kvlist_value.SetInParent()
        for key, item in given.items():
            pair = value.kvlist_value.values.add(key=key)
            fill(pair.value, item)


def request_of(
    attributes: dict[str, Any], events: list[tuple[str, dict[str, Any]]] | None = None, **more: Any
) -> ExportTraceServiceRequest:
    """One span in a request."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id = bytes.fromhex(TRACE), bytes.fromhex(SPAN)
    span.start_time_unix_nano, span.end_time_unix_nano = START_NS, START_NS + 1_500_000_000
    for key, item in attributes.items():
        fill(span.attributes.add(key=key).value, item)
    for name, inner in events or []:
        event = span.events.add(name=name)
        for key, item in inner.items():
            fill(event.attributes.add(key=key).value, item)
    for key, item in more.items():
        if key == "failed":
            span.status.code = 2
        else:
            setattr(span, key, item)
    return request


def hand_in(reception: Reception, request: ExportTraceServiceRequest) -> ExportTraceServiceResponse:
    """Spans in protobuf, which must be answered with 200 in protobuf."""
    answer = reception.post("/v1/traces", request.SerializeToString(), content_type=PROTOBUF)
    assert answer.status_code == 200, answer.content
    assert answer.headers["content-type"] == PROTOBUF
    said: ExportTraceServiceResponse = ExportTraceServiceResponse.FromString(answer.content)
    return said


def only(reception: Reception) -> Exchange:
    """The one exchange that is stored."""
    (exchange,) = reception.stored()
    return exchange


def test_a_span_in_the_present_form_becomes_an_exchange(reception: Reception) -> None:
    """Names, texts, tools, counts and times must be found where the conventions put them."""
    said = hand_in(reception, request_of(NOW_FORM))
    assert not said.HasField("partial_success")
    e = only(reception)
    assert (e.id, e.worker, e.alias, e.version) == ("chatcmpl-7", "attach-otlp", "home", "home-v3")
    assert e.messages == (
        Message(role="system", text="Be brief."),
        Message(role="user", text="Weather in Paris?"),
        Message(role="assistant", text='weather({"at":"Paris"})'),
        Message(role="tool", text="rainy"),
    )
    assert (e.answer, e.finish_reason, e.prompt_tokens, e.answer_tokens) == ("Rainy.", "stop", 9, 2)
    assert (e.started_at.timestamp() * 1e9, e.total_s, e.ttft_s, e.streamed) == (START_NS, 1.5, 0.25, True)
    assert (e.user, e.conversation) == (reception.redactor.hash("ann"), reception.redactor.hash("c1"))
    assert e.profiled


FORMS: dict[str, tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]] = {
    "structured": (
        {"gen_ai.operation.name": "chat", "gen_ai.input.messages": ASKED[:1], "gen_ai.output.messages": ANSWERED},
        [],
    ),
    "details event": (
        {"gen_ai.operation.name": "generate_content"},
        [
            (
                "gen_ai.client.inference.operation.details",
                {"gen_ai.input.messages": ASKED[:1], "gen_ai.output.messages": ANSWERED},
            )
        ],
    ),
    "message events": (
        {"gen_ai.operation.name": "chat"},
        [
            ("gen_ai.user.message", {"content": "Weather in Paris?"}),
            (
                "gen_ai.choice",
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": json.dumps({"content": "Rainy.", "role": "assistant"}),
                },
            ),
        ],
    ),
    "events with a body": (
        {"gen_ai.operation.name": "chat"},
        [
            ("gen_ai.user.message", {"gen_ai.event.content": json.dumps({"content": "Weather in Paris?"})}),
            (
                "gen_ai.choice",
                {"gen_ai.event.content": json.dumps({"finish_reason": "stop", "message": {"content": "Rainy."}})},
            ),
        ],
    ),
    "content events": (
        {"gen_ai.system": "openai", "gen_ai.request.model": "home"},
        [
            (
                "gen_ai.content.prompt",
                {"gen_ai.prompt": json.dumps([{"role": "user", "content": "Weather in Paris?"}])},
            ),
            (
                "gen_ai.content.completion",
                {"gen_ai.completion": json.dumps([{"role": "assistant", "content": "Rainy."}])},
            ),
        ],
    ),
    "bare content events": (
        {"gen_ai.request.model": "home"},
        [
            ("gen_ai.content.prompt", {"gen_ai.prompt": "Weather in Paris?"}),
            ("gen_ai.content.completion", {"gen_ai.completion": "Rainy."}),
        ],
    ),
    "traceloop": (
        {
            "llm.request.type": "chat",
            "gen_ai.prompt.0.role": "user",
            "gen_ai.prompt.0.content": "Weather in Paris?",
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.content": "Rainy.",
            "gen_ai.completion.0.finish_reason": "stop",
        },
        [],
    ),
    "openinference": (
        {
            "openinference.span.kind": "LLM",
            "llm.model_name": "home",
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.contents.0.message_content.type": "text",
            "llm.input_messages.0.message.contents.0.message_content.text": "Weather in Paris?",
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.content": "Rainy.",
            "llm.token_count.prompt": 9,
        },
        [],
    ),
    "openinference values": (
        {"openinference.span.kind": "LLM", "input.value": "Weather in Paris?", "output.value": "Rainy."},
        [],
    ),
    "text completion": (
        {
            "gen_ai.operation.name": "text_completion",
            "gen_ai.prompt": "Weather in Paris?",
            "gen_ai.completion": "Rainy.",
        },
        [],
    ),
    "roles of frameworks": (
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.input.messages": json.dumps([{"role": "Human", "parts": ASKED[0]["parts"]}]),
            "gen_ai.output.messages": json.dumps([{"role": "AI", "parts": ANSWERED[0]["parts"]}]),
        },
        [],
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_convention_that_is_in_use_is_read(reception: Reception, form: str) -> None:
    """The same question and answer must be found wherever an instrumentation writes them."""
    said = hand_in(reception, request_of(*FORMS[form]))
    assert not said.HasField("partial_success")
    e = only(reception)
    assert (e.prompt, e.answer, e.messages[-1].role) == ("Weather in Paris?", "Rainy.", "user")
    assert e.id == f"{TRACE.lower()}-{SPAN.lower()}"
    assert e.profiled


def test_a_question_that_is_json_stays_a_text(reception: Reception) -> None:
    """What a user writes must not be taken for structure."""
    hand_in(
        reception,
        request_of(
            {"gen_ai.operation.name": "chat"},
            [
                ("gen_ai.user.message", {"content": '{"a": 1}'}),
                ("gen_ai.choice", {"message": '{"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}'}),
            ],
        ),
    )
    assert (only(reception).prompt, only(reception).answer) == ('{"a": 1}', "f({})")


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"http.request.method": "GET"},
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "home"},
        {"gen_ai.operation.name": "execute_tool"},
        {"openinference.span.kind": "CHAIN", "input.value": "x"},
        {"llm.request.type": "rerank"},
    ],
)
def test_other_spans_are_left_alone(reception: Reception, attributes: dict[str, Any]) -> None:
    """Agents, tools and web requests wrap model calls: they must neither be stored nor rejected."""
    assert not hand_in(reception, request_of(attributes)).HasField("partial_success")
    assert reception.stored() == []
    assert path_of(attributes) is None


def test_a_failed_call_is_an_error_with_its_status(reception: Reception) -> None:
    """Failures must count as failures, not as empty answers."""
    hand_in(reception, request_of({**CALL, "gen_ai.response.id": "a", "error.type": "429"}))
    hand_in(reception, request_of({**CALL, "gen_ai.response.id": "b"}, failed=True))
    first, second = reception.stored()
    assert (first.status, first.outcome, second.status, second.outcome) == (429, Outcome.ERROR, 500, Outcome.ERROR)
    assert not first.profiled


def test_embeddings_are_counted_without_text(reception: Reception) -> None:
    """An embeddings call must become an exchange of its path."""
    hand_in(reception, request_of({"gen_ai.operation.name": "embeddings", "gen_ai.request.model": "e"}))
    assert (only(reception).path, only(reception).answer) == ("/v1/embeddings", "")


def test_a_span_without_texts_is_counted_and_the_sender_warned(reception: Reception) -> None:
    """By default instrumentations record no content: it must not look like empty answers, and be said."""
    said = hand_in(reception, request_of(CALL)).partial_success
    assert said.rejected_spans == 0
    assert "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT" in said.error_message
    e = only(reception)
    assert (e.outcome, e.profiled, e.alias, e.version) == (Outcome.UNREADABLE, False, "home", "home-v3")


@pytest.mark.parametrize(
    ("attributes", "more", "says"),
    [
        ({**CALL, "gen_ai.input.messages": '[{"role": "us'}, {}, "attribute length limit"),
        ({**CALL, "gen_ai.output.messages": '{"a": 1}'}, {}, "no list of messages"),
        (NOW_FORM, {"trace_id": b"\0" * 16}, "trace id"),
        (NOW_FORM, {"span_id": b"ab"}, "trace id"),
        (NOW_FORM, {"end_time_unix_nano": 1}, "does not end after it starts"),
        (NOW_FORM, {"start_time_unix_nano": 0}, "does not end after it starts"),
    ],
)
def test_bad_spans_are_rejected_by_number(
    reception: Reception, attributes: dict[str, Any], more: dict[str, Any], says: str
) -> None:
    """A model call that cannot be read must be counted in partial_success, and its neighbours stored."""
    request = request_of(attributes, **more)
    request.resource_spans.extend(request_of({**NOW_FORM, "gen_ai.response.id": "good"}).resource_spans)
    said = hand_in(reception, request).partial_success
    assert said.rejected_spans == 1
    assert says in said.error_message
    assert only(reception).id == "good"


def test_the_same_spans_again_are_stored_once(reception: Reception) -> None:
    """An exporter that tries again must not double the traffic, with a response id or without."""
    for _ in range(3):
        assert not hand_in(reception, request_of(NOW_FORM)).HasField("partial_success")
        hand_in(reception, request_of(*FORMS["traceloop"]))
    assert [e.seq for e in reception.stored()] == [1, 2]


def json_of(attributes: dict[str, Any]) -> dict[str, Any]:
    """One span in OTLP's own JSON."""

    def value(given: Any) -> dict[str, Any]:
        if isinstance(given, list):
            return {"arrayValue": {"values": [value(v) for v in given]}}
        if isinstance(given, dict):
            return {"kvlistValue": {"values": [{"key": k, "value": value(v)} for k, v in given.items()]}}
        return {"intValue": str(given)} if isinstance(given, int) else {
            "doubleValue" if isinstance(given, float) else "stringValue": given
        }  # fmt: skip

    span = {
        "traceId": TRACE,
        "spanId": SPAN,
        "startTimeUnixNano": str(START_NS),
        "endTimeUnixNano": START_NS + 1_500_000_000,
        "kind": 3,
        "unheardOf": {},
        "attributes": [{"key": k, "value": value(v)} for k, v in attributes.items()],
    }
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


@pytest.mark.parametrize("structured", [False, True])
def test_json_gives_the_same_exchange_as_protobuf(reception: Reception, tmp_path: Path, structured: bool) -> None:
    """Both encodings must be read alike, and answered in kind."""
    attributes = NOW_FORM if not structured else {**NOW_FORM, "gen_ai.input.messages": ASKED}
    other = Reception(tmp_path / "other")
    hand_in(other, request_of(attributes))
    answer = reception.post(
        "/v1/traces", json.dumps(json_of(attributes)), content_type="application/json; charset=utf-8"
    )
    assert (answer.status_code, answer.headers["content-type"], answer.json()) == (200, "application/json", {})
    assert only(reception) == only(other)
    other.store.close()


def test_json_is_rejected_in_json(reception: Reception) -> None:
    """`rejectedSpans` is a 64-bit number, which protobuf's JSON writes as text."""
    bad = json_of({**CALL, "gen_ai.input.messages": "["})
    said = reception.post("/v1/traces", json.dumps(bad), content_type="application/json").json()["partialSuccess"]
    assert said["rejectedSpans"] == "1"
    assert "gen_ai.input.messages" in said["errorMessage"]
    said = reception.post("/v1/traces", json.dumps(json_of(CALL)), content_type="application/json").json()
    assert "rejectedSpans" not in said["partialSuccess"]


def test_a_failure_is_a_status_message_in_the_encoding_of_the_request(reception: Reception) -> None:
    """OTLP wants google.rpc.Status for every refusal: its `message` must be the sentence."""
    status_pb2 = pytest.importorskip("google.rpc.status_pb2")
    bad = reception.post("/v1/traces", b"\xff\xff", content_type=PROTOBUF)
    assert (bad.status_code, bad.headers["content-type"]) == (400, PROTOBUF)
    assert "ExportTraceServiceRequest" in status_pb2.Status.FromString(bad.content).message
    for body in (b"{", b"[]", b'{"resourceSpans": 1}', b"[" * 100_000):
        answer = reception.post("/v1/traces", body, content_type="application/json")
        assert answer.status_code == 400
        assert answer.json()["message"]
    assert reception.post("/v1/traces", b"{}", content_type="text/plain").status_code == 415
    assert reception.post("/v1/traces", b"x", content_type=PROTOBUF, content_encoding="zstd").status_code == 415


def test_an_empty_export_is_a_success(reception: Reception) -> None:
    """A request without telemetry SHOULD be answered with success."""
    assert not hand_in(reception, ExportTraceServiceRequest()).HasField("partial_success")
    assert reception.post("/v1/traces", b"{}", content_type="application/json").json() == {}


def test_a_full_store_lets_the_exporter_try_again(reception: Reception) -> None:
    """503 with Retry-After is what OTLP exporters repeat; the repetition must be stored, once."""
    reception.fault = lambda batch: DISK_FULL
    body = gzip.compress(request_of(NOW_FORM).SerializeToString())
    answer = reception.post("/v1/traces", body, content_type=PROTOBUF, content_encoding="gzip")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    reception.fault = lambda batch: None
    assert reception.post("/v1/traces", body, content_type=PROTOBUF, content_encoding="gzip").status_code == 200
    assert only(reception).id == "chatcmpl-7"


def test_planted_secrets_of_spans_do_not_reach_the_disk(reception: Reception) -> None:
    """No attribute or event may carry a secret past redaction into the database or the answer."""
    secret = " ".join(SECRETS)
    texts = {key: secret if isinstance(value, str) else value for key, value in CALL.items()}
    messages = [
        {"role": secret, "parts": [
            {"type": "text", "content": secret}, {"type": "reasoning", "content": secret},
            {"type": "tool_call", "name": secret, "arguments": {secret: secret}},
            {"type": "tool_call_response", "result": {secret: secret}}], "finish_reason": secret}
    ]  # fmt: skip
    texts |= {"gen_ai.operation.name": "chat", "gen_ai.input.messages": messages, "gen_ai.output.messages": messages}
    texts |= {"gen_ai.system_instructions": secret and json.dumps([{"type": "text", "content": secret}])}
    request = request_of(texts, [(secret, {secret: secret})], name=secret)
    request.resource_spans.extend(
        request_of({**CALL, "gen_ai.response.id": "z", "gen_ai.input.messages": secret}).resource_spans
    )
    said = hand_in(reception, request)
    assert said.partial_success.rejected_spans == 1
    kept = reception.bytes_on_disk().decode("utf-8", "replace") + said.partial_success.error_message
    assert only(reception).answer
    assert [s for s in SECRETS if s.lower() in kept.lower()] == []


def test_spans_behind_a_broken_redactor_leave_no_text(tmp_path: Path) -> None:
    """The door for spans must stand before the same choke point, and fail as closed."""
    reception = Reception(tmp_path, redactor=Broken())
    hand_in(reception, request_of(NOW_FORM))
    hand_in(reception, request_of(NOW_FORM))
    assert (only(reception).outcome, only(reception).answer) == (Outcome.UNREADABLE, "")
    assert b"Rainy" not in reception.bytes_on_disk()
    reception.store.close()


@contextmanager
def listening(reception: Reception) -> Iterator[str]:
    """The application behind a real server; its address."""
    config = uvicorn.Config(reception.app, port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.mark.parametrize("packed", [False, True])
def test_the_real_exporter_delivers(tmp_path: Path, packed: bool) -> None:
    """OpenTelemetry's own SDK and exporter must get their spans in, with a token, and believe the answer."""
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import SpanKind

    class Watched(OTLPSpanExporter):
        results: list[SpanExportResult] = []  # noqa: RUF012

        def export(self, spans: Any) -> SpanExportResult:
            result = super().export(spans)
            self.results.append(result)
            return result

    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    reception = Reception(tmp_path, token="let me in")
    with listening(reception) as address:
        exporter: SpanExporter = Watched(
            endpoint=f"{address}/v1/traces",
            headers={"authorization": "Bearer let me in"},
            compression=Compression.Gzip if packed else Compression.NoCompression,
        )
        Watched.results.clear()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        tracer = provider.get_tracer("shop")
        with (
            tracer.start_as_current_span("invoke_agent shop", attributes={"gen_ai.operation.name": "invoke_agent"}),
            tracer.start_as_current_span("chat home", kind=SpanKind.CLIENT, attributes=NOW_FORM) as call,
        ):
            call.add_event("gen_ai.choice", {"index": 0})
        provider.shutdown()
    assert Watched.results == [SpanExportResult.SUCCESS, SpanExportResult.SUCCESS]
    e = only(reception)
    assert (e.id, e.prompt, e.answer, e.ttft_s, e.finish_reason) == (
        "chatcmpl-7", "Weather in Paris?", "Rainy.", 0.25, "stop",
    )  # fmt: skip
    reception.store.close()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**62), st.text(max_size=300))
def test_answers_are_what_protobuf_reads(rejected: int, message: str) -> None:
    """The answers written by hand must be read back by protobuf itself."""
    message = message.encode("utf-8", "replace").decode()
    said = ExportTraceServiceResponse.FromString(otlp.answer(rejected, message, as_json=False)).partial_success
    assert (said.rejected_spans, said.error_message) == (rejected, message)


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.floats()
loose = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "resourceSpans",
                    "scopeSpans",
                    "spans",
                    "attributes",
                    "key",
                    "value",
                    "stringValue",
                    "arrayValue",
                    "values",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(loose)
def test_no_json_breaks_the_reader_of_spans(document: Any) -> None:
    """Whatever JSON comes, it must be read as spans or refused."""
    with suppress(InvalidInput):
        list(otlp.from_json(json.dumps(document).encode()))


keys = st.sampled_from(
    [
        "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.prompt", "role",
        "gen_ai.prompt.0.content", "gen_ai.prompt.0", "gen_ai.prompt.0.tool_calls.0.name",
        "llm.input_messages.0.message",
        "llm.input_messages.0.message.contents.0.message_content.text", "content", "parts", "message", "type", "index",
        "gen_ai.event.content", "tool_calls", "finish_reason", "gen_ai.response.finish_reasons", "input.value",
    ]
)  # fmt: skip
values = st.recursive(
    st.text(max_size=6)
    | st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from(["[", "{}", '[{"role": "user", "content": "x"}]']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reception]:
    """Doors for many examples."""
    opened = Reception(tmp_path_factory.mktemp("shared"))
    yield opened
    opened.store.close()


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(keys, values, max_size=4), st.dictionaries(keys, values, max_size=3))
def test_no_attributes_break_the_reading_of_texts(
    shared: Reception, own: dict[str, Any], event: dict[str, Any]
) -> None:
    """Whatever an instrumentation puts into a model call, the span must be stored, known, warned of or rejected."""
    request = request_of({"gen_ai.operation.name": "chat", **own}, [("gen_ai.choice", event)])
    body = request.SerializeToString()
    assert ExportTraceServiceResponse.FromString(shared.doors.traces(body, as_json=False)) is not None

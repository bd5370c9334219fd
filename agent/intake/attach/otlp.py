"""OTLP/HTTP: spans in, answers out (pure).

Lives here: both encodings of the OpenTelemetry Protocol, after its specification 1.10, section "OTLP/HTTP".
Comes in: a body. Goes out: plain spans; the bytes of an answer in the same encoding.
Must never know: what a span means, HTTP, the store.

"Binary Protobuf Encoding" is read by `opentelemetry-proto`, loaded at the first span. "JSON Protobuf Encoding" is read
by hand, because it is not protobuf's own: ids are hex, enums are numbers, 64-bit integers may be strings, unknown
fields are ignored. The answers are three fields long and written by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.intake.reply import items, mapping, text
from agent.types import InvalidInput

_STATUS_CODE_ERROR = 2
_MAX_DEPTH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What is needed of a span. Ids are lower-case hex, empty when invalid; times are unix nanoseconds."""

    trace_id: str
    span_id: str
    start_ns: int
    end_ns: int
    failed: bool
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


def from_protobuf(body: bytes) -> Iterator[Span]:
    """The spans of a binary ExportTraceServiceRequest. Raises InvalidInput when it is none."""
    try:
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    except ModuleNotFoundError as missing:
        raise InvalidInput(
            "this agent reads no protobuf: pip install 'trimtab[agent]', or send JSON (content-type application/json)"
        ) from missing
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        raise InvalidInput("the body is no ExportTraceServiceRequest in protobuf") from None
    return (
        Span(
            trace_id=_id(span.trace_id.hex(), 32),
            span_id=_id(span.span_id.hex(), 16),
            start_ns=span.start_time_unix_nano,
            end_ns=span.end_time_unix_nano,
            failed=span.status.code == _STATUS_CODE_ERROR,
            attributes=_pairs(span.attributes),
            events=[(event.name, _pairs(event.attributes)) for event in span.events],
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    )


def _pairs(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _pairs(value.kvlist_value.values)
    return None if kind in (None, "bytes_value") else getattr(value, kind)


def from_json(body: bytes) -> Iterator[Span]:
    """The spans of a JSON ExportTraceServiceRequest. Raises InvalidInput when it is none."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidInput("the body is not JSON") from None
    if not isinstance(request, dict) or not isinstance(request.get("resourceSpans", []), list):
        raise InvalidInput("the body is no ExportTraceServiceRequest in JSON: it needs a list resourceSpans")
    return (
        _json_span(mapping(span))
        for resource in items(request.get("resourceSpans"))
        for scope in items(mapping(resource).get("scopeSpans"))
        for span in items(mapping(scope).get("spans"))
    )


def _json_span(span: Mapping[str, Any]) -> Span:
    return Span(
        trace_id=_id(text(span.get("traceId")).lower(), 32),
        span_id=_id(text(span.get("spanId")).lower(), 16),
        start_ns=_integer(span.get("startTimeUnixNano")) or 0,
        end_ns=_integer(span.get("endTimeUnixNano")) or 0,
        failed=_integer(mapping(span.get("status")).get("code")) == _STATUS_CODE_ERROR,
        attributes=_json_pairs(span.get("attributes")),
        events=[
            (text(event.get("name")), _json_pairs(event.get("attributes")))
            for event in map(mapping, items(span.get("events")))
        ],
    )


def _json_pairs(pairs: Any, depth: int = 0) -> dict[str, Any]:
    return {
        text(pair.get("key")): _json_value(mapping(pair.get("value")), depth) for pair in map(mapping, items(pairs))
    }


def _json_value(value: Mapping[str, Any], depth: int) -> Any:
    if depth > _MAX_DEPTH:
        return None
    if "arrayValue" in value:
        return [_json_value(mapping(v), depth + 1) for v in items(mapping(value["arrayValue"]).get("values"))]
    if "kvlistValue" in value:
        return _json_pairs(mapping(value["kvlistValue"]).get("values"), depth + 1)
    if "intValue" in value:
        return _integer(value["intValue"])
    plain = value.get("stringValue", value.get("boolValue", value.get("doubleValue")))
    return plain if isinstance(plain, str | bool | float | int) else None


def _integer(value: Any) -> int | None:
    if isinstance(value, str) and len(value) <= 20:
        try:
            return int(value)
        except ValueError:
            return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _id(digits: str, length: int) -> str:
    """An id, or nothing: the specification calls all zeros and other lengths invalid."""
    good = len(digits) == length and set(digits) <= set("0123456789abcdef") and digits.strip("0")
    return digits if good else ""


def answer(rejected: int, message: str, *, as_json: bool) -> bytes:
    """An ExportTraceServiceResponse: empty for full success ("MUST leave the partial_success field unset").

    With no span rejected the message is a warning ("Partial Success": rejected 0, error_message not empty).
    """
    if not rejected and not message:
        return b"{}" if as_json else b""
    if as_json:
        said = {"rejectedSpans": str(rejected), "errorMessage": message} if rejected else {"errorMessage": message}
        return json.dumps({"partialSuccess": said}).encode()
    count = b"\x08" + _varint(rejected) if rejected else b""
    return _field(1, count + _field(2, message.encode()))


def failure(message: str, *, as_json: bool) -> bytes:
    """A google.rpc.Status with its message ("Failures": every 4xx and 5xx has one; the code may be left out)."""
    return json.dumps({"message": message}).encode() if as_json else _field(2, message.encode())


def _field(number: int, data: bytes) -> bytes:
    """A length-delimited field of protobuf."""
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)

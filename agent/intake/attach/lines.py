"""JSON lines of exchanges (pure).

Lives here: the two forms of a line, what each key must hold, and the name of a line that brings none.
Comes in: the bytes of a batch, and the present time. Goes out: offers, and what is refused, line by line.
Must never know: HTTP, the store, what an answer means.

The long form holds whole bodies: {"request": {...}, "response": {...}}. The short form holds texts:
{"prompt": "...", "response": "..."}. Both may add id, timestamp, path, alias, version, user, conversation, template,
latency_s, ttft_s and status; other keys are left alone, because log shippers add their own.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Any

from agent.intake.attach.offer import MAX_ID_CHARS, MAX_TOTAL_S, Offer, Refusal, Refused, captured
from agent.types import InvalidInput

CHAT_PATH = "/v1/chat/completions"
_COMPLETION_PATH = "/v1/completions"
MAX_LINES = 100_000
_LAST_UNIX_S = 253_402_300_799.0  # 9999-12-31
_MAX_NAME_CHARS = 1000
_UNREAD = "this cannot be read"
_FORMS = "write request and response as JSON objects, or prompt and response as texts"


def read_lines(body: bytes, now: float, namer: Namer | None = None) -> Iterator[Offer | Refused]:
    """What a batch offers, line by line, and what of it cannot be taken.

    `now`, in unix seconds, is when a line without a timestamp happened; `namer` names lines, where the body is not
    the whole of what is read. Raises InvalidInput at the end when not one
    line was an object, and at the start when there are too many.
    """
    if body.count(b"\n") >= MAX_LINES:
        raise InvalidInput(f"the body has more than {MAX_LINES} lines: send smaller batches")
    namer = namer or Namer(body)
    objects = 0
    first: Refused | None = None
    for at, line in _lines(body):
        try:
            document = _object(line)
            objects += 1
            yield _offer(at, document, namer.name(at, line, document), now)
        except (Refusal, ValueError, ArithmeticError, RecursionError) as fault:
            refused = Refused(at=at, why=str(fault) if isinstance(fault, Refusal) else _UNREAD)
            first = first or refused
            yield refused
    if not objects:
        reason = f"line {first.at}: {first.why}" if first else "it is empty"
        raise InvalidInput(f"the body is not JSON lines ({reason})")


def _lines(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers from 1; the body is not copied as a whole."""
    start, at = 3 if body.startswith(b"\xef\xbb\xbf") else 0, 0
    while start < len(body):
        end = body.find(b"\n", start)
        end = len(body) if end < 0 else end
        at += 1
        line = body[start:end].strip()
        start = end + 1
        if line:
            yield at, line


class Namer:
    """Names lines so that what is read again has the same names.

    A line's own `id` comes first, then the id in its answer, then its bytes and how often these came so far: the line
    may come again in any batch, and a file may have grown. A line without a timestamp that is sent to the door
    (`body` is the batch) happened just now, and people do say the same twice: its name is its place in that batch.
    """

    def __init__(self, body: bytes | None = None) -> None:
        self._body = body
        self._seen: Counter[bytes] = Counter()

    def name(self, at: int, line: bytes, document: Mapping[str, Any]) -> str:
        """The name of the line with this number in the batch. Raises Refusal for an `id` that is none."""
        given = _name(document, "id")
        if given:
            return given
        response = document.get("response")
        if isinstance(response, dict) and isinstance(response.get("id"), str) and response["id"]:
            return str(response["id"])
        if self._body is None or document.get("timestamp") is not None:
            digest = blake2b(line, digest_size=16).digest()
            self._seen[digest] += 1
            return _hex(digest, self._seen[digest])
        return _hex(blake2b(self._body, digest_size=16).digest(), at)


def _hex(digest: bytes, n: int) -> str:
    return "line-" + blake2b(digest + n.to_bytes(8, "big"), digest_size=16).hexdigest()


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise Refusal("this is not JSON: write one whole object on each line") from None
    if not isinstance(found, dict):
        raise Refusal(f"this is a JSON {_kind(found)}: write one object on each line")
    return found


def _offer(at: int, line: Mapping[str, Any], name: str, now: float) -> Offer:
    request, response = _bodies(line)
    ttft_s = _seconds(line, "ttft_s")
    return Offer(
        at=at,
        id=name,
        capture=captured(
            request,
            response,
            started_at=_moment(line.get("timestamp"), now),
            path=_path(line, request, response),
            alias=_name(line, "alias"),
            version=_name(line, "version"),
            status=_status(line),
            total_s=_seconds(line, "latency_s") or 0.0,
            template=template if isinstance(template := line.get("template"), str) else None,
        ),
        ttft_s=ttft_s,
        streamed=ttft_s is not None or request.get("stream") is True,
        user=_name(line, "user"),
        conversation=_name(line, "conversation"),
    )


def _bodies(line: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Request and answer as whole bodies; the short form becomes a completion, for nobody knows its system message.

    Under a path of its own it is a chat of one turn.
    """
    request, response, prompt = line.get("request"), line.get("response"), line.get("prompt")
    if request is None and isinstance(prompt, str) and isinstance(response, str):
        if line.get("path") in (None, _COMPLETION_PATH):
            return {"prompt": prompt}, {"choices": [{"index": 0, "text": response}]}
        asked = {"messages": [{"role": "user", "content": prompt}]}
        return asked, {"choices": [{"index": 0, "message": {"role": "assistant", "content": response}}]}
    if isinstance(request, dict) and isinstance(response, dict):
        return request, response
    for key in ("request", "response") if prompt is None else ("prompt", "response"):
        if line.get(key) is None:
            raise Refusal(f"{key} is missing: {_FORMS}")
    raise Refusal(f"this has neither form: {_FORMS}")


def _path(line: Mapping[str, Any], request: Mapping[str, Any], response: Mapping[str, Any]) -> str:
    """The API that was spoken: as given, else as the bodies show, else chat."""
    path = line.get("path")
    if path is not None:
        if not isinstance(path, str) or not path.startswith("/") or len(path) > _MAX_NAME_CHARS:
            raise Refusal(f"path must be the path of an API, such as {CHAT_PATH}")
        return path.partition("?")[0]
    if response.get("type") == "message":
        return "/v1/messages"
    if response.get("object") == "response":
        return "/v1/responses"
    return _COMPLETION_PATH if "prompt" in request and "messages" not in request else CHAT_PATH


def _moment(value: Any, now: float) -> float:
    """Unix seconds of a timestamp: a number of seconds, or ISO 8601 with a zone."""
    if value is None:
        return now
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise Refusal("timestamp is no time: write ISO 8601 with a zone, such as 2026-01-31T12:00:00Z") from None
        if moment.tzinfo is None:
            raise Refusal("timestamp has no zone: add Z or an offset such as +02:00")
        value = moment.timestamp()
    if not _number(value) or not 0 <= value <= _LAST_UNIX_S:
        raise Refusal("timestamp is no time: write seconds since 1970, or ISO 8601 with a zone")
    return float(value)


def _seconds(line: Mapping[str, Any], key: str) -> float | None:
    value = line.get(key)
    if value is None:
        return None
    if not _number(value) or not 0 <= value <= MAX_TOTAL_S:
        raise Refusal(f"{key} must be a number of seconds from 0 to {MAX_TOTAL_S:.0f}")
    return float(value)


def _status(line: Mapping[str, Any]) -> int:
    value = line.get("status")
    if value is None:
        return 200
    if value == 0 and isinstance(line.get("trimtab"), dict):
        return 0  # an export's line: the client had gone before there was a status
    if not isinstance(value, int) or isinstance(value, bool) or not 100 <= value <= 599:
        raise Refusal("status must be an HTTP status from 100 to 599")
    return value


def _name(line: Mapping[str, Any], key: str) -> str | None:
    value = line.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None or value == "":
        return None
    most = MAX_ID_CHARS if key == "id" else _MAX_NAME_CHARS
    if not isinstance(value, str) or len(value) > most:
        raise Refusal(f"{key} must be a text of at most {most} characters")
    return value


def _number(value: Any) -> bool:
    """True for a finite number; a whole one may have hundreds of digits, which no float holds."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (isinstance(value, int) or math.isfinite(value))
    )


def _kind(value: Any) -> str:
    return {list: "array", str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")

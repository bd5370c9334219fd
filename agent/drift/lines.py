"""Logged exchanges, one JSON object a line, read one at a time.

Lives here: `read` and `record_from`. Comes in: files, gzip or plain. Goes out: records in the order of the lines.
Must never know: the detector. A bad line is the caller's fault and is named by file and line.

A line is {"prompt", "response"} (or "answer") or OpenAI bodies {"request", "response"}; "timestamp" (ISO 8601 or unix
seconds), "user", "conversation" and "id" are optional.
"""

from __future__ import annotations

import gzip
import json
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from agent.drift.records import UNKNOWN_TIME, Record
from agent.types import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import IO

_GZIP = b"\x1f\x8b"
_FORMS = '{"prompt", "response"} or OpenAI bodies {"request", "response"}'


def read(files: Sequence[Path]) -> Iterator[Record]:
    """Records of all files in turn; never more than one line in memory. Raises InvalidInput naming file and line."""
    for file in files:
        number = 0
        try:
            with _opened(file) as lines:
                for number, line in enumerate(lines, start=1):
                    if line.strip():
                        yield _record(file, number, line)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InvalidInput(f"{file}, after line {number}: the gzip stream is broken ({error})") from error
        except OSError as error:
            raise InvalidInput(f"{file} cannot be read ({error.strerror}): name an existing file") from error


def _opened(file: Path) -> IO[bytes]:
    with file.open("rb") as head:
        zipped = head.read(2) == _GZIP
    return cast("IO[bytes]", gzip.open(file, "rb")) if zipped else file.open("rb")


def _record(file: Path, number: int, line: bytes) -> Record:
    try:
        document = json.loads(line)
        return record_from(document, fallback_id=f"{file.name}:{number}")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file}, line {number}: not UTF-8 text ({error.reason})") from error
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{file}, line {number}: not JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise InvalidInput(f"{file}, line {number}: nested too deeply to be an exchange") from error
    except InvalidInput as error:
        raise InvalidInput(f"{file}, line {number}: {error}") from error


def record_from(document: Any, *, fallback_id: str) -> Record:
    """One parsed line as a record. Raises InvalidInput saying what is missing."""
    if not isinstance(document, dict):
        raise InvalidInput(f"a line must be an object, {_FORMS}, not {type(document).__name__}")
    if "request" in document:
        request, response = _body(document, "request"), _body(document, "response")
        prompt, answer = _prompt(request), _answer(response)
    else:
        request, response = {}, {}
        prompt, answer = _text(document, "prompt"), _text(document, "response" if "response" in document else "answer")
    return Record(
        id=str(document.get("id") or response.get("id") or fallback_id),
        prompt=prompt,
        answer=answer,
        at=_time(document.get("timestamp")),
        user=_name(document.get("user") or request.get("user")),
        conversation=_name(document.get("conversation")),
    )


def _text(document: dict[str, Any], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str):
        named = '"response"' if key == "answer" else f'"{key}"'
        raise InvalidInput(f"{named} must be a text; a line is {_FORMS}")
    return value


def _body(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, dict):
        raise InvalidInput(f'"{key}" must be an OpenAI body beside "request"; a line is {_FORMS}')
    return value


def _prompt(request: dict[str, Any]) -> str:
    if isinstance(request.get("prompt"), str):
        return str(request["prompt"])
    messages = request.get("messages")
    if isinstance(messages, list) and messages and all(isinstance(message, dict) for message in messages):
        users = [message for message in messages if message.get("role") == "user"]
        return _content((users or messages)[-1].get("content"))
    raise InvalidInput('"request" holds neither "messages" nor a text "prompt"')


def _answer(response: dict[str, Any]) -> str:
    choices = response.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(first, dict):
        message = first.get("message")
        return _content(message.get("content") if isinstance(message, dict) else first.get("text"))
    raise InvalidInput('"response" holds no "choices"')


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part["text"]) for part in content if isinstance(part, dict) and "text" in part)
    return ""


def _name(value: Any) -> str | None:
    return None if value is None else str(value)


def _time(value: Any) -> datetime:
    if value is None:
        return UNKNOWN_TIME
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value)
            return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        return datetime.fromtimestamp(float(value), UTC)
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise InvalidInput(f'"timestamp" {value!r} is neither ISO 8601 nor unix seconds') from error

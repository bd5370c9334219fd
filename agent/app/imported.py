"""One line of an import as it may be stored: the exchange that it tells, and its grades.

Lives here: `read`, and what is wrong with a line that cannot be taken.
Comes in: a line in the form of `exported.py`, or of {"prompt", "response"}; a redactor. Goes out: what may be kept.
Must never know: files, the store; what the texts say.

A line is believed nothing: whatever it says of itself, its texts are redacted, its names looked through, its numbers
bounded. It is named by its `id`, else by its answer's, else by its bytes and how often they came.
"""

from __future__ import annotations

import json
import math
import re
import time
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agent.app.exported import OWN, REDACTED
from agent.intake.assemble import Unreadable, assemble
from agent.intake.attach.desk import AHEAD_S, stored_name
from agent.intake.attach.lines import Namer, read_lines
from agent.intake.attach.offer import MAX_TOTAL_S, Offer, Refused
from agent.intake.redact import TEXT_OFF, Redactor
from agent.profile.table import LABELS, OTHER_NUMBERS, TEXT_NUMBERS
from agent.store.convert import without_text
from agent.store.forgotten import GONE
from agent.store.gate import PAUSED
from agent.store.thinning import THINNED
from agent.turns import Turns
from agent.types import Exchange, Features, Grade, InvalidInput

LONGEST_LINE_BYTES = 32 << 20
_EXCHANGE, _GRADE = TypeAdapter(Exchange), TypeAdapter(Grade)
_FIELDS = frozenset(f.name for f in fields(Exchange)) - OWN
_HASH = re.compile(r"[0-9a-f]{32}")
_WHY_GONE = (THINNED, PAUSED, TEXT_OFF, GONE)
_NUMBERS = frozenset(feature.name for feature in (*TEXT_NUMBERS, *OTHER_NUMBERS))
_LABELS = frozenset(feature.name for feature in LABELS)
_LABEL_CHARS = 64
_COUNTS = ("prompt_tokens", "answer_tokens", "answers", "request_cut_bytes", "response_cut_bytes")
_SECONDS = ("total_s", "ttft_s", "gap_p50_s", "gap_max_s")
_MOST = 2**63 - 1
_STATUSES = (0, *range(100, 600))


class BadLine(ValueError):
    """This one line cannot be taken; the text says why, in one sentence."""


def read(
    line: bytes,
    worker: str,
    number: int,
    redactor: Redactor,
    alias: str,
    *,
    namer: Namer | None = None,
    turns: Turns | None = None,
    texts: bool = True,
) -> tuple[Exchange, list[Grade]]:
    """One line as it may be stored, with its grades; `turns` knows the lines before. Raises BadLine."""
    if len(line) > LONGEST_LINE_BYTES:
        raise BadLine(f"it is longer than {LONGEST_LINE_BYTES >> 20} MiB")
    try:
        return _read(line, worker, number, redactor, alias, namer or Namer(), turns or Turns(), texts=texts)
    except BadLine:
        raise
    except Exception as fault:
        raise BadLine(f"it cannot be read ({type(fault).__name__})") from fault


def _read(
    line: bytes, worker: str, number: int, redactor: Redactor, alias: str, namer: Namer, turns: Turns, *, texts: bool
) -> tuple[Exchange, list[Grade]]:
    offer = _offer(line, namer)
    document = json.loads(line)
    own = document.get("trimtab")
    own = own if isinstance(own, dict) else {}
    capture = replace(offer.capture, worker=worker, seq=number)
    try:
        exchange = assemble(capture)
    except Unreadable as why:
        raise BadLine(str(why).partition(" cannot be read: ")[2] or str(why)) from why
    exchange = offer.told(exchange, name=stored_name(offer.id, redactor), alias=alias)
    exchange = _bounded(_corrected(exchange, own) if own else turns.joined(exchange))
    exchange = _measured(exchange, redactor, texts=texts)
    if not own and not any((exchange.answer, exchange.reasoning, *(m.text for m in exchange.messages))):
        raise BadLine("neither request nor response holds any text")
    kept = replace(redactor.exchange(exchange), id=exchange.id)
    if own.get(REDACTED) is True:
        kept = _as_hashed(kept, exchange)
    return kept, _grades(document.get("grades"), kept.id, redactor, texts=texts)


def _offer(line: bytes, namer: Namer) -> Offer:
    try:
        found = next(read_lines(line.replace(b"\n", b""), time.time(), namer), None)
    except InvalidInput as why:
        raise BadLine(str(why)) from why
    if isinstance(found, Refused):
        raise BadLine(found.why)
    if found is None:
        raise BadLine("it is empty")
    return found


def _corrected(exchange: Exchange, own: dict[str, Any]) -> Exchange:
    """The exchange with the fields that its bodies could not hold."""
    said = {name: value for name, value in own.items() if name in _FIELDS}
    if not said:
        return exchange
    try:
        known = {f.name: getattr(exchange, f.name) for f in fields(Exchange)}
        return _EXCHANGE.validate_python(known | said)
    except ValidationError as error:
        raise BadLine(f"trimtab.{_first(error)}") from error


def _bounded(exchange: Exchange) -> Exchange:
    """The exchange, when a store can hold its numbers and they mean something."""
    _timely(exchange.started_at, "started_at")
    for name in _COUNTS:
        value = getattr(exchange, name)
        if value is not None and not 0 <= value <= _MOST:
            raise BadLine(f"{name} must be a whole number from 0 to {_MOST}")
    for name in _SECONDS:
        value = getattr(exchange, name)
        if value is not None and not 0 <= value <= MAX_TOTAL_S:
            raise BadLine(f"{name} must be a number of seconds from 0 to {MAX_TOTAL_S:.0f}")
    if exchange.logprob_mean is not None and not math.isfinite(exchange.logprob_mean):
        raise BadLine("logprob_mean is no finite number")
    if exchange.status not in _STATUSES:
        raise BadLine("status must be 0 or an HTTP status from 100 to 599")
    if exchange.text_gone not in (None, *_WHY_GONE):
        raise BadLine(f"text_gone must be one of {', '.join(_WHY_GONE)}")
    return exchange


def _timely(at: datetime, name: str) -> None:
    if at.tzinfo is None:
        raise BadLine(f"{name} has no zone: add Z or an offset such as +02:00")
    if not 0 <= at.timestamp() <= time.time() + AHEAD_S:
        raise BadLine(f"{name} is before 1970, or more than a day ahead")


def _measured(exchange: Exchange, redactor: Redactor, *, texts: bool) -> Exchange:
    """Features are measured here where there are texts; of others the known numbers and labels are taken.

    A label may be any word, so without `texts` only the numbers are.
    """
    if exchange.text_gone is None:
        return replace(exchange, features=None)
    told = exchange.features
    if told is None:
        return without_text(exchange, exchange.text_gone)
    numbers = {name: n for name, n in told.numbers.items() if name in _NUMBERS and math.isfinite(n)}
    labels = {name: redactor.text(label)[:_LABEL_CHARS] for name, label in told.labels.items() if name in _LABELS}
    found = Features(exchange_id=exchange.id, numbers=numbers, labels=labels if texts else {})
    return without_text(exchange, exchange.text_gone, found)


def _as_hashed(kept: Exchange, told: Exchange) -> Exchange:
    """32 hex digits in an export's line are a hash already: hashed again, they would be somebody else."""
    return replace(
        kept,
        user=told.user if told.user and _HASH.fullmatch(told.user) else kept.user,
        conversation=(
            told.conversation if told.conversation and _HASH.fullmatch(told.conversation) else kept.conversation
        ),
    )


def _grades(said: Any, exchange_id: str, redactor: Redactor, *, texts: bool) -> list[Grade]:
    if said is None:
        return []
    if not isinstance(said, list):
        raise BadLine("grades is no list")
    try:
        grades = [_GRADE.validate_python({**one, "exchange_id": exchange_id}) for one in said]
    except (TypeError, ValidationError) as error:
        why = _first(error) if isinstance(error, ValidationError) else "one is no object"
        raise BadLine(f"grades: {why}") from error
    for grade in grades:
        _timely(grade.at, "grades: a time")
        if not 0 <= grade.score <= 1 or not 0 <= grade.cost_tokens <= _MOST:
            raise BadLine("grades: score must be from 0 to 1, cost_tokens a whole number from 0")
    return [
        replace(
            grade,
            source=redactor.text(grade.source),
            correction=redactor.text(grade.correction) if texts and grade.correction is not None else None,
        )
        for grade in grades
    ]


def _first(error: ValidationError) -> str:
    fault = error.errors()[0]
    return f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg'][0].lower()}{fault['msg'][1:]}"

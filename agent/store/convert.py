"""Rows to nouns and back (pure).

Lives here: the one place that knows both `agent.types` and the tables.
Comes in: a row or a noun. Goes out: the other.
Must never know: sessions, engines, files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from operator import attrgetter
from typing import Any

from agent.store.tables import (
    AdapterRow,
    AlarmRow,
    DecisionRow,
    EstimateRow,
    GradeRow,
    OrderRow,
    ReadingRow,
)
from agent.types import (
    Action,
    AdapterVersion,
    Alarm,
    Check,
    Decision,
    Estimate,
    Exchange,
    Features,
    Grade,
    Message,
    Order,
    Outcome,
    ToolCall,
    Verdict,
    VerdictKind,
)

EXCHANGE_FIELDS = tuple(Exchange.__dataclass_fields__)
"""Columns of an exchange, in the order in which `exchange` wants them."""
_EXCHANGE_VALUES = attrgetter(*EXCHANGE_FIELDS)


_MESSAGES, _OUTCOME, _TOOLS, _CALLS, _FEATURES = (
    EXCHANGE_FIELDS.index(name) for name in ("messages", "outcome", "tools", "tool_calls", "features")
)


def exchange_values(exchange: Exchange) -> list[Any]:
    """Column values of an exchange in the order of EXCHANGE_FIELDS."""
    values = list(_EXCHANGE_VALUES(exchange))
    values[_MESSAGES] = [{"role": m.role, "text": m.text} for m in exchange.messages]
    values[_OUTCOME] = exchange.outcome.value
    values[_TOOLS] = list(exchange.tools)
    values[_CALLS] = [{"name": c.name, "arguments": c.arguments} for c in exchange.tool_calls]
    values[_FEATURES] = _features_json(exchange.features)
    return values


def exchange(row: Sequence[Any]) -> Exchange:
    """An exchange as the rooms see it, from its columns in the order of EXCHANGE_FIELDS."""
    values = dict(zip(EXCHANGE_FIELDS, row, strict=True))
    values["messages"] = tuple(Message(role=m["role"], text=m["text"]) for m in values["messages"])
    values["outcome"] = Outcome(values["outcome"])
    values["tools"] = tuple(values["tools"])
    values["tool_calls"] = tuple(ToolCall(name=c["name"], arguments=c["arguments"]) for c in values["tool_calls"])
    if values["features"] is not None:
        found = values["features"]
        values["features"] = Features(exchange_id=values["id"], numbers=found["numbers"], labels=found["labels"])
    return Exchange(**values)


def without_text(exchange: Exchange, why: str, features: Features | None = None) -> Exchange:
    """The exchange with its numbers and names alone; `why` stays as its mark, `features` as what was measured."""
    calls = tuple(replace(call, arguments="") for call in exchange.tool_calls)
    return replace(exchange, messages=(), answer="", reasoning="", tool_calls=calls, features=features, text_gone=why)


def _features_json(features: Features | None) -> dict[str, Any] | None:
    return None if features is None else {"numbers": dict(features.numbers), "labels": dict(features.labels)}


def alarm_row(alarm: Alarm, exchange_rowid: int, vanished: Sequence[tuple[str, str, str]] = ()) -> AlarmRow:
    """An alarm for the store, pinned to the exchange at which it fired; `vanished` are (id, prompt, answer)."""
    values = asdict(alarm)
    values["features"] = [list(item) for item in alarm.features]
    values["examples"] = list(alarm.examples)
    values["vanished"] = [list(text) for text in vanished]
    return AlarmRow(**values, exchange_rowid=exchange_rowid)


def alarm(row: AlarmRow) -> Alarm:
    """An alarm from the store."""
    values = {name: getattr(row, name) for name in Alarm.__dataclass_fields__}
    values["features"] = tuple((str(f), float(e), float(s)) for f, e, s in row.features)
    values["examples"] = tuple(row.examples)
    values["vanished"] = tuple(text[0] for text in row.vanished)
    return Alarm(**values)


def detector_rows(
    *,
    exchange_rowid: int,
    window_id: str,
    version: str,
    at: datetime,
    reference_rows: int,
    reference_wanted: int,
    evidence: float | None = None,
    threshold: float | None = None,
) -> list[ReadingRow]:
    """What the detector says after an exchange, as readings; `evidence` and `threshold` are log10."""
    said = {
        "reference_rows": float(reference_rows),
        "reference_wanted": float(reference_wanted),
        "log10_evidence": evidence,
        "log10_threshold": threshold,
    }
    pinned: dict[str, Any] = {
        "exchange_rowid": exchange_rowid,
        "window_id": window_id,
        "version": version,
        "at": at,
    }
    return [
        ReadingRow(**pinned, feature="detector", measure=measure, value=value)
        for measure, value in said.items()
        if value is not None
    ]


def decision_row(decision: Decision) -> DecisionRow:
    """A decision for the store; its `seen` is plain JSON already."""
    return DecisionRow(
        at=decision.at,
        alias=decision.alias,
        action=decision.action.value,
        reasons=list(decision.reasons),
        seen=dict(decision.seen),
    )


def decision(row: DecisionRow) -> Decision:
    """A decision from the store."""
    return Decision(at=row.at, alias=row.alias, action=Action(row.action), reasons=tuple(row.reasons), seen=row.seen)


def grade(row: GradeRow) -> Grade:
    """A grade from the store."""
    return Grade(**{name: getattr(row, name) for name in Grade.__dataclass_fields__})


def estimate(row: EstimateRow) -> Estimate:
    """An estimate from the store."""
    return Estimate(**{name: getattr(row, name) for name in Estimate.__dataclass_fields__})


def order(row: OrderRow) -> Order:
    """An order from the store."""
    return Order(**{name: getattr(row, name) for name in Order.__dataclass_fields__})


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain JSON."""
    return {"kind": verdict.kind.value, "checks": [asdict(check) for check in verdict.checks]}


def verdict(document: dict[str, Any]) -> Verdict:
    """A verdict from plain JSON."""
    checks = tuple(Check(**check) for check in document["checks"])
    return Verdict(kind=VerdictKind(document["kind"]), checks=checks)


def adapter(row: AdapterRow) -> AdapterVersion:
    """An adapter version from the store."""
    values = {name: getattr(row, name) for name in AdapterVersion.__dataclass_fields__}
    values["verdict"] = verdict(row.verdict) if row.verdict else None
    return AdapterVersion(**values)


def adapter_values(version: AdapterVersion) -> dict[str, Any]:
    """Column values of an adapter version."""
    values = {name: getattr(version, name) for name in AdapterVersion.__dataclass_fields__}
    values["verdict"] = verdict_json(version.verdict) if version.verdict else None
    return values

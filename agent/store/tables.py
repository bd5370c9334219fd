"""The tables, as SQLModel classes.

Lives here: one class a table, and the rule that a time is stored as aware UTC.
Comes in: nothing. Goes out: classes for `store.py`. Whoever changes one writes a migration; a test asks for it.
Must never know: who writes or reads them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    Table,
    TypeDecorator,
    UniqueConstraint,
)
from sqlmodel import Field, SQLModel


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC datetimes on every database; naive ones are refused, because nobody knows what they mean."""

    impl = DateTime
    cache_ok = True

    def bind_processor(self, dialect: Any) -> Any:
        """For SQLite the text at once: the general way costs as much as storing the row."""
        if dialect.name != "sqlite":
            return super().bind_processor(dialect)

        def process(value: datetime | None) -> str | None:
            naive = self.process_bind_param(value, dialect)
            return None if naive is None else naive.isoformat(" ", "microseconds")

        return process

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        """Python -> database: convert to UTC and drop the zone that SQLite cannot keep."""
        if value is None:
            return None
        if value.tzinfo is None:
            msg = f"naive datetime {value!r}: pass an aware one"
            raise ValueError(msg)
        at = value if value.tzinfo is UTC else value.astimezone(UTC)
        return at.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        """Database -> Python: give the zone back."""
        return None if value is None else value.replace(tzinfo=UTC)


def _utc(*, index: bool = False, nullable: bool = False) -> Any:
    return Column(UtcDateTime(), nullable=nullable, index=index)


def _json() -> Any:
    return Column(JSON, nullable=False)


def _json_added(default: str) -> Any:
    """A JSON column that came later: older rows have the default."""
    return Column(JSON, nullable=False, server_default=default)


class ExchangeRow(SQLModel, table=True):
    """One redacted exchange. `rowid` orders them as they became durable; every cursor counts in it."""

    __tablename__ = "exchange"
    __table_args__ = (UniqueConstraint("worker", "seq"),)

    rowid: int | None = Field(default=None, primary_key=True)
    id: str = Field(index=True)
    worker: str
    seq: int
    started_at: datetime = Field(sa_column=_utc(index=True))
    path: str
    alias: str
    version: str = Field(index=True)
    status: int
    outcome: str
    messages: list[dict[str, str]] = Field(sa_column=_json())
    answer: str
    reasoning: str = ""
    finish_reason: str | None = None
    streamed: bool = False
    user: str | None = None
    conversation: str | None = None
    template: str | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    ttft_s: float | None = None
    total_s: float = 0.0
    request_cut_bytes: int = 0
    response_cut_bytes: int = 0
    tools: list[str] = Field(default_factory=list, sa_column=_json_added("[]"))
    tool_calls: list[dict[str, str]] = Field(default_factory=list, sa_column=_json_added("[]"))
    answers: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    logprob_mean: float | None = None
    gap_p50_s: float | None = None
    gap_max_s: float | None = None
    template_version: str | None = None
    features: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True), nullable=True))
    text_gone: str | None = None


class ExchangeTallyRow(SQLModel, table=True):
    """How many exchanges there ever were, up to the cursor of the state `tally`; deleting a row leaves it alone."""

    __tablename__ = "tally_exchange"

    worker: str = Field(primary_key=True)
    alias: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
    outcome: str = Field(primary_key=True)
    n: int


class GradeTallyRow(SQLModel, table=True):
    """How many opinions there ever were, up to the cursor of the state `tally:grade`."""

    __tablename__ = "tally_grade"

    source: str = Field(primary_key=True)
    truth: bool = Field(primary_key=True)
    n: int
    cost_tokens: int
    last_at: datetime = Field(sa_column=_utc())


class WorkerRow(SQLModel, table=True):
    """What each tap said of itself: how many exchanges it numbered and how many it dropped."""

    __tablename__ = "worker"

    worker: str = Field(primary_key=True)
    pid: int
    seen_at: datetime = Field(sa_column=_utc())
    assigned: int = 0
    dropped: int = 0
    pod: str | None = None
    """The sidecar that hears it, where several write to one database."""


class ProfileRow(SQLModel, table=True):
    """A serialised whylogs profile of one window of one adapter version."""

    __tablename__ = "profile"

    window_id: str = Field(primary_key=True)
    version: str = Field(index=True)
    start_at: datetime = Field(sa_column=_utc())
    end_at: datetime = Field(sa_column=_utc())
    rows: int
    slice: str = Field(default="all", sa_column_kwargs={"server_default": "all"})
    profile: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class ReadingRow(SQLModel, table=True):
    """How far one feature of a window lies from the reference, or the detector's evidence at its end."""

    __tablename__ = "reading"
    __table_args__ = (Index("reading_series", "feature", "measure", "exchange_rowid", "version", "value"),)

    rowid: int | None = Field(default=None, primary_key=True)
    exchange_rowid: int = Field(index=True)
    window_id: str = Field(index=True)
    version: str
    feature: str
    measure: str
    value: float
    at: datetime = Field(sa_column=_utc())


class AlarmRow(SQLModel, table=True):
    """A drift alarm as it fired. `exchange_rowid` is where in the stream."""

    __tablename__ = "alarm"

    rowid: int | None = Field(default=None, primary_key=True)
    alias: str
    version: str
    exchange_rowid: int
    at: datetime = Field(sa_column=_utc())
    onset_at: datetime = Field(sa_column=_utc())
    row: int
    onset_row: int
    kind: str
    evidence: float
    threshold: float
    features: list[list[Any]] = Field(sa_column=_json())
    examples: list[str] = Field(sa_column=_json())
    vanished: list[list[str]] = Field(default_factory=list, sa_column=_json_added("[]"))
    """Reference texts whose kind comes less, as they may be shown: (id, prompt, answer) each."""
    reason: str
    report: str | None = None


class GradeRow(SQLModel, table=True):
    """One opinion on one answer; the same source gives one opinion an exchange."""

    __tablename__ = "grade"
    __table_args__ = (UniqueConstraint("exchange_id", "source"),)

    rowid: int | None = Field(default=None, primary_key=True)
    exchange_id: str = Field(index=True)
    source: str
    score: float
    truth: bool
    at: datetime = Field(sa_column=_utc())
    correction: str | None = None
    cost_tokens: int = 0


class EstimateRow(SQLModel, table=True):
    """Measured quality of one version over a run of exchanges."""

    __tablename__ = "estimate"

    rowid: int | None = Field(default=None, primary_key=True)
    version: str = Field(index=True)
    exchange_rowid: int
    at: datetime = Field(sa_column=_utc())
    value: float
    low: float
    high: float
    level: float
    n_truth: int
    n_judged: int
    since: datetime = Field(sa_column=_utc())
    until: datetime = Field(sa_column=_utc())
    method: str


class DecisionRow(SQLModel, table=True):
    """A decision with its reasons; written only when it differs from the last one."""

    __tablename__ = "decision"

    rowid: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(sa_column=_utc())
    alias: str
    action: str
    reasons: list[str] = Field(sa_column=_json())
    seen: dict[str, Any] = Field(sa_column=_json())


class OrderRow(SQLModel, table=True):
    """A retraining order. Status: open -> running -> done | failed. `lease_until` makes a lost job visible."""

    __tablename__ = "retrain_order"

    id: str = Field(primary_key=True)
    alias: str
    status: str = Field(index=True)
    reason: str
    document: dict[str, Any] = Field(sa_column=_json())
    opened_at: datetime = Field(sa_column=_utc())
    started_at: datetime | None = Field(default=None, sa_column=_utc(nullable=True))
    finished_at: datetime | None = Field(default=None, sa_column=_utc(nullable=True))
    heartbeat_at: datetime | None = Field(default=None, sa_column=_utc(nullable=True))
    attempts: int = 0
    pid: int | None = None
    stage: str | None = None
    progress: float = 0.0
    verdict: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON, nullable=True))
    error: str | None = None


class AdapterRow(SQLModel, table=True):
    """An immutable adapter artifact and its place in life."""

    __tablename__ = "adapter"

    name: str = Field(primary_key=True)
    alias: str = Field(index=True)
    path: str
    digest: str
    base_digest: str
    parent: str | None = None
    status: str
    created_at: datetime = Field(sa_column=_utc())
    order_id: str | None = None
    verdict: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON, nullable=True))


class RolloutRow(SQLModel, table=True):
    """What one alias should answer with, and how far the move there is. One row an alias."""

    __tablename__ = "rollout"

    alias: str = Field(primary_key=True)
    champion: str
    challenger: str | None = None
    phase: str = "steady"
    step: int = 0
    step_since_rowid: int = 0
    step_since_at: datetime | None = Field(default=None, sa_column=_utc(nullable=True))
    promoted_at: datetime | None = Field(default=None, sa_column=_utc(nullable=True))
    note: str = ""
    updated_at: datetime = Field(sa_column=_utc())


class EventRow(SQLModel, table=True):
    """The record of what happened, in words, for people: the timeline of the status page."""

    __tablename__ = "event"

    rowid: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(sa_column=_utc())
    kind: str = Field(index=True)
    text: str
    data: dict[str, Any] = Field(sa_column=_json())


class StateRow(SQLModel, table=True):
    """Opaque state of a loop with the cursor it has reached; written in the same transaction as its results."""

    __tablename__ = "state"

    key: str = Field(primary_key=True)
    cursor: int = 0
    state: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


EXCHANGE: Table = ExchangeRow.__table__  # type: ignore[attr-defined]
GRADE: Table = GradeRow.__table__  # type: ignore[attr-defined]
ALL: tuple[Table, ...] = tuple(SQLModel.metadata.sorted_tables)
"""Every table of the store."""
_WHOLE = BigInteger().with_variant(Integer(), "sqlite")
for _column in (column for table in ALL for column in table.columns if type(column.type) is Integer):
    _column.type = _WHOLE  # 8 bytes on PostgreSQL too: counts of years do not fit into 4

"""The schema of Trimtab 0.1.0, the last that grew without revisions.

A file that an earlier version made has most of it: tables, columns and indexes that are missing are added.
"""

from typing import Any

from alembic import op
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    inspect,
)
from sqlalchemy.schema import CreateColumn

revision = "0001"
down_revision = None

WHOLE = BigInteger().with_variant(Integer(), "sqlite")
FIRST = MetaData()


def _key(name: str, kind: Any = String) -> Column[Any]:
    return Column(name, kind, primary_key=True, nullable=False)


def _need(name: str, kind: Any, default: str | None = None) -> Column[Any]:
    return Column(name, kind, nullable=False, server_default=default)


def _may(name: str, kind: Any) -> Column[Any]:
    return Column(name, kind, nullable=True)


Table(
    "exchange", FIRST, _key("rowid", WHOLE), _need("id", String), _need("worker", String), _need("seq", WHOLE),
    _need("started_at", DateTime), _need("path", String), _need("alias", String), _need("version", String),
    _need("status", WHOLE), _need("outcome", String), _need("messages", JSON), _need("answer", String),
    _need("reasoning", String), _may("finish_reason", String), _need("streamed", Boolean), _may("user", String),
    _may("conversation", String), _may("template", String), _may("prompt_tokens", WHOLE),
    _may("answer_tokens", WHOLE), _may("ttft_s", Float), _need("total_s", Float), _need("request_cut_bytes", WHOLE),
    _need("response_cut_bytes", WHOLE), _need("tools", JSON, "[]"), _need("tool_calls", JSON, "[]"),
    _need("answers", WHOLE, "1"), _may("logprob_mean", Float), _may("gap_p50_s", Float), _may("gap_max_s", Float),
    _may("template_version", String), _may("features", JSON), _may("text_gone", String),
    UniqueConstraint("worker", "seq"),
    Index("ix_exchange_id", "id"), Index("ix_exchange_started_at", "started_at"),
    Index("ix_exchange_version", "version"),
)  # fmt: skip
Table(
    "tally_exchange", FIRST, _key("worker"), _key("alias"), _key("version"), _key("outcome"), _need("n", WHOLE),
)  # fmt: skip
Table(
    "tally_grade", FIRST, _key("source"), Column("truth", Boolean, primary_key=True, nullable=False),
    _need("n", WHOLE), _need("cost_tokens", WHOLE), _need("last_at", DateTime),
)  # fmt: skip
Table(
    "worker", FIRST, _key("worker"), _need("pid", WHOLE), _need("seen_at", DateTime), _need("assigned", WHOLE),
    _need("dropped", WHOLE),
)  # fmt: skip
Table(
    "profile", FIRST, _key("window_id"), _need("version", String), _need("start_at", DateTime),
    _need("end_at", DateTime), _need("rows", WHOLE), _need("slice", String, "all"), _need("profile", LargeBinary),
    Index("ix_profile_version", "version"),
)  # fmt: skip
Table(
    "reading", FIRST, _key("rowid", WHOLE), _need("exchange_rowid", WHOLE), _need("window_id", String),
    _need("version", String), _need("feature", String), _need("measure", String), _need("value", Float),
    _need("at", DateTime),
    Index("reading_series", "feature", "measure", "exchange_rowid", "version", "value"),
    Index("ix_reading_exchange_rowid", "exchange_rowid"), Index("ix_reading_window_id", "window_id"),
)  # fmt: skip
Table(
    "alarm", FIRST, _key("rowid", WHOLE), _need("alias", String), _need("version", String),
    _need("exchange_rowid", WHOLE), _need("at", DateTime), _need("onset_at", DateTime), _need("row", WHOLE),
    _need("onset_row", WHOLE), _need("kind", String), _need("evidence", Float), _need("threshold", Float),
    _need("features", JSON), _need("examples", JSON), _need("vanished", JSON, "[]"), _need("reason", String),
    _may("report", String),
)  # fmt: skip
Table(
    "grade", FIRST, _key("rowid", WHOLE), _need("exchange_id", String), _need("source", String),
    _need("score", Float), _need("truth", Boolean), _need("at", DateTime), _may("correction", String),
    _need("cost_tokens", WHOLE), UniqueConstraint("exchange_id", "source"),
    Index("ix_grade_exchange_id", "exchange_id"),
)  # fmt: skip
Table(
    "estimate", FIRST, _key("rowid", WHOLE), _need("version", String), _need("exchange_rowid", WHOLE),
    _need("at", DateTime), _need("value", Float), _need("low", Float), _need("high", Float), _need("level", Float),
    _need("n_truth", WHOLE), _need("n_judged", WHOLE), _need("since", DateTime), _need("until", DateTime),
    _need("method", String), Index("ix_estimate_version", "version"),
)  # fmt: skip
Table(
    "decision", FIRST, _key("rowid", WHOLE), _need("at", DateTime), _need("alias", String), _need("action", String),
    _need("reasons", JSON), _need("seen", JSON),
)  # fmt: skip
Table(
    "retrain_order", FIRST, _key("id"), _need("alias", String), _need("status", String), _need("reason", String),
    _need("document", JSON), _need("opened_at", DateTime), _may("started_at", DateTime),
    _may("finished_at", DateTime), _may("heartbeat_at", DateTime), _need("attempts", WHOLE), _may("pid", WHOLE),
    _may("stage", String), _need("progress", Float), _may("verdict", JSON), _may("error", String),
    Index("ix_retrain_order_status", "status"),
)  # fmt: skip
Table(
    "adapter", FIRST, _key("name"), _need("alias", String), _need("path", String), _need("digest", String),
    _need("base_digest", String), _may("parent", String), _need("status", String), _need("created_at", DateTime),
    _may("order_id", String), _may("verdict", JSON), Index("ix_adapter_alias", "alias"),
)  # fmt: skip
Table(
    "rollout", FIRST, _key("alias"), _need("champion", String), _may("challenger", String), _need("phase", String),
    _need("step", WHOLE), _need("step_since_rowid", WHOLE), _may("step_since_at", DateTime),
    _may("promoted_at", DateTime), _need("note", String), _need("updated_at", DateTime),
)  # fmt: skip
Table(
    "event", FIRST, _key("rowid", WHOLE), _need("at", DateTime), _need("kind", String), _need("text", String),
    _need("data", JSON), Index("ix_event_kind", "kind"),
)  # fmt: skip
Table("state", FIRST, _key("key"), _need("cursor", WHOLE), _need("state", LargeBinary))


def upgrade() -> None:
    """Make what is not there."""
    there = inspect(op.get_bind())
    FIRST.create_all(op.get_bind())
    for table in FIRST.sorted_tables:
        if not there.has_table(table.name):
            continue
        columns = {column["name"] for column in there.get_columns(table.name)}
        for column in table.columns:
            if column.name not in columns:
                spec = CreateColumn(column).compile(dialect=op.get_bind().dialect)
                op.execute(f"ALTER TABLE {table.name} ADD COLUMN {spec}")
        indexes = {index["name"] for index in there.get_indexes(table.name)}
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            if index.name not in indexes:
                index.create(op.get_bind())

"""What an order may say about its data beyond the window: how it is cleaned, capped and split.

In: the `data.curation` part of an order. Out: frozen, checked options; the defaults remove nothing from small data
whose rows are short and alike. Must never know: rows, files, the store.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Teacher(_Part):
    """A larger model that answers training prompts which nobody labelled. Its answers are weak, and never examined."""

    url: str = Field(pattern=r"^https?://")
    """Base address of an OpenAI-compatible server, without /v1."""
    model: str
    licence: str = Field(min_length=2)
    """What its licence says of outputs as training data, in a word or a link; goes into the manifest."""
    key_file: Path | None = None
    """File that holds the bearer token; None: none is sent."""
    max_rows: int = Field(default=200, ge=1)
    """Prompts it is asked, the newest first."""
    max_tokens: int = Field(default=512, ge=1)


class Curation(_Part):
    """How rows are cleaned, capped and split."""

    split_by: Literal["hash", "time"] = "hash"
    """hash: a user is on one side for ever. time: the newest slice is the test; a conversation is on one side."""
    test_share: float = Field(default=0.1, ge=0, le=0.5)
    """Least share of the fresh rows to hold out; more when that is fewer than holdout_rows, never over a half."""
    validation_share: float = Field(default=0.1, ge=0, le=0.4)
    """Share of the fresh and the replay rows for early stopping (valid.jsonl)."""
    validation_min_rows: int = Field(default=800, ge=1)
    """With fewer rows to learn from, none is set aside for validation: each one is worth more than the warning."""
    min_rows: int = Field(default=8, ge=1)
    """Fewer training rows than this are refused."""
    warn_rows: int = Field(default=1000, ge=0)
    """Fewer training rows than this are told of in the report."""
    min_chars: int = Field(default=1, ge=0)
    """Shortest prompt kept."""
    max_chars: int = Field(default=20_000, ge=1)
    """Longest prompt, and longest answer, kept; longer rows are dropped, never cut."""
    languages: tuple[str, ...] = ()
    """ISO 639-1 codes kept; empty: all. A prompt too short to tell (`unknown`) always stays."""
    pii: Literal["mask", "drop", "off"] = "mask"
    """What becomes of private data and secrets in rows from files; stored exchanges were masked when captured."""
    pii_engine: Literal["builtin", "presidio"] = "builtin"
    """presidio adds its pattern recognisers (package presidio-analyzer, installed by hand); no language model."""
    label_errors: Literal["unproven", "drop", "report", "off"] = "unproven"
    """Labels that Cleanlab calls wrong: `unproven` drops those that no person, no replay file and no labeller
    vouches for; `drop` drops all but people's; `report` only tells."""
    outliers: Literal["drop", "report", "off"] = "report"
    """Prompts unlike all others. A new kind of request begins as one, so they are told, not dropped."""
    label_rows: int = Field(default=5, ge=3)
    """Rows an answer needs before it counts as a label that others can be held against."""
    user_share: float = Field(default=0.25, gt=0, le=1)
    """No user gives more than this share of the fresh training rows (or twice an even share, where users are few)."""
    user_rows: int = Field(default=20, ge=1)
    """Everybody may give so many."""
    source_shares: dict[str, float] = Field(default={"judge": 0.3, "teacher": 0.5, "weak": 0.5})
    """Largest share of the fresh training rows by source; a source that is not named has no cap."""
    balance: float | None = Field(default=None, ge=1)
    """No label has more than this many times the rows of the median label; None: labels stay as traffic has them."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Curation:
        wrong = [name for name, share in self.source_shares.items() if not 0 < share <= 1]
        if wrong:
            msg = f"source_shares.{wrong[0]} must lie in (0, 1]"
            raise ValueError(msg)
        return self

"""The nouns every room shares.

Lives here: frozen records that travel between rooms, and nothing else.
Comes in: nothing. Goes out: plain data, safe to log after redaction.
Must never know: the database, the network, the clock, or any room.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from serving.errors import InvalidInput, RemoteFault, TrimtabError, Unservable

__all__ = [
    "Action",
    "AdapterVersion",
    "Alarm",
    "Check",
    "Decision",
    "Estimate",
    "Exchange",
    "Features",
    "Grade",
    "InvalidInput",
    "Message",
    "Order",
    "Outcome",
    "Reading",
    "RemoteFault",
    "ToolCall",
    "TrimtabError",
    "Unservable",
    "Verdict",
    "VerdictKind",
    "Window",
]


class Outcome(enum.StrEnum):
    """How an exchange ended, seen from inside the engine."""

    COMPLETE = "complete"
    CLIENT_GONE = "client_gone"
    ERROR = "error"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One chat message. `text` joins all text parts of a multi-part content."""

    role: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCall:
    """A function that the model wants called; `arguments` is JSON text, as far as it came."""

    name: str
    arguments: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """One row of named numbers and short strings for one exchange; units are in the names."""

    exchange_id: str
    numbers: Mapping[str, float]
    labels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """One request and its answer, redacted, as profiles, drift, judge and curation see it.

    `worker` and `seq` are the tap's own numbering and make a resend idempotent.
    `alias` is the model name the client asked for, `version` the adapter that answered.
    `user` is a keyed hash, never the name itself. Times are in seconds; `ttft_s` is None when not streamed.
    `tools` are the names offered, `tool_calls` what the model called (they stand at the end of `answer` too);
    `answers` counts the choices; `logprob_mean` is per token of the answer, when the client asked for it;
    `gap_p50_s` and `gap_max_s` are the median and the longest time between two pieces of a streamed answer.
    `features` were measured before the text was dropped; they are None while the text is there.
    `text_gone` says why the store has no text: thinned (kept for a while, then one of many), paused (no room on the
    disk when it came), off (`capture.text = none`); None otherwise.
    """

    id: str
    worker: str
    seq: int
    started_at: datetime
    path: str
    alias: str
    version: str
    status: int
    outcome: Outcome
    messages: tuple[Message, ...]
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
    tools: tuple[str, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    answers: int = 1
    logprob_mean: float | None = None
    gap_p50_s: float | None = None
    gap_max_s: float | None = None
    template_version: str | None = None
    features: Features | None = None
    text_gone: str | None = None

    @property
    def has_text(self) -> bool:
        """False where no text was kept (`capture.text = none`, thinned, paused): nothing to judge or learn from."""
        return self.features is None and self.text_gone is None and self.outcome is not Outcome.UNREADABLE

    @property
    def prompt(self) -> str:
        """The text of the last user message; what drift and the judge call the prompt."""
        for message in reversed(self.messages):
            if message.role == "user":
                return message.text
        return self.messages[-1].text if self.messages else ""

    @property
    def profiled(self) -> bool:
        """True when the exchange is whole: cut, failed, abandoned and thinned ones are counted but never profiled.

        Nor are embeddings, which have no text, and batches, which are several conversations in one.
        """
        cut = self.request_cut_bytes or self.response_cut_bytes
        unmeasured = self.features is None and (self.text_gone is not None or not (self.messages or self.answer))
        whole = self.status == 200 and self.outcome is Outcome.COMPLETE and not cut
        return whole and not unmeasured and self.path != "/v1/chat/completions/batch"


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A run of consecutive exchanges of one adapter version: [start_at, end_at], `rows` of them."""

    id: str
    version: str
    start_at: datetime
    end_at: datetime
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How far: one distance of one feature between the reference and a window. Never a verdict.

    `measure` names the distance (ks, psi, ...); `value` is in that measure's own units (0 = equal).
    """

    window_id: str
    version: str
    feature: str
    measure: str
    value: float
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """Whether to act: the sequential detector passed the promised run length.

    `row` counts live exchanges since the detector's reference, 0-based; `onset_row` is the estimated change point.
    `evidence` is log10 of the detector's statistic; `threshold` the log10 it had to pass.
    `features` lists (feature, log10 evidence, mean shift in reference standard deviations), strongest first.
    `examples` are exchange ids of the most typical new texts, `vanished` of reference texts whose kind comes less;
    `kind` says what moved (input, output, relation, template, latency).
    """

    alias: str
    version: str
    row: int
    onset_row: int
    at: datetime
    onset_at: datetime
    kind: str
    evidence: float
    threshold: float
    features: tuple[tuple[str, float, float], ...]
    examples: tuple[str, ...]
    reason: str
    vanished: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Grade:
    """One opinion on one answer. `score` in [0, 1]; `source` is judge, feedback or a person's name for it.

    `truth` grades (people, or a recogniser standing in for one) anchor the estimate; judge grades extend it.
    """

    exchange_id: str
    source: str
    score: float
    truth: bool
    at: datetime
    correction: str | None = None
    cost_tokens: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Measured quality over a run of exchanges: point, interval and what it rests on.

    `value`, `low`, `high` are shares in [0, 1]; `level` is the coverage (0.95).
    `n_truth` labels anchor it, `n_judged` judge scores narrow it.
    """

    version: str
    value: float
    low: float
    high: float
    level: float
    n_truth: int
    n_judged: int
    since: datetime
    until: datetime
    method: str

    @property
    def n(self) -> int:
        """Answers that any opinion was heard on."""
        return max(self.n_truth, self.n_judged)


class Action(enum.StrEnum):
    """What the policy can decide."""

    HOLD = "hold"
    WATCH = "watch"
    RETRAIN = "retrain"
    CANARY = "canary"
    ROLL_BACK = "roll_back"
    FROZEN = "frozen"


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """One decision of the policy with everything it rested on."""

    at: datetime
    alias: str
    action: Action
    reasons: tuple[str, ...]
    seen: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A retraining order: what to train, from which data, and why. `document` is the whole YAML/JSON."""

    id: str
    alias: str
    status: str
    reason: str
    document: Mapping[str, object]
    opened_at: datetime


class VerdictKind(enum.StrEnum):
    """What the gate says about a challenger."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NEEDS_MORE_DATA = "needs_more_data"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One line of the gate: a paired difference challenger minus champion with its interval and its bound.

    `more` says of a line that is open (`passed` None) about how many more pairs would show it; None: nobody can say.
    """

    name: str
    passed: bool | None
    estimate: float
    low: float
    high: float
    bound: float
    n: int
    says: str
    more: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """All checks and what they add up to."""

    kind: VerdictKind
    checks: tuple[Check, ...]

    @property
    def accepted(self) -> bool:
        """True when the challenger may be rolled out."""
        return self.kind is VerdictKind.ACCEPTED


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterVersion:
    """An immutable adapter artifact.

    `digest` is the sha256 over its files' digests; `status` is its place in life: accepted (may be served),
    waiting (accepted by the gate, not yet by the person its order asks for), rejected (never served), live, retired.
    """

    name: str
    alias: str
    path: str
    digest: str
    base_digest: str
    parent: str | None
    status: str
    created_at: datetime
    order_id: str | None = None
    verdict: Verdict | None = None

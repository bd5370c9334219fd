"""Where the value of each metric is found (pure).

Lives here: small readers, each from a snapshot and the process's facts to samples.
Comes in: a `Snapshot`, a `ProcessInfo`. Goes out: label values and numbers.
Must never know: names and types of metrics (`metrics.py` has them), the store, the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from agent.store.snapshot import Snapshot

Sample = tuple[tuple[str, ...], float]
"""Label values in the order of the metric's labels, and the value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessInfo:
    """What the sidecar knows of itself; everything else comes from the store.

    `loop_lag_s` is how far behind each loop is, in seconds; `loop_faults` counts what its outer ring caught.
    `text_paused` and `text_dropped` say that texts are not stored for want of room, and of how many exchanges.
    `quality_floor` and `judge_enabled` repeat the settings, so that alert rules need no second copy of them.
    """

    version: str
    started_at: datetime
    resident_bytes: int
    judge_enabled: bool = False
    quality_floor: float | None = None
    loop_lag_s: Mapping[str, float] = field(default_factory=dict)
    loop_faults: Mapping[str, int] = field(default_factory=dict)
    text_paused: bool = False
    text_dropped: int = 0
    database_bytes: int = 0


Read = Callable[[Snapshot, ProcessInfo], Iterable[Sample]]
"""From what is known to the samples of one metric; none where nothing is known."""

ORDER_STATUSES = ("open", "running", "done", "failed")
ACTIONS = ("hold", "watch", "retrain", "roll_back")
PHASES = ("steady", "probe", "shift", "drain")


def of_alias(value: Callable[[Snapshot], float | None]) -> Read:
    """One sample for the alias, when there is a value."""

    def read(seen: Snapshot, _process: ProcessInfo) -> Iterator[Sample]:
        found = value(seen)
        if found is not None:
            yield (seen.alias,), float(found)

    return read


def single(
    value: Callable[[Snapshot, ProcessInfo], float | None],
) -> Read:
    """One sample without labels, when there is a value."""

    def read(seen: Snapshot, process: ProcessInfo) -> Iterator[Sample]:
        found = value(seen, process)
        if found is not None:
            yield (), float(found)

    return read


def of_estimate(name: str) -> Read:
    """The newest estimate's field for each version."""

    def read(seen: Snapshot, _process: ProcessInfo) -> Iterator[Sample]:
        for estimate in seen.estimates:
            yield (seen.alias, estimate.version), float(getattr(estimate, name))

    return read


def of_drift(name: str) -> Read:
    """The detector's field for the version that it watches."""

    def read(seen: Snapshot, _process: ProcessInfo) -> Iterator[Sample]:
        value = getattr(seen.drift, name)
        if seen.drift.version is not None and value is not None:
            yield (seen.alias, seen.drift.version), float(value)

    return read


def exchanges(seen: Snapshot, _process: ProcessInfo) -> Iterator[Sample]:
    """Exchanges by version and outcome."""
    for tally in seen.exchanges:
        yield (seen.alias, tally.version, tally.outcome), tally.n


def last_seen(seen: Snapshot, _process: ProcessInfo) -> float | None:
    """When a tap last spoke."""
    return max((worker.seen_at.timestamp() for worker in seen.workers), default=None)


def feedback(seen: Snapshot, _process: ProcessInfo) -> Iterator[Sample]:
    """Truth labels by source."""
    for grades in seen.grades:
        if grades.truth:
            yield (grades.source,), grades.n


def judge_last(seen: Snapshot, _process: ProcessInfo) -> float | None:
    """When the judge last scored."""
    return max((g.last_at.timestamp() for g in seen.grades if not g.truth), default=None)


def _one_of(value: str | None, choices: tuple[str, ...], *before: str) -> Iterator[Sample]:
    """A state as 0/1 samples over all its values, so that a rule never waits for a series to appear."""
    if value is not None:
        for choice in (*choices, *(() if value in choices else (value,))):
            yield (*before, choice), float(choice == value)


def decision(seen: Snapshot, _process: ProcessInfo) -> Iterator[Sample]:
    """The policy's last action as 0/1 samples."""
    yield from _one_of(seen.decision.action.value if seen.decision else None, ACTIONS, seen.alias)


def orders(seen: Snapshot, _process: ProcessInfo) -> Iterator[Sample]:
    """Orders by status."""
    for status in ORDER_STATUSES:
        yield (seen.alias, status), seen.order_counts.get(status, 0)


def order_status(seen: Snapshot, _process: ProcessInfo) -> Iterator[Sample]:
    """The newest order's status as 0/1 samples."""
    if seen.orders:
        yield from _one_of(seen.orders[0].status, ORDER_STATUSES, seen.alias)


def weights(seen: Snapshot, _process: ProcessInfo) -> Iterator[Sample]:
    """Shares of users, 0 for a version that could serve but does not."""
    if seen.rollout is not None:
        serving = dict.fromkeys((a.name for a in seen.adapters if a.status not in {"retired", "rejected", "waiting"}), 0.0)
        for version, share in (serving | seen.rollout.weights).items():
            yield (seen.alias, version), share


def phase(seen: Snapshot, _process: ProcessInfo) -> Iterator[Sample]:
    """The rollout's phase as 0/1 samples."""
    yield from _one_of(seen.rollout.phase if seen.rollout else None, PHASES, seen.alias)


def adapters(seen: Snapshot, _process: ProcessInfo) -> Iterator[Sample]:
    """One sample for each adapter version."""
    for adapter in seen.adapters:
        yield (seen.alias, adapter.name, adapter.status, adapter.digest, adapter.parent or ""), 1.0

"""What to do next for one alias (pure).

Lives here: the phases of a rollout, the weights each one means, and the next step.
Comes in: where the rollout stands, what the engine and the store show. Goes out: one `Step`.
Must never know: HTTP, the database, the clock.

Phases: `steady` (one version answers) -> `probe` (the challenger is loaded, has no traffic and repeats its recorded
answers) -> `shift` (its share grows step by step) -> `drain` (it answers everything; the old one finishes its
streams) -> `steady`. A failure in `probe` or `shift` goes back to `steady` with the old champion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Phase = Literal["steady", "probe", "shift", "drain"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stand:
    """Where one alias stands, as persisted. In `drain`, `challenger` names the old version that is leaving."""

    champion: str
    challenger: str | None
    phase: Phase
    step: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """What happened since the present step began. `answered` and `failed` count the challenger's exchanges."""

    answered: int
    failed: int
    step_age_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Begin:
    """An accepted version waits: make it the challenger."""

    challenger: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """Ask the challenger what it was asked at evaluation and compare."""

    challenger: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Shift:
    """Move to this step of the traffic shares."""

    step: int
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Promote:
    """The challenger answers everything: it is the champion now; let the old one drain."""

    champion: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Unload:
    """The old champion has been quiet long enough."""

    version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Abort:
    """Send everyone back to the champion, for a reason."""

    challenger: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """Nothing to do yet, and what for."""

    reason: str


Step = Begin | Probe | Shift | Promote | Unload | Abort | Wait
FORWARD = (Begin, Probe, Shift, Promote)
"""Steps that bring a new version nearer to users. What goes back or tidies up is no such step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """The settings that a step depends on (see `agent.settings.RolloutSettings`)."""

    steps: Sequence[float]
    step_exchanges: int
    step_max_s: float
    max_error_ratio: float
    drain_s: float


def weights(stand: Stand, rules: Rules) -> Mapping[str, float]:
    """Version -> share of users that the alias gives it, in this phase. Shares add up to 1."""
    if stand.phase == "shift" and stand.challenger is not None:
        share = rules.steps[min(stand.step, len(rules.steps) - 1)]
        return {stand.challenger: 1.0} if share >= 1.0 else {stand.champion: 1.0 - share, stand.challenger: share}
    return {stand.champion: 1.0}


def wanted(stand: Stand) -> tuple[str, ...]:
    """The versions that the engine must hold in this phase."""
    return (stand.champion,) if stand.challenger is None else (stand.champion, stand.challenger)


def next_step(stand: Stand, waiting: str | None, traffic: Traffic, rules: Rules) -> Step:
    """The next step. `waiting` is the newest accepted version that has not been tried, if any."""
    if stand.phase == "steady" or stand.challenger is None:
        return Begin(challenger=waiting) if waiting else Wait(reason="one version answers")
    if stand.phase == "probe":
        return Probe(challenger=stand.challenger)
    if stand.phase == "drain":
        if traffic.step_age_s < rules.drain_s:
            return Wait(reason=f"{stand.challenger} finishes its streams")
        return Unload(version=stand.challenger)
    return _shift(stand, stand.challenger, traffic, rules)


def halt(step: Step, stand: Stand, why: str, rules: Rules) -> Wait:
    """What becomes of a step forward that must not be made now: nothing moves, and `why` is said."""
    if isinstance(step, Begin):
        return Wait(reason=f"{step.challenger} waits for its canary: {why}")
    share = weights(stand, rules).get(stand.challenger or "", 0.0)
    return Wait(reason=f"{stand.challenger} stays at {share:.0%} of users: {why}")


def _shift(stand: Stand, challenger: str, traffic: Traffic, rules: Rules) -> Step:
    if traffic.failed > max(1, rules.max_error_ratio * traffic.answered):
        reason = f"{traffic.failed} of {traffic.answered} exchanges of {challenger} failed at step {stand.step + 1}"
        return Abort(challenger=challenger, reason=reason)
    if traffic.answered < rules.step_exchanges and traffic.step_age_s < rules.step_max_s:
        return Wait(reason=f"step {stand.step + 1}: {traffic.answered} of {rules.step_exchanges} exchanges")
    if stand.step + 1 < len(rules.steps):
        return Shift(step=stand.step + 1, share=rules.steps[stand.step + 1])
    return Promote(champion=challenger)

"""What a running agent says of itself: its loops, its offices, and what holds its policy back.

Lives here: `Live`. Comes in: the parts of a wired agent. Goes out: plain data for the status page and the metrics.
Must never know: how any of it is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent.app.freeze import frozen
from agent.app.loops import Loops
from agent.app.own import OwnRequests
from agent.app.spending import Spending
from agent.intake.server import IntakeServer
from agent.policy.hours import quiet
from agent.settings import Settings
from agent.store import Store
from agent.store.gate import TextGate
from agent.store.leader import Leader


@dataclass(frozen=True, kw_only=True)
class Live:
    """`shares` are those of users per version, `phase` is what the detector does; both as they are when asked."""

    settings: Settings
    store: Store
    loops: Loops
    intake: IntakeServer
    gate: TextGate
    own: OwnRequests
    leader: Leader
    mover: Leader
    spending: Spending
    shares: Callable[[], Mapping[str, float]]
    phase: Callable[[], str]
    pod: str
    started_at: datetime
    now: Callable[[], datetime]

    def status(self) -> dict[str, Any]:
        """What `/v1/status` shows under `live`."""
        health = {
            name: {"calls": h.calls, "faults": h.faults, "lag_s": h.lag_s, "behind_s": h.behind_s, "says": h.says}
            for name, h in self.loops.health.items()
        }
        return {
            "loops": health,
            "workers": self.intake.workers,
            "detector": self.phase(),
            "weights": dict(self.shares()) or None,
            "started_at": self.started_at,
            "own_requests": {"started": self.own.started, "finished": self.own.finished},
            "text_paused": self.gate.paused,
            "pod": self.pod,
            "role": self.settings.role,
            "leads": self.leader.leading,
            "leader": self.leader.who() if self.pod else "",
            "moves": self.mover.leading,
            "mover": self.mover.who() if self.pod else "",
            "policy": self.policy(),
        }

    def limits(self) -> dict[str, object]:
        """Shares of the budgets that are spent, and since when the policy is frozen: for metrics."""
        known = self.policy()
        used = {name: known[name] for name in ("gpu_hours", "judge_money")}
        return {
            "budgets": {name: one["spent"] / one["budget"] for name, one in used.items() if one["budget"]},
            "frozen_at": datetime.fromisoformat(held["at"]) if (held := known["frozen"]) else None,
        }

    def policy(self) -> dict[str, Any]:
        """What holds the policy back: a person, the hours, the money."""
        at, policy = self.now(), self.settings.policy
        held = frozen(self.store, at)
        spent = self.spending.look(self.store.orders(alias=self.settings.alias), at)
        return {
            "frozen": held.to_json() if held else None,
            "quiet": quiet(policy.quiet_hours, policy.time_zone, at),
            "gpu_hours": {"spent": spent.gpu_hours, "budget": policy.gpu_hours},
            "judge_money": {"spent": spent.judge_money, "budget": policy.judge_money},
        }

"""Whether what passes the engine passes the tap too (pure).

Lives here: reading the two counts, and what their growth means.
Comes in: the engine's metrics text and the agent's status, each looked at twice. Goes out: one finding.
Must never know: HTTP, waiting, settings.

The agent is read first and last, the engine in between: whatever the engine finished in that time the agent must have
counted in its own, longer time. All that the agent itself may have asked in it is taken off; a retraining job's
requests are not known, so while one runs nothing is said. The engine counts a list of prompts, and n > 1, several
times: a smaller growth of the agent is a doubt, no growth at all is proof.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Finding = tuple[bool | None, str, str]
"""(well, None when it could not be told; what was looked at; the remedy)."""

_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{.*\})? (?P<value>\S+)", re.MULTILINE)
_COUNTS = ("vllm:request_success_total", "vllm:e2e_request_latency_seconds_count")
_STARTS = ("process_start_time_seconds", "vllm:request_success_created")
_ATTACHED = "attach-"
_LIVELY_S = 60.0
_ENDED = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class EngineSeen:
    """Requests that ended well since the start, None for what is no vLLM; `started_at` in unix seconds, if known."""

    requests: int | None
    started_at: float | None


@dataclass(frozen=True, slots=True)
class AgentSeen:
    """Numbers given by living taps and by the attach doors; the agent's own requests, as they left and came back.

    `started_at` in unix seconds, if known; `busy` is what forbids to compare, if anything does.
    """

    counted: int
    attached: int
    own_started: int
    own_finished: int
    started_at: float | None
    busy: str | None


def engine_seen(metrics: str) -> EngineSeen:
    """What vLLM's metrics text says."""
    samples: dict[str, list[float]] = {}
    for match in _SAMPLE.finditer(metrics):
        if match["name"] in _COUNTS + _STARTS:
            samples.setdefault(match["name"], []).append(float(match["value"]))
    counts = next((samples[name] for name in _COUNTS if name in samples), None)
    starts = next((samples[name] for name in _STARTS if name in samples), None)
    none_yet = 0 if re.search(r"^(?:# \w+ )?vllm:", metrics, re.MULTILINE) else None
    return EngineSeen(round(sum(counts)) if counts else none_yet, min(starts) if starts else None)


def agent_seen(status: Mapping[str, Any]) -> AgentSeen:
    """What `/v1/status` says."""
    at = datetime.fromisoformat(status["at"])
    workers = status["workers"]
    attached = [w for w in workers if w["worker"].startswith(_ATTACHED)]
    taps = [w for w in workers if w not in attached and _age_s(w, at) < _LIVELY_S]
    live = status["live"]
    started, own = live.get("started_at"), live.get("own_requests") or {}
    orders = [o["status"] for o in status["orders"] if o["status"] not in _ENDED]
    rollout = status.get("rollout") or {}
    busy = "a retraining job may be asking it" if "running" in orders else None
    if rollout.get("phase", "steady") != "steady":
        busy = busy or "an adapter is being rolled out"
    return AgentSeen(
        counted=sum(w["assigned"] for w in taps),
        attached=sum(w["assigned"] for w in attached),
        own_started=own.get("started", 0),
        own_finished=own.get("finished", 0),
        started_at=datetime.fromisoformat(started).timestamp() if started else None,
        busy=busy,
    )


def _age_s(worker: Mapping[str, Any], at: datetime) -> float:
    return (at - datetime.fromisoformat(worker["seen_at"])).total_seconds()


def judge_flow(
    engine: tuple[EngineSeen, EngineSeen], agent: tuple[AgentSeen, AgentSeen], seconds: float, remedy: str
) -> Finding:
    """One finding from two looks, `seconds` apart; `remedy` is what to do when traffic passes the tap by."""
    (engine_0, engine_1), (agent_0, agent_1) = engine, agent
    if engine_0.requests is None or engine_1.requests is None:
        return None, "traffic", "the engine's metrics do not name its requests"
    passed = engine_1.requests - engine_0.requests - (agent_1.own_started - agent_0.own_finished)
    counted = agent_1.counted - agent_0.counted + agent_1.attached - agent_0.attached
    busy = agent_0.busy or agent_1.busy
    if passed > 0 and busy is None:
        return _compared(passed, counted, f"in {seconds:.0f} s", remedy)
    since_start = _since_start(engine_1, agent_1)
    if since_start is not None and busy is None and agent_1.counted + agent_1.attached == 0:
        return _compared(since_start, 0, "since its start", remedy)
    if passed > 0:
        return None, f"{passed} requests passed the engine", f"they cannot be told apart now, because {busy}: ask later"
    return (
        None,
        f"no request passed the engine in {seconds:.0f} s",
        "send one while this command looks: only then can it tell whether the tap sees it",
    )


def _since_start(engine: EngineSeen, agent: AgentSeen) -> int | None:
    """Requests of others in the engine's whole life; None when there were none, or an earlier agent may have asked."""
    if engine.started_at is None or agent.started_at is None or agent.started_at > engine.started_at:
        return None
    others = (engine.requests or 0) - agent.own_started
    return others if others > 0 else None


def _compared(passed: int, counted: int, when: str, remedy: str) -> Finding:
    what = f"{passed} request{'s' * (passed > 1)} passed the engine {when}, the agent counted {counted or 'none'}"
    if counted >= passed:
        return True, what, ""
    if counted:
        doubt = "lists of prompts and n > 1 count several times in the engine; if nobody sends such, then "
        return None, what, doubt + remedy
    return False, what, remedy

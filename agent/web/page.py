"""The status page (pure).

Lives here: one HTML page that tells a person, calmly, where things stand and why.
Comes in: a snapshot and what the running process adds (`live`). Goes out: HTML without any outside asset.
Must never know: the store, HTTP, settings. Every text from outside passes `escape` here.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from typing import Any

from agent.store.snapshot import AlarmSeen, Example, OrderSeen, RolloutSeen, Snapshot
from agent.types import Action, Decision
from agent.web.charts import drift_chart, quality_chart

REFRESH_S = 5
HUES = 6
"""Colours in the style sheet; versions take them in turn."""
TIMELINE = 20
MOST_SHOWN = 5
"""Versions whose shares are shown while none is named."""
WORDS = {
    Action.WATCH: "Drift: watching",
    Action.ROLL_BACK: "Rolling back",
    Action.FROZEN: "Frozen by a person",
}

SCRIPT = f"""
setInterval(async () => {{
  if (document.hidden) return;
  const open = [...document.querySelectorAll("details[open]")].map(d => d.id);
  try {{
    const answer = await fetch("/", {{headers: {{accept: "text/html"}}}});
    if (!answer.ok) throw new Error(answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceWith(page.querySelector("main"));
    open.forEach(id => document.getElementById(id)?.setAttribute("open", ""));
    document.title = page.title;
    document.body.classList.remove("stale");
  }} catch {{ document.body.classList.add("stale"); }}
}}, {REFRESH_S * 1000});
"""
_DIGEST = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; script-src 'sha256-{_DIGEST}'; style-src 'unsafe-inline'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the page: its own script and style, nothing else."""


def page(seen: Snapshot, live: Mapping[str, Any]) -> str:
    """The whole page."""
    hue = hues(seen)
    tone, sentence = headline(seen)
    style = files("agent.web").joinpath("style.css").read_text(encoding="utf-8")
    last = max([1, seen.capture.stored, *(p.rowid for p in seen.evidence_series)])
    body = "".join(
        (
            f'<section class="head {tone}"><h1>{escape(sentence)}</h1>',
            f"<p>alias <b>{escape(seen.alias)}</b> · {_moment(seen.at)} UTC</p></section>",
            f'<section class="figures">{_figures(seen, hue)}</section>',
            '<section class="card"><h2>Drift <small>evidence that the traffic has changed, log10</small></h2>',
            *(f'<p class="limits">{escape(note[:1].upper() + note[1:])}.</p>' for note in seen.drift.notes),
            drift_chart(seen.evidence_series, seen.alarm_rowids, last, hue),
            "<h2>Quality <small>share of good answers with its interval</small>",
            f"{_legend(hue, {p.version for p in seen.quality_series})}</h2>",
            quality_chart(seen.quality_series, seen.alarm_rowids, last, hue),
            '<p class="axis">exchange</p></section>',
            f'<div class="columns">{_alarm(seen.alarm, seen.at)}{_decision(seen.decision, seen.at)}</div>',
            _adapters(seen, hue),
            _orders(seen.orders, seen.at),
            _timeline(seen),
            _footer(seen, live),
        )
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(sentence)} · Trimtab</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<noscript><meta http-equiv="refresh" content="{REFRESH_S}"></noscript>'
        f'<link rel="icon" href="data:,"><style>{style}</style></head><body>'
        f'<header>{_MARK}<b>Trimtab</b><span class="stale-note">the agent does not answer</span></header>'
        f"<main>{body}</main><script>{SCRIPT}</script></body></html>"
    )


def headline(seen: Snapshot) -> tuple[str, str]:
    """(tone, sentence): what matters most right now. Tones: good, busy, bad, quiet."""
    order = seen.orders[0] if seen.orders else None
    moving = _moving(seen.rollout)
    if moving:
        return "busy", moving
    if order is not None and order.status in {"open", "running"}:
        return "busy", f"Retraining, {order.stage or 'about to start'}"
    if order is not None and order.status == "failed":
        return "bad", "The last retraining failed"
    if seen.decision is not None and seen.decision.action in WORDS:
        return "bad", WORDS[seen.decision.action]
    if seen.rollout is None and seen.exchanges:
        return _observing(seen)
    if seen.drift.phase.startswith("learning"):
        return "quiet", f"Learning what is normal, {seen.drift.phase.removeprefix('learning ')}"
    if seen.drift.phase == "idle":
        return "quiet", "Waiting for traffic"
    return "good", "On course"


def _observing(seen: Snapshot) -> tuple[str, str]:
    """While no champion is named there is no course to be on: what is seen, and whether it drifts."""
    if seen.alarm is not None and seen.alarm.settled is None:
        return "bad", f"Observing: {seen.alarm.alarm.version} has drifted"
    n = len(seen.adapters)
    return "quiet", f"Observing {n} version{'s' * (n != 1)}"


def _moving(rollout: RolloutSeen | None) -> str | None:
    """What a rollout is doing, None when it rests."""
    if rollout is None or not rollout.challenger or rollout.phase == "steady":
        return None
    if rollout.phase == "drain":
        return f"{rollout.champion} has taken over"
    if rollout.phase == "probe":
        return f"{rollout.challenger} is being proven"
    return f"{rollout.challenger} answers {rollout.weights.get(rollout.challenger, 0.0):.0%} of users"


def hues(seen: Snapshot) -> dict[str, int]:
    """A colour number for each version, the same on the whole page."""
    names = [adapter.name for adapter in seen.adapters]
    names += [tally.version for tally in seen.exchanges if tally.version not in names]
    return {name: number % HUES for number, name in enumerate(dict.fromkeys(names))}


def ago(at: datetime, now: datetime) -> str:
    """How long ago, in one or two words."""
    seconds = max(0.0, (now - at).total_seconds())
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name} ago"
    return f"{seconds:.0f} s ago"


_MARK = (
    '<svg class="mark" viewBox="0 0 24 24" aria-hidden="true"><path d="M4 1h8c3 5 4 14 2 22H4z"/>'
    '<path class="tab" d="M16.6 13.2l5.4 3.4-6 5.6c.7-3 .9-6 .6-9z"/></svg>'
)


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _time(at: datetime, now: datetime) -> str:
    return f'<time datetime="{at.isoformat()}" title="{_moment(at)} UTC">{ago(at, now)}</time>'


def _tag(version: str, hue: Mapping[str, int]) -> str:
    return f'<span class="version hue{hue.get(version, 0)}">{escape(version)}</span>'


def _legend(hue: Mapping[str, int], shown: Iterable[str]) -> str:
    return '<span class="legend">' + "".join(_tag(v, hue) for v in hue if v in set(shown)) + "</span>"


# -- the four figures ---------------------------------------------------------------------------------


def _figure(name: str, value: str, says: str) -> str:
    return f'<div class="card figure"><h3>{name}</h3><b>{value}</b><p>{says}</p></div>'


def _figures(seen: Snapshot, hue: Mapping[str, int]) -> str:
    return _quality(seen) + _evidence(seen) + _captured(seen) + _answering(seen, hue)


def _quality(seen: Snapshot) -> str:
    if not seen.estimates:
        return _figure("Quality", "–", "not enough labels yet")
    newest = max(seen.estimates, key=lambda item: item.until)
    says = (
        f"{escape(newest.version)}, {newest.low:.0%}–{newest.high:.0%} at {newest.level:.0%}; "
        f"{newest.n_truth} labels, {newest.n_judged} judged"
    )
    return _figure("Quality", f"{newest.value:.1%}", says)


def _evidence(seen: Snapshot) -> str:
    drift = seen.drift
    value = "–" if drift.evidence is None else f"{drift.evidence:.1f}"
    if drift.threshold is not None:
        value += f"<small> of {drift.threshold:.1f}</small>"
    alarms = "no alarm yet" if not drift.alarms else f"{drift.alarms} alarm{'s' * (drift.alarms > 1)}"
    return _figure("Drift evidence", value, f"{escape(drift.phase)}; {alarms}")


def _captured(seen: Snapshot) -> str:
    capture = seen.capture
    says = f"{capture.lost:,} lost, {capture.dropped:,} dropped, {capture.unreadable:,} unreadable"
    return _figure("Exchanges", f"{capture.stored:,}", says)


def _answering(seen: Snapshot, hue: Mapping[str, int]) -> str:
    if seen.rollout is None:
        return _observed(seen, hue)
    weights = [(version, share) for version, share in seen.rollout.weights.items() if share > 0]
    return _figure("Answering", *_shares(weights, seen.rollout.champion, hue))


def _observed(seen: Snapshot, hue: Mapping[str, int]) -> str:
    """Who has answered how much, while nobody is named."""
    known = {adapter.name for adapter in seen.adapters}
    answered = {name: n for name, n in seen.answered().items() if name in known}
    if not answered:
        return _figure("Answering", "–", "nobody yet; no champion is named: observe only")
    whole = sum(answered.values())
    shares = sorted(((version, n / whole) for version, n in answered.items()), key=lambda one: -one[1])
    _, says = _shares(shares[:MOST_SHOWN], "", hue)
    return _figure("Answering", "observe only", says)


def _shares(weights: Sequence[tuple[str, float]], champion: str, hue: Mapping[str, int]) -> tuple[str, str]:
    """(who answers most, a bar with the shares below it)."""
    bar = "".join(
        f'<i class="hue{hue.get(version, 0)}" style="flex-grow:{share:.4f}" title="{escape(version)}"></i>'
        for version, share in weights
    )
    top = max(weights, key=lambda item: item[1], default=(champion, 1.0))
    says = " ".join(f"<span class=share>{_tag(version, hue)} {share:.0%}</span>" for version, share in weights)
    return escape(top[0]), f'<span class="bar">{bar}</span>{says}'


# -- what moved, what was decided ---------------------------------------------------------------------


def _alarm(alarm: AlarmSeen | None, now: datetime) -> str:
    if alarm is None:
        return '<section class="card"><h2>Last alarm</h2><p class="none">None so far.</p></section>'
    said = alarm.alarm
    strongest = max((abs(evidence) for _, evidence, _ in said.features), default=1.0) or 1.0
    moved = "".join(
        f"<tr><td>{escape(feature)}</td><td class=meter><i style='width:{min(1, abs(evidence) / strongest):.0%}'></i>"
        f"</td><td class=number>{shift:+.1f} sd</td></tr>"
        for feature, evidence, shift in said.features
    )
    gone = _texts(alarm.vanished)
    settled = "" if alarm.settled is None else f"<p><b>{escape(alarm.settled[:1].upper() + alarm.settled[1:])}</b></p>"
    report = ""
    if alarm.report:
        name = escape(alarm.report.rsplit("/", 1)[-1])
        report = f'<p><a href="/reports/{name}">Full report of this alarm</a></p>'
    return (
        f"<section class=card><h2>Last alarm <small>{escape(said.kind)}, {_time(said.at, now)}</small></h2>"
        f"<p>{escape(said.reason)}</p>{settled}<table class=moved>{moved}</table>"
        f"<h3>Typical new texts</h3>{_texts(alarm.examples) or '<p class=none>None kept.</p>'}"
        f"{gone and '<h3>Comes less than in the reference</h3>' + gone}"
        f"<p class=quiet>Began about {_time(said.onset_at, now)}, {said.row - said.onset_row + 1:,} exchanges before "
        f"the alarm; evidence {said.evidence:.1f}, threshold {said.threshold:.1f}.</p>{report}</section>"
    )


def _texts(examples: Iterable[Example]) -> str:
    return "".join(
        f"<blockquote>{escape(example.prompt)}<small>{escape(example.answer)}</small></blockquote>"
        for example in examples
        if example.prompt
    )


def _decision(decision: Decision | None, now: datetime) -> str:
    if decision is None:
        return '<section class="card"><h2>Decision</h2><p class="none">None so far.</p></section>'
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in decision.reasons)
    action = escape(decision.action.value.replace("_", " "))
    return (
        f"<section class=card><h2>Decision <small>{_time(decision.at, now)}</small></h2>"
        f'<p class="action">{action}</p><ol class="reasons">{reasons}</ol></section>'
    )


# -- tables -------------------------------------------------------------------------------------------


def _adapters(seen: Snapshot, hue: Mapping[str, int]) -> str:
    answered = seen.answered()
    weights = seen.rollout.weights if seen.rollout else None
    rows = "".join(
        f"<tr><td>{_tag(a.name, hue)}</td><td><span class='state {escape(a.status)}'>{escape(a.status)}</span></td>"
        f"<td class=number>{_users(weights, a.name)}</td><td class=number>{answered.get(a.name, 0):,}</td>"
        f"<td>{escape(a.parent or '–')}</td>"
        f"<td><code title='{escape(a.digest)}'>{escape(a.digest[:12] or '–')}</code></td>"
        f"<td>{_time(a.created_at, seen.at)}</td></tr>"
        for a in reversed(seen.adapters)
    )
    head = "<tr><th>version<th>status<th class=number>users<th class=number>answered<th>parent<th>digest<th>made</tr>"
    body = f"<div class=scroll><table>{head}{rows}</table></div>" if rows else "<p class=none>None yet.</p>"
    return f'<section class="card"><h2>Adapters</h2>{body}</section>'


def _users(weights: Mapping[str, float] | None, version: str) -> str:
    """The share of users that a version answers by the alias; nobody shares while only observing."""
    return "–" if weights is None else f"{weights.get(version, 0):.0%}"


def _orders(orders: Iterable[OrderSeen], now: datetime) -> str:
    rows = "".join(_order(order, now) for order in orders)
    return f'<section class="card"><h2>Retraining orders</h2>{rows or "<p class=none>None yet.</p>"}</section>'


def _order(order: OrderSeen, now: datetime) -> str:
    verdict = order.verdict or {}
    checks = "".join(
        f"<tr><td>{_passed(check.get('passed'))}</td><td>{escape(str(check.get('name', '')))}</td>"
        f"<td class=number>{_percent(check.get('estimate'))}</td>"
        f"<td class=number>{_percent(check.get('low'))} to {_percent(check.get('high'))}</td>"
        f"<td>{escape(str(check.get('says', '')))}</td></tr>"
        for check in verdict.get("checks", [])
    )
    gate = f" · gate: {escape(str(verdict['kind']).replace('_', ' '))}" if "kind" in verdict else ""
    table = f"<div class=scroll><table>{checks}</table></div>" if checks else ""
    error = f'<p class="error">{escape(order.error)}</p>' if order.error else ""
    return (
        f'<details id="{escape(order.id)}"><summary><code>{escape(order.id)}</code>'
        f"<span class='state {escape(order.status)}'>{escape(order.status)}</span>"
        f'<progress max="1" value="{order.progress:.3f}"></progress>'
        f"<span class=quiet>{escape(order.stage or 'waiting')}{gate} · {_time(order.opened_at, now)}</span></summary>"
        f"<p>{escape(order.reason)}{f' (attempt {order.attempts})' if order.attempts > 1 else ''}</p>"
        f"{table}{error}</details>"
    )


def _passed(passed: object) -> str:
    return {True: "✓", False: "✗"}.get(passed, "?") if isinstance(passed, bool) else "?"


def _percent(value: object) -> str:
    return f"{value:+.1%}" if isinstance(value, int | float) else "–"


def _timeline(seen: Snapshot) -> str:
    lines = "".join(
        f'<li class="kind-{escape(event.kind)}">{_time(event.at, seen.at)}<b>{escape(event.kind)}</b>'
        f"<span>{escape(event.text)}</span></li>"
        for event in seen.events[:TIMELINE]
    )
    body = f"<ol class=timeline>{lines}</ol>" if lines else "<p class=none>Nothing has happened yet.</p>"
    return f'<section class="card"><h2>Record</h2>{body}</section>'


def _footer(seen: Snapshot, live: Mapping[str, Any]) -> str:
    judged = sum(g.n for g in seen.grades if not g.truth)
    labels = " · ".join(f"{g.n:,} labels from {escape(g.source)}" for g in seen.grades if g.truth)
    tokens = sum(g.cost_tokens for g in seen.grades)
    more = "".join(
        f" · {escape(str(key))} {escape(str(value))}" for key, value in live.items() if isinstance(value, str | int)
    )
    return (
        f"<footer><p>{judged:,} answers judged for {tokens:,} tokens"
        f"{' · ' + labels if labels else ''}{more}</p>"
        '<p><a href="/metrics">metrics</a> · <a href="/v1/status">status as JSON</a></p></footer>'
    )

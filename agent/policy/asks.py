"""What alerts ask for: Alertmanager's webhook payload -> wishes that the policy weighs (pure).

Lives here: reading of the payload (version 4), which alerts are meant for this agent, and how a wish lives and ends.
Comes in: the payload as JSON, what is known already, the time. Goes out: `Ask` records and one sentence for each alert.
Must never know: the store, HTTP, the clock; whether a wish is granted (`decide.py` does).

An alert asks by its label `trimtab_action`. Fingerprint and start make it one wish, however often it is sent. The wish
stands until the alert is resolved, the policy has answered it, or nothing was heard of it for a day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.types import Action, InvalidInput

LABEL = "trimtab_action"
ACTIONS = {action.value: action for action in (Action.RETRAIN, Action.ROLL_BACK, Action.WATCH)}
MOST_ALERTS = 500
"""Alerts in one payload."""
KEPT = 200
"""Wishes that are remembered; the oldest go first, those that stand last."""
FORGOTTEN_AFTER = timedelta(days=1)
"""Alertmanager repeats what fires every few hours: a wish not heard of for so long has ended unseen."""
NAME_CHARS, SUMMARY_CHARS = 100, 300

State = Literal["standing", "answered", "resolved", "expired"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One wish. `version` is what a rollback is about; `said` is how it was answered."""

    fingerprint: str
    starts_at: str
    name: str
    action: Action
    version: str
    summary: str
    heard_at: datetime
    state: State = "standing"
    said: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What makes it one and the same alert."""
        return self.fingerprint, self.starts_at

    @property
    def words(self) -> str:
        """For the reasons of a decision."""
        wish = {Action.RETRAIN: "to retrain", Action.ROLL_BACK: f"to roll {self.version} back"}
        return f"alert {self.name} asks {wish.get(self.action, 'to watch')}: {self.summary}".rstrip(": ")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self) | {"heard_at": self.heard_at.isoformat()}

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> Ask:
        """Back from `to_json`."""
        times = {"heard_at": datetime.fromisoformat(kept["heard_at"])}
        return cls(**(dict(kept) | times | {"action": Action(kept["action"])}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """What a payload came to: all wishes as they are now, the new ones among them, and a line for each alert."""

    asks: tuple[Ask, ...]
    fresh: tuple[Ask, ...]
    lines: tuple[Mapping[str, str], ...]


class _Alert(BaseModel):
    model_config = ConfigDict(extra="ignore")

    status: Literal["firing", "resolved"]
    labels: dict[str, str] = Field(max_length=200)
    annotations: dict[str, str] = Field(default_factory=dict, max_length=200)
    starts_at: datetime = Field(alias="startsAt")
    fingerprint: str = Field(min_length=1, max_length=64)


class _Payload(BaseModel):
    model_config = ConfigDict(extra="ignore")

    version: Literal["4"]
    alerts: list[_Alert] = Field(min_length=1, max_length=MOST_ALERTS)


def hear(
    payload: object, known: Sequence[Ask], *, alias: str, version: str, versions: Sequence[str], now: datetime
) -> Heard:
    """Take a payload in. `version` is what answers newest, `versions` all that could be meant.

    Raises InvalidInput when it is no payload, or none of its firing alerts can be meant for this agent.
    """
    asks = {ask.key: ask for ask in known}
    fresh: list[Ask] = []
    lines: list[dict[str, str]] = []
    refused: list[str] = []
    for alert in _read(payload).alerts:
        name = alert.labels.get("alertname", "without a name")[:NAME_CHARS]
        why = _refusal(name, alert.labels, alias, versions)
        if why is not None:
            refused += [why] * (alert.status == "firing")
            lines.append({"alert": name, "state": "ignored", "says": why})
            continue
        key = (alert.fingerprint, alert.starts_at.isoformat())
        old = asks.get(key)
        ask = _changed(old, alert, now) if old else _made(alert, name, version, now)
        if old is None and ask.state == "standing":
            fresh.append(ask)
        if old is not None or ask.state == "standing":
            asks[key] = ask
        lines.append({"alert": name, "action": ask.action.value, "state": ask.state, "says": ask.said})
    if refused and len(refused) == sum(line["state"] == "ignored" for line in lines) == len(lines):
        raise InvalidInput(refused[0])
    return Heard(asks=_kept(tuple(asks.values())), fresh=tuple(fresh), lines=tuple(lines))


def standing(asks: Sequence[Ask], *, champion: str, on_trial: str | None, now: datetime) -> tuple[Ask, ...]:
    """The wishes that count now: heard of lately, and, for a rollback, about a version that answers."""
    here = {champion, on_trial}
    return tuple(
        ask
        for ask in asks
        if ask.state == "standing"
        and now - ask.heard_at <= FORGOTTEN_AFTER
        and (ask.action is not Action.ROLL_BACK or ask.version in here)
    )


def answered(asks: Sequence[Ask], action: Action, said: str, keys: Sequence[tuple[str, str]]) -> tuple[Ask, ...]:
    """The same wishes, those of one action among `keys` answered."""
    return tuple(
        replace(ask, state="answered", said=said) if ask.key in keys and ask.action is action else ask for ask in asks
    )


def _read(payload: object) -> _Payload:
    if not isinstance(payload, dict):
        raise InvalidInput("send Alertmanager's webhook payload: a JSON object with version and alerts")
    try:
        return _Payload.model_validate(payload)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        if where == "version":
            raise InvalidInput('version must be "4", the only webhook payload that is understood') from error
        raise InvalidInput(f"{where} of the webhook payload: {fault['msg'][0].lower()}{fault['msg'][1:]}") from error


def _refusal(name: str, labels: Mapping[str, str], alias: str, versions: Sequence[str]) -> str | None:
    wish, about, version = labels.get(LABEL), labels.get("alias", alias), labels.get("version")
    if wish is None:
        return f"alert {name} asks for nothing: give its rule the label {LABEL} with {', '.join(ACTIONS)}"
    if wish not in ACTIONS:
        return f"alert {name} asks for {wish[:NAME_CHARS]!r}: {LABEL} must be one of {', '.join(ACTIONS)}"
    if about != alias:
        return f"alert {name} is about the alias {about[:NAME_CHARS]!r}, this agent steers {alias!r}"
    if wish == Action.ROLL_BACK.value and version is not None and version not in versions:
        return f"alert {name} is about the version {version[:NAME_CHARS]!r}, which {alias!r} does not have"
    return None


def _made(alert: _Alert, name: str, version: str, now: datetime) -> Ask:
    notes = alert.annotations
    ended = alert.status == "resolved"
    return Ask(
        fingerprint=alert.fingerprint,
        starts_at=alert.starts_at.isoformat(),
        name=name,
        action=ACTIONS[alert.labels[LABEL]],
        version=alert.labels.get("version", version),
        summary=" ".join((notes.get("summary") or notes.get("description") or "").split())[:SUMMARY_CHARS],
        heard_at=now,
        state="resolved" if ended else "standing",
        said="it had ended before it was heard of" if ended else "the policy weighs it at its next look",
    )


def _changed(old: Ask, alert: _Alert, now: datetime) -> Ask:
    if alert.status == "resolved" and old.state == "standing":
        return replace(old, state="resolved", said="it ended before anything was done", heard_at=now)
    return replace(old, heard_at=now)


def _kept(asks: tuple[Ask, ...]) -> tuple[Ask, ...]:
    newest = sorted(asks, key=lambda ask: (ask.state == "standing", ask.heard_at), reverse=True)[:KEPT]
    return tuple(sorted(newest, key=lambda ask: ask.heard_at))

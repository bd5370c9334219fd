"""What an alert may ask for, and that one alert is one wish."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from agent.policy.asks import FORGOTTEN_AFTER, KEPT, Ask, Heard, answered, hear, standing
from agent.types import Action, InvalidInput

T0 = datetime(2026, 11, 24, 10, tzinfo=UTC)


def alert(**changes: Any) -> dict[str, Any]:
    """One alert as Alertmanager 0.25 sends it."""
    made: dict[str, Any] = {
        "status": "firing",
        "labels": {"alertname": "Complaints", "alias": "home", "trimtab_action": "retrain", "severity": "warning"},
        "annotations": {"summary": "Many complaints\nabout answers.", "description": "More than usual."},
        "startsAt": "2026-11-24T09:59:30.123456789Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": "5ef77f1f8a3ecfea",
    }
    made["labels"] |= changes.pop("labels", {})
    return made | changes


def payload(*alerts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The webhook's body."""
    return {
        "version": "4",
        "groupKey": '{}:{alertname="Complaints"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "trimtab",
        "groupLabels": {"alertname": "Complaints"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager",
        "alerts": list(alerts) or [alert()],
    } | changes


def heard(*alerts: dict[str, Any], known: tuple[Ask, ...] = (), now: datetime = T0) -> Heard:
    """A payload taken in by the agent of `home`, whose version on trial is home-v2."""
    return hear(payload(*alerts), known, alias="home", version="home-v2", versions=["home-v1", "home-v2"], now=now)


def test_an_alert_becomes_a_wish_in_words() -> None:
    """Name, wish and summary must be in the reasons of what follows."""
    found = heard()
    assert [ask.words for ask in found.fresh] == ["alert Complaints asks to retrain: Many complaints about answers."]
    assert found.asks == found.fresh
    assert found.lines[0]["state"] == "standing"
    assert Ask.of_json(found.asks[0].to_json()) == found.asks[0]


def test_one_alert_is_one_wish_however_often_it_comes() -> None:
    """Fingerprint and start are what it is known by; another start is another alert."""
    first = heard()
    again = heard(known=first.asks, now=T0 + timedelta(hours=4))
    assert not again.fresh
    assert len(again.asks) == 1
    assert again.asks[0].heard_at == T0 + timedelta(hours=4)
    assert len(heard(alert(startsAt="2026-11-24T11:00:00Z"), known=again.asks).asks) == 2
    assert len(heard(alert(fingerprint="other"), known=again.asks).fresh) == 1


def test_a_wish_that_was_answered_is_not_asked_again() -> None:
    """A repeated notification of the same alert must not open a second order."""
    first = heard().asks
    done = answered(first, Action.RETRAIN, "order opened", [first[0].key])
    again = heard(known=done, now=T0 + timedelta(hours=4))
    assert again.asks[0].state == "answered"
    assert again.lines[0]["says"] == "order opened"
    assert standing(again.asks, champion="home-v1", on_trial=None, now=T0) == ()


def test_a_resolved_alert_wishes_nothing() -> None:
    """What has ended before the policy acted is let go, and what was never heard of is not kept."""
    first = heard().asks
    ended = heard(alert(status="resolved", endsAt="2026-11-24T10:30:00Z"), known=first)
    assert ended.asks[0].state == "resolved"
    assert standing(ended.asks, champion="home-v1", on_trial=None, now=T0) == ()
    assert heard(alert(status="resolved")).asks == ()


def test_a_wish_that_nobody_repeats_fades() -> None:
    """Alertmanager repeats what fires: a day of silence is an end that was not seen."""
    asks = heard().asks
    assert standing(asks, champion="home-v1", on_trial=None, now=T0 + FORGOTTEN_AFTER) == asks
    assert standing(asks, champion="home-v1", on_trial=None, now=T0 + FORGOTTEN_AFTER + timedelta(seconds=1)) == ()


def test_a_rollback_is_about_one_version() -> None:
    """Once that version is gone, the same wish must not take the next one down."""
    asks = heard(alert(labels={"trimtab_action": "roll_back"})).asks
    assert asks[0].version == "home-v2"
    assert asks[0].words.startswith("alert Complaints asks to roll home-v2 back")
    assert standing(asks, champion="home-v1", on_trial="home-v2", now=T0) == asks
    assert standing(asks, champion="home-v2", on_trial=None, now=T0) == asks
    assert standing(asks, champion="home-v1", on_trial=None, now=T0) == ()
    named = heard(alert(labels={"trimtab_action": "roll_back", "version": "home-v1"})).asks
    assert named[0].version == "home-v1"


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"trimtab_action": "explode"}, "'explode': trimtab_action must be one of retrain, roll_back, watch"),
        ({"trimtab_action": "hold"}, "must be one of"),
        ({"alias": "office"}, "about the alias 'office', this agent steers 'home'"),
        ({"trimtab_action": "roll_back", "version": "home-v9"}, "'home-v9', which 'home' does not have"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(labels: dict[str, str], says: str) -> None:
    """An alert that nobody can act on must come back to who wrote the rule."""
    with pytest.raises(InvalidInput, match="alert Complaints") as refused:
        heard(alert(labels=labels))
    assert says in str(refused.value)


def test_an_alert_that_asks_for_nothing_is_ignored_beside_one_that_does() -> None:
    """A group may hold other alerts: they neither count nor spoil it; alone they are refused."""
    other = alert(fingerprint="a")
    del other["labels"]["trimtab_action"]
    assert [line["state"] for line in heard(other, alert()).lines] == ["ignored", "standing"]
    with pytest.raises(InvalidInput, match="asks for nothing: give its rule the label trimtab_action"):
        heard(other)
    assert heard(other | {"status": "resolved"}).lines[0]["state"] == "ignored"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "a JSON object"),
        ({}, 'version must be "4"'),
        (payload(version="3"), 'version must be "4"'),
        (payload(alerts=[]) | {"alerts": []}, "alerts of the webhook payload: list should have at least 1 item"),
        (payload(alert(startsAt="yesterday")), "alerts.0.startsAt"),
        (payload(alert(labels={"alertname": 7})), "alerts.0.labels.alertname"),
        (payload(alert(fingerprint="")), "alerts.0.fingerprint"),
        (payload(*[alert()] * 501), "at most 500 items"),
    ],
)
def test_what_is_no_payload_is_refused_in_one_sentence(document: object, says: str) -> None:
    """The sentence must name the place and hold nothing of the rest."""
    with pytest.raises(InvalidInput) as refused:
        hear(document, (), alias="home", version="home-v1", versions=[], now=T0)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 250


def test_what_is_remembered_is_bounded() -> None:
    """However many alerts come, the oldest that were dealt with go first."""
    asks = heard().asks
    done = [replace(asks[0], fingerprint=f"{n}", state="answered", heard_at=T0 + timedelta(n)) for n in range(300)]
    kept = heard(known=(*asks, *done)).asks
    assert len(kept) == KEPT
    assert asks[0].key in {ask.key for ask in kept}
    assert {ask.fingerprint for ask in kept} - {asks[0].fingerprint} == {f"{n}" for n in range(101, 300)}


@hypothesis(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["firing", "resolved"])), max_size=12))
def test_any_order_of_repetitions_ends_with_at_most_one_wish_an_alert(news: list[tuple[str, str]]) -> None:
    """Repeated, late and early notices must never make two wishes of one alert, nor wake one that ended."""
    known: tuple[Ask, ...] = ()
    ended: set[str] = set()
    for name, status in news:
        before = {ask.fingerprint for ask in known}
        known = heard(alert(fingerprint=name, status=status), known=known).asks
        if status == "resolved" and name in before:
            ended.add(name)
    assert len({ask.key for ask in known}) == len(known)
    assert {ask.fingerprint for ask in known if ask.state == "resolved"} == ended

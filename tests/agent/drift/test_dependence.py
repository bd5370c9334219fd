"""Users, neighbours, hours: what makes records depend on each other costs stakes, and independence costs nothing."""

from __future__ import annotations

import dataclasses
import math
import random
from datetime import timedelta

import numpy as np
import pytest

from agent.drift.bets import GROUPS
from agent.drift.dependence import FORGET_ROWS, Dependence, Kin, keys_by, measure
from agent.drift.detector import Detector
from agent.drift.records import UNKNOWN_TIME, Record
from agent.drift.seasons import Seasons
from tests.agent.drift.streams import START, strange, stream


def _by(records: list[Record], size: int, name: str = "user") -> list[Record]:
    names = [f"{name}{i // size}" for i in range(len(records))]
    if name == "conversation":
        return [dataclasses.replace(record, conversation=x) for record, x in zip(records, names, strict=True)]
    return [dataclasses.replace(record, user=x) for record, x in zip(records, names, strict=True)]


def test_independent_records_keep_their_stakes() -> None:
    """Neither the order nor the users of independent scores cost anything."""
    z = np.random.default_rng(1).normal(size=(600, 20))
    for keys in ([None] * 600, [f"u{i // 10}" for i in range(600)]):
        found = measure(z, keys, np.random.default_rng(2))
        assert np.median(found.slow) == 1
        assert found.kin.mean() < 0.02


def test_users_who_repeat_themselves_stake_less() -> None:
    """Records of one user that correlate by a half are found to, and stake together what a handful would."""
    random_ = np.random.default_rng(1)
    z = np.repeat(random_.normal(size=(60, 20)), 10, axis=0) * math.sqrt(0.5) + random_.normal(size=(600, 20)) / 2**0.5
    keys = [f"u{i // 10}" for i in range(600)]
    known = measure(z, keys, np.random.default_rng(2))
    assert known.kin.mean() == pytest.approx(0.5, abs=0.15)
    kin, staked = Kin(known, 50_000), np.zeros(20)
    for row in range(100):
        stakes, _ = kin.stakes("one", row)
        kin.settle("one", row, stakes, np.zeros((20, GROUPS)))
        staked += stakes
    assert staked.max() < 4
    hidden = measure(z, [None] * 600, np.random.default_rng(2))
    assert np.median(hidden.slow) > 3


def test_slow_change_of_the_reference_slows_the_bets() -> None:
    """A reference that wanders makes every bet smaller; shuffled, it does not."""
    random_ = np.random.default_rng(3)
    wander = np.repeat(random_.normal(size=(20, 1)), 40, axis=0) * np.ones(15)
    z = wander + random_.normal(size=(800, 15))
    assert np.median(measure(z, [None] * 800, random_).slow) > 5
    assert np.median(measure(z[random_.permutation(800)], [None] * 800, random_).slow) == 1


def test_what_one_user_wins_is_bounded_and_forgotten() -> None:
    """After winning much a user's bets are closed in that direction; long after, they are open again."""
    kin = Kin(Dependence.none(2), 50_000)
    gains = np.array([[kin.won_at_most + 1, -1.0, 0.1, 0.1], [0.1] * 4])
    kin.settle("one", 0, np.ones(2), gains)
    assert kin.stakes("one", 1)[1].tolist() == [[False, True, True, True], [True] * 4]  # type: ignore[union-attr]
    assert kin.stakes("other", 1)[1] is None
    assert kin.stakes("one", int(3 * FORGET_ROWS))[1].all()  # type: ignore[union-attr]


def test_who_is_kin_is_read_from_the_reference() -> None:
    """Users if there are many, then conversations, then nobody: one name for all traffic says nothing."""
    records = stream(0, 100)
    assert keys_by(records) == [""]
    assert keys_by(_by(records, 5)) == ["user", ""]
    assert keys_by(_by(_by(records, 1_000), 5, "conversation")) == ["conversation", ""]
    assert keys_by(_by(_by(records, 1), 5, "conversation")) == ["user", "conversation", ""]
    assert keys_by(_by(records, 40)) == [""]


def test_one_new_user_is_no_drift_and_many_are() -> None:
    """A hundred strange records of one new user raise no alarm; the same records from many users do."""
    reference, r = _by(stream(1, 400), 8), random.Random(5)
    told = [strange(r) for _ in range(100)]
    live = [Record(id=f"n{i}", prompt=p, answer=a, user="new") for i, (p, a) in enumerate(told)]
    one = Detector.fit(reference, alias="home", version="v", budget_rows=50_000)
    before = [dataclasses.replace(x, user=f"live{x.user}") for x in _by(stream(2, 100), 8)]
    assert [one.update(record) for record in before + live] == [None] * 200
    many = Detector.fit(reference, alias="home", version="v", budget_rows=50_000)
    spread = [dataclasses.replace(record, user=f"new{i // 8}") for i, record in enumerate(live)]
    assert any(many.update(record) for record in before + spread)


def _nameless_bursts(seed: int, rows: int) -> list[Record]:
    """Runs of 16 records that say nearly the same, from nobody knows whom."""
    usual = stream(seed, rows)
    return [dataclasses.replace(usual[i // 16 * 16], id=f"b{i}") for i in range(rows)]


def test_bursts_of_nobody_knows_whom_raise_no_alarm() -> None:
    """Where neighbours are alike and nameless, nothing learned is staked and a run of them counts as one user."""
    detector = Detector.fit(_nameless_bursts(1, 480), alias="home", version="v", budget_rows=20_000)
    assert detector.core.kin.at_most[-1] == 0
    assert detector.core.kin.at_most[:-1].max() < 0.5
    assert (detector.core.kin.whose(None, 1), detector.core.kin.whose(None, 64)) == ("run 0", "run 1")
    assert detector.core.kin.whose("one", 1) == "one"
    assert detector.update_many(_nameless_bursts(2, 480)) == [None] * 480
    calm = Detector.fit(stream(1, 300), alias="home", version="v", budget_rows=20_000)
    assert calm.core.kin.whose(None, 1) is None


def test_names_that_do_not_tell_who_is_alike_are_passed_over() -> None:
    """An id per request, or a gateway's, is no user: then the conversation counts, or nobody is held to be named."""
    bursts = _nameless_bursts(1, 480)
    per_request = [dataclasses.replace(record, user=f"r{i}") for i, record in enumerate(bursts)]
    gateways = [dataclasses.replace(record, user=f"g{i % 9}") for i, record in enumerate(bursts)]
    for records in (per_request, gateways):
        hidden = Detector.fit(records, alias="home", version="v", budget_rows=20_000).core
        assert (hidden.keyed_by, hidden.kin.at_most[-1]) == ("", 0)
        assert "give every exchange its user or its conversation" in Detector(hidden).notes[0]
        told = Detector.fit(_by(records, 16, "conversation"), alias="home", version="v", budget_rows=20_000).core
        assert told.keyed_by == "conversation"
    assert Detector.fit(_by(bursts, 16), alias="home", version="v", budget_rows=20_000).core.keyed_by == "user"
    calm = [dataclasses.replace(record, user=f"r{i}") for i, record in enumerate(stream(1, 300))]
    assert Detector.fit(calm, alias="home", version="v", budget_rows=20_000).core.keyed_by == "user"


def _day_and_night(rows: int, seed: int) -> list[Record]:
    """Forty records a day; other things are said at night."""
    r = random.Random(seed)
    out = []
    for i, record in enumerate(stream(seed, rows)):
        at = START + timedelta(hours=0.6 * i)
        prompt = strange(r)[0] if at.hour < 8 or at.hour >= 20 else record.prompt
        out.append(dataclasses.replace(record, prompt=prompt, at=at))
    return out


def test_days_and_nights_are_ranked_apart() -> None:
    """Where the hour tells what is said it becomes the season, and no night raises an alarm."""
    detector = Detector.fit(_day_and_night(500, 1), alias="home", version="v", budget_rows=20_000)
    assert len(detector.core.seasons) > 1
    assert not any(detector.update(record) for record in _day_and_night(600, 2))


def test_no_seasons_without_days_or_times() -> None:
    """A reference without times, or of a few hours, has one season."""
    z = np.random.default_rng(0).normal(size=(400, 5))
    for at in ([UNKNOWN_TIME] * 400, [START + timedelta(seconds=i) for i in range(400)]):
        assert len(Seasons.found(at, z, 400, np.random.default_rng(0))) == 1

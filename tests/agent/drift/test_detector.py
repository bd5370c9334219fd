"""The detector: its promise, its continuation, what it says."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from agent.drift.core import ALL
from agent.drift.detector import Detector
from agent.drift.records import Record
from agent.drift.state import pack, unpack
from agent.types import Alarm, InvalidInput
from tests.agent.drift.streams import START, stream


def _fit(seed: int = 0, rows: int = 400, **options: int) -> Detector:
    settings = {"budget_rows": 50_000, "seed": seed} | options
    return Detector.fit(stream(seed, rows), alias="home", version="home-v1", **settings)


def _alarms(detector: Detector, records: list[Record]) -> list[Alarm]:
    return [alarm for record in records if (alarm := detector.update(record))]


def test_new_kinds_of_requests_raise_one_quick_explained_alarm() -> None:
    """Half of the traffic becomes new: the alarm comes within 60 records, names the input, and shows examples."""
    live = stream(1, 420, change_at=300)
    first, *_ = _alarms(_fit(), live)
    assert 300 <= first.row < 360
    assert abs(first.onset_row - 300) < 60
    assert (first.at - START).total_seconds() == first.row
    assert (first.onset_at - START).total_seconds() == first.onset_row
    assert first.kind == "input"
    assert first.evidence >= first.threshold
    assert first.reason.startswith(f"since about exchange {first.onset_row} (2026-11-01")
    assert "prompts" in first.reason
    assert "->" in first.reason
    assert [evidence for _, evidence, _ in first.features] == sorted((e for _, e, _ in first.features), reverse=True)
    strange = {r.id for r in live[300:] if "timer" in r.prompt or "volume" in r.prompt or "play" in r.prompt}
    assert set(first.examples) & strange


@pytest.mark.parametrize("cut", [0, 1, 250, 304, 400])
def test_restored_detector_goes_on_exactly(cut: int) -> None:
    """Wherever the stream is cut and the state saved and restored, the same alarms come, to the last digit."""
    live = stream(1, 700, change_at=300)
    whole = _fit()
    expected = _alarms(whole, live)
    one = _fit()
    got = _alarms(one, live[:cut])
    other = Detector.restore(one.state())
    assert (other.evidence, other.threshold, other.rows) == (one.evidence, one.threshold, cut)
    got += _alarms(other, live[cut:])
    assert got == expected
    assert len(expected) >= 2
    assert (other.evidence, other.leaders(99)) == (whole.evidence, whole.leaders(99))


def test_many_at_once_are_as_one_by_one() -> None:
    """Batches of any size give the same alarms and leave the same state as records one by one."""
    live = stream(1, 700, change_at=300)
    live = [
        dataclasses.replace(record, user=f"u{i // 7 % 40}", latency_s=1.0 if i % 3 else None)
        for i, record in enumerate(live)
    ]
    live[5] = dataclasses.replace(live[5], prompt="", answer="\ud800")
    one, many = _fit(), _fit()
    expected, got, cuts = [one.update(record) for record in live], list[Alarm | None](), [0, 1, 90, 90, 318, 700]
    for begin, end in itertools.pairwise(cuts):
        got += many.update_many(live[begin:end])
    assert got == expected
    assert sum(alarm is not None for alarm in got) >= 2
    assert many.state() == one.state()


def test_alarms_keep_quiet_after_themselves() -> None:
    """After an alarm the detector starts afresh and says nothing for `quiet_rows` records."""
    detector = _fit(rows=1_000, quiet_rows=150)
    rows = [alarm.row for alarm in _alarms(detector, stream(1, 900, change_at=100))]
    assert len(rows) >= 2
    assert min(b - a for a, b in itertools.pairwise(rows)) > 150


def test_no_look_ahead() -> None:
    """Cutting the stream right after the first alarm gives the same alarm."""
    live = stream(3, 600, change_at=200)
    first = _alarms(_fit(), live)[0]
    assert _alarms(_fit(), live[: first.row + 1]) == [first]


def test_state_is_small_and_does_not_grow() -> None:
    """A thousand-row reference of short texts is saved in well under a megabyte, however long the stream."""
    detector = _fit(rows=1_000)
    live = stream(5, 2_000)
    detector.update_many(live[:1_100])
    early = len(detector.state())
    detector.update_many(live[1_100:])
    assert early < 600_000
    assert abs(len(detector.state()) - early) < 5_000


def test_evidence_and_leaders_before_any_record() -> None:
    """A detector that has seen nothing shows no evidence, and can still be asked who leads."""
    detector = _fit()
    assert detector.evidence == 0
    assert detector.threshold == pytest.approx(4.69897)
    assert len(detector.leaders(3)) == 3
    assert {name for name, _, _ in detector.leaders(100)} == set(ALL)


def test_too_small_a_reference_says_how_much_is_needed() -> None:
    """Too few reference rows are refused in one sentence with the number that would do."""
    with pytest.raises(InvalidInput, match="at least 50"):
        _fit(rows=49)
    with pytest.raises(InvalidInput, match="budget"):
        _fit(budget_rows=0)


@pytest.mark.parametrize("junk", [b"", b"no", b"PK\x03\x04broken"])
def test_foreign_bytes_are_no_state(junk: bytes) -> None:
    """Bytes that are no state are refused, not unpickled."""
    with pytest.raises(InvalidInput, match="state"):
        Detector.restore(junk)


def test_the_state_of_another_version_is_refused() -> None:
    """A state with another format number is told so in one sentence, and never read."""
    meta, arrays = unpack(_fit(rows=60, budget_rows=500).state())
    with pytest.raises(InvalidInput, match="another version of the detector: fit a new one"):
        Detector.restore(pack(meta | {"format": 3}, arrays))


def test_conversations_say_how_long_a_reference_they_need() -> None:
    """A tenth of few conversations cannot be told from chance: the note names the rows that would do."""
    records = [dataclasses.replace(r, conversation=f"c{i // 4}") for i, r in enumerate(stream(4, 300))]
    (note,) = Detector.fit(records, alias="home", version="v", budget_rows=50_000).notes
    assert "come about 4 at a time" in note
    assert "a reference of 300 exchanges is too small: give" in note
    assert _fit(rows=60, budget_rows=500).notes == []


def test_strange_texts_do_not_stop_it() -> None:
    """Empty texts, lone surrogates, nulls and very long texts are scored like any other."""
    detector = _fit(rows=60)
    texts = ["", "\ud800", "\x00" * 10, "x" * 100_000, "🙂" * 500, "\n\n\n", "ß" * 3]
    for i, text in enumerate(texts):
        for record in stream(i, 1):
            object.__setattr__(record, "prompt", text)
            object.__setattr__(record, "answer", text)
            detector.update(record)
    assert detector.rows == len(texts)


def test_what_the_reference_does_not_know_is_no_evidence() -> None:
    """A reference without latencies has nothing that a warming engine could differ from."""
    detector = Detector.fit(stream(7, 400), alias="home", version="v", budget_rows=5_000)
    live = [dataclasses.replace(record, latency_s=9.0 if n < 60 else 0.1) for n, record in enumerate(stream(8, 200))]
    assert detector.update_many(live) == [None] * 200
    assert Detector.restore(detector.state()).update_many(live[:50]) == [None] * 50

"""Evidently reports: one an alarm, and one whenever somebody asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import Session

from agent.app import reports
from agent.app.reports import Reports
from agent.settings import Settings
from agent.store import Store
from agent.store.objects import objects_at
from agent.store.settled import settle
from agent.store.tables import AlarmRow, RolloutRow
from agent.types import Exchange, InvalidInput, Message, Outcome

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Rows = Sequence[Mapping[str, object]]
About = Mapping[str, str | int | None]


def _exchange(seq: int, version: str = "home-v1") -> Exchange:
    return Exchange(
        id=f"x{seq}", worker="w", seq=seq, started_at=NOW + timedelta(seconds=seq), path="/v1/chat/completions",
        alias="home", version=version, status=200, outcome=Outcome.COMPLETE,
        messages=(Message(role="user", text="x" * seq),), answer="on",
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    made = Store.at(tmp_path)
    yield made
    made.close()


def test_on_demand_the_newest_of_the_champion_are_compared(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window holds the champion's newest exchanges, the reference those before; neither holds another version's."""
    seen: list[tuple[Rows, Rows, About]] = []

    def build(reference: Rows, window: Rows, out_html: Path, about: About) -> Path:
        seen.append((reference, window, about))
        return out_html.with_suffix(".json")

    monkeypatch.setattr(reports, "build_report", build)
    store.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=NOW))
    store.add_exchanges([_exchange(n, "home-v1" if n % 2 else "home-v2") for n in range(1, 101)])
    page = Reports(Settings.model_validate({"home": tmp_path}), store).now(20, NOW)
    assert page == tmp_path / "reports" / "now-100.html"
    reference, window, about = seen[0]
    assert [row["prompt_chars"] for row in window] == list(range(61, 100, 2))
    assert [row["prompt_chars"] for row in reference] == list(range(1, 61, 2))
    assert (about["alias"], about["version"], about["alarm"]) == ("home", "home-v1", None)
    assert (about["window_from"], about["window_to"]) == ("2026-01-01T00:01:01+00:00", "2026-01-01T00:01:39+00:00")
    assert about["reference"] == "what this version answered just before"


def test_a_reference_file_is_compared_in_what_it_has(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts alone, so no column of it says that there was no template or no end; the page says which file it is."""
    seen: list[tuple[Rows, About]] = []

    def build(reference: Rows, _window: Rows, out_html: Path, about: About) -> Path:
        seen.append((reference, about))
        return out_html.with_suffix(".json")

    monkeypatch.setattr(reports, "build_report", build)
    file = tmp_path / "reference.jsonl"
    file.write_text('{"prompt": "lamp", "answer": "on"}\n')
    monkeypatch.setattr(reports, "reference_path", lambda *_: file)
    store.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=NOW))
    store.add_exchanges([_exchange(n) for n in range(1, 31)])
    Reports(Settings.model_validate({"home": tmp_path}), store).now(20, NOW)
    ((row,), about) = seen[0]
    assert row["prompt_chars"] == 4
    assert {"template", "finish_reason", "tools_offered"}.isdisjoint(row)
    assert about["reference"] == str(file)


def test_what_was_found_normal_is_the_reference_of_what_came_after(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of what was there before: an alarm may have no page yet when a person settles it."""
    seen: list[Rows] = []

    def build(reference: Rows, _window: Rows, out_html: Path, _about: About) -> Path:
        seen.append(reference)
        return out_html.with_suffix(".json")

    monkeypatch.setattr(reports, "build_report", build)
    store.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=NOW))
    made = Reports(Settings.model_validate({"home": tmp_path}), store)
    store.add_exchanges([_exchange(n) for n in range(1, 41)])
    settle(store, "home-v1", by="ann", reason="fine", now=NOW)
    store.add_exchanges([_exchange(n) for n in range(41, 101)])
    made.now(20, NOW)
    settle(store, "home-v1", by="ann", reason="fine", now=NOW)
    made.now(20, NOW)
    assert [[row["prompt_chars"] for row in reference] for reference in seen] == [
        list(range(41, 81)), list(range(1, 81)),
    ]  # fmt: skip


def test_too_little_is_refused(store: Store, tmp_path: Path) -> None:
    """Before anybody answers, or with a handful of exchanges, one sentence says what to wait for."""
    made = Reports(Settings.model_validate({"home": tmp_path}), store)
    with pytest.raises(InvalidInput, match="start `trimtab agent` first"):
        made.now(20, NOW)
    store.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=NOW))
    store.add_exchanges([_exchange(n) for n in range(1, 5)])
    with pytest.raises(InvalidInput, match="10 rows"):
        made.now(20, NOW)


def test_a_report_is_shown_by_every_process_of_the_database(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made by whoever decides then, and made again after a crash before the commit: the object store has the later."""
    pages = iter([b"first", b"second"])

    def build(_reference: Rows, _window: Rows, out_html: Path, about: About) -> Path:
        assert about["alarm"] == "2026-01-01T00:00:00+00:00, new words"
        out_html.parent.mkdir(exist_ok=True)
        out_html.write_bytes(next(pages))
        return out_html.with_suffix(".json")

    monkeypatch.setattr(reports, "build_report", build)
    alarm = AlarmRow(
        alias="home", version="home-v1", exchange_rowid=1, at=NOW, onset_at=NOW, row=1, onset_row=1, kind="input",
        evidence=5.0, threshold=4.7, features=[], examples=[], reason="new words",
    )  # fmt: skip
    with store.transaction() as session:
        session.add(alarm)
    objects = objects_at((tmp_path / "objects").as_uri())
    settings = Settings.model_validate({"home": tmp_path})
    made = Reports(settings, store, objects)
    with monkeypatch.context() as patch:
        patch.setattr(Session, "merge", killed)
        with pytest.raises(KeyboardInterrupt):
            made.tick(NOW)
    assert made.tick(NOW) == "alarm 1: alarm-1.html"
    assert made.tick(NOW) == "every alarm has its report"
    assert reports.shared(objects, settings, "alarm-1.html") == b"second"
    assert reports.shared(objects, settings, "alarm-2.html") is None
    assert reports.shared(None, settings, "alarm-1.html") is None


def killed(*_: object, **__: object) -> None:
    """The process ends here."""
    raise KeyboardInterrupt

"""With `capture.text = none` profiles go on, the detector rests, and the record says so once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sqlmodel import select

from agent.app.main import redactor_of
from agent.app.watch import Watch
from agent.intake.assemble import assemble
from agent.settings import Settings
from agent.store import Store
from agent.store.tables import ProfileRow, RolloutRow
from tests.agent.intake.captures import CHAT, CHAT_ANSWER, capture

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def test_profiles_go_on_without_texts(tmp_path: Path) -> None:
    """Rows come with features and without words; windows of them are profiled; texts are off is said once."""
    settings = Settings.model_validate({"home": tmp_path, "drift": {"window_rows": 10}, "capture": {"text": "none"}})
    store = Store.at(tmp_path)
    store.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=NOW))
    redactor = redactor_of(settings)
    asked = capture(CHAT, CHAT_ANSWER, alias="home", version="home-v1")
    for first in (1, 11):
        got = [redactor.exchange(assemble(replace(asked, seq=n))) for n in range(first, first + 10)]
        store.add_exchanges(got)
        watch = Watch(settings, store)
        assert watch.tick(NOW) == 10
    stored = [exchange for _, exchange in store.exchanges_after(0, 100)]
    assert not any(exchange.has_text or exchange.messages or exchange.answer for exchange in stored)
    assert all(exchange.features and exchange.features.numbers["answer_chars"] == 8 for exchange in stored)
    with store.transaction() as session:
        assert len(session.exec(select(ProfileRow)).all()) == 2
    assert [event.text for event in store.events() if event.kind == "detector"] == [
        "no texts are stored (capture.text = none): the detector rests, profiles go on"
    ]
    assert watch.phase.startswith("learning 0/")
    store.close()

"""`trimtab profile` makes reference files and compares with them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import col, select

from agent.app.exported import line
from agent.app.profiles import profile
from agent.app.watch import Watch
from agent.settings import Settings
from agent.store import Store
from agent.store.tables import ProfileRow, ReadingRow, RolloutRow
from agent.types import Exchange, InvalidInput, Message, Outcome

START = datetime(2026, 1, 1, tzinfo=UTC)


def _set(path: Path, verb: str) -> Path:
    pairs = [{"prompt": f"{verb} the lamp number {n}", "answer": "done"} for n in range(150)]
    path.write_text("\n".join(map(json.dumps, pairs)))
    return path


def test_a_profile_is_kept_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file is written whole; another set is compared with it, and what differs stands first, away from 0."""
    out = tmp_path / "deep" / "ref.bin"
    with pytest.raises(InvalidInput, match=r"there is no folder .*deep; make it"):
        profile(_set(tmp_path / "a.jsonl", "turn on"), out=out)
    out.parent.mkdir()
    profile(_set(tmp_path / "a.jsonl", "turn on"), out=out)
    assert [path.name for path in out.parent.iterdir()] == ["ref.bin"]
    assert f"written to {out}" in capsys.readouterr().err
    profile(_set(tmp_path / "b.jsonl", "please SWITCH OFF"), against=out, as_json=True)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    ks = {row["feature"]: row for row in found if row["measure"] == "ks"}
    assert ks["prompt_chars"]["low"] > 0.5
    assert ks["answer_chars"]["value"] == ks["answer_chars"]["low"] == 0
    profile(_set(tmp_path / "b.jsonl", "please SWITCH OFF"), against=out)
    table = capsys.readouterr().out.splitlines()
    assert table[0].startswith("feature")
    assert "prompt" in table[1]


def test_a_file_is_not_away_from_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sketch throws dice: a file that is held against itself is profiled once."""
    path = _set(tmp_path / "a.jsonl", "turn on")
    lines = path.read_text().splitlines()
    path.write_text("\n".join(json.dumps({**json.loads(line), "answer": "x" * n}) for n, line in enumerate(lines * 9)))
    profile(path, against=path, as_json=True)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found
    assert {row["value"] for row in found} == {0.0}


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Nothing to do, a span with a file, no traffic, a bad time: one sentence each."""
    file, settings = _set(tmp_path / "a.jsonl", "turn on"), tmp_path / "s.yaml"
    settings.write_text(f"home: {tmp_path / 'home'}\n")
    with pytest.raises(InvalidInput, match="--out"):
        profile(file)
    with pytest.raises(InvalidInput, match="stored traffic"):
        profile(file, since="2026-01-01", out=tmp_path / "x")
    with pytest.raises(InvalidInput, match="there is no store in"):
        profile(settings=settings, out=tmp_path / "x")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "trimtab.db").touch()
    with pytest.raises(InvalidInput, match="is no time"):
        profile(settings=settings, since="yesterday", out=tmp_path / "x")
    with pytest.raises(InvalidInput, match="there is no folder"):
        profile(file, out=file / "x")
    with pytest.raises(InvalidInput, match="cannot be written"):
        profile(file, out=tmp_path / "home")
    assert not list(tmp_path.glob("*.part"))


def test_what_export_writes_is_profiled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of an export, of an app that logs OpenAI bodies, and of a training set with the same texts: one profile."""
    pairs = [(f"lamp {n}", "done") for n in range(6)]
    exported = [
        line(
            Exchange(
                id=str(n), worker="w", seq=n, started_at=START, path="/v1/chat/completions", alias="a", version="v",
                status=200, outcome=Outcome.COMPLETE, messages=(Message(role="user", text=asked),), answer=said,
            )
        )
        for n, (asked, said) in enumerate(pairs)
    ]  # fmt: skip
    logged = [{"request": row["request"], "response": row["response"]} for row in exported]
    failed = {"request": {"messages": [{"role": "user", "content": "x"}]}, "response": {"error": "x"}, "status": 500}
    taught = [{"prompt": asked, "completion": said} for asked, said in pairs]
    made = []
    for name, rows in (("exported", exported), ("logged", [*logged, failed]), ("taught", taught)):
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
        profile(tmp_path / name, out=tmp_path / "out.bin")
        made.append((tmp_path / "out.bin").read_bytes())
    assert made[0] == made[1] == made[2]
    assert "note: 1 of 7 requests failed and were passed over" in capsys.readouterr().err


def test_the_watch_loop_keeps_slices_and_outlives_a_bad_reference(tmp_path: Path) -> None:
    """Each template has its profile beside the window's; a damaged reference is said once, and the loop goes on."""
    (tmp_path / "ref.bin").write_bytes(b"WHY1 damaged")
    settings = Settings.model_validate(
        {"home": tmp_path, "drift": {"window_rows": 60}, "profile": {"reference": tmp_path / "ref.bin"}}
    )
    store = Store.at(tmp_path)
    store.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=START))
    store.add_exchanges(
        [
            Exchange(
                id=str(n), worker="w", seq=n, started_at=START + timedelta(seconds=n), path="/v1/chat/completions",
                alias="home", version="home-v1", status=200, outcome=Outcome.COMPLETE, answer="light on",
                messages=(Message(role="user", text=f"lamp {n}"),), template="ask" if n % 3 else "tell",
            )
            for n in range(1, 121)
        ]
    )  # fmt: skip
    Watch(settings, store).tick(START)
    with store.transaction() as session:
        rows = session.exec(select(ProfileRow).order_by(col(ProfileRow.window_id))).all()
        measures = {row.measure for row in session.exec(select(ReadingRow)) if row.feature != "detector"}
    assert [(row.slice, row.rows) for row in rows] == [("all", 60), ("template=ask", 40), ("template=tell", 20)] * 2
    assert measures == {"ks", "psi", "chi2", "mmd"}
    assert sum("damaged" in event.text for event in store.events()) == 1
    store.close()

"""`trimtab retrain new`, and the live view of an order."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from agent.store import Store
from agent.store.tables import RolloutRow
from agent.types import AdapterVersion
from retrain.cli import app
from retrain.live import Board
from retrain.order import load
from serving.errors import InvalidInput

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Give settings whose store knows a champion."""
    path = tmp_path / "trimtab.yaml"
    path.write_text(f"home: {tmp_path}\nalias: home\nchampion: {tmp_path}\nretrain: {{base_model_path: {tmp_path}}}\n")
    store = Store.at(tmp_path)
    version = AdapterVersion(
        name="home-v3", alias="home", path=str(tmp_path), digest="d", base_digest="b", parent=None, status="live",
        created_at=NOW,
    )  # fmt: skip
    store.put_adapter(version)
    with store.transaction() as session:
        session.add(RolloutRow(alias="home", phase="steady", champion="home-v3", updated_at=NOW))
    store.close()
    return path


def test_a_new_order_can_be_given_as_it_is(settings: Path, tmp_path: Path) -> None:
    """It names the champion, the next free name and the reason, is an order that loads, and overwrites nothing."""
    out = tmp_path / "order.yaml"
    arguments = ["new", "--settings", str(settings), "--reason", "users ask for timers", "--out", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    order = load(out)
    assert order.champion is not None
    assert (order.champion.name, order.challenger, order.reason) == ("home-v3", "home-v4", "users ask for timers")
    assert isinstance(CliRunner().invoke(app, arguments).exception, InvalidInput)
    said = CliRunner().invoke(app, ["new", "-s", str(settings), "--challenger", "other", "--since", "7"])
    document = yaml.safe_load(said.stdout)
    assert (document["challenger"], document["data"]["since_rowid"]) == ("other", 7)


def test_a_new_order_needs_a_champion(settings: Path, tmp_path: Path) -> None:
    """A taken name, and a store in which nobody answers, are sentences."""
    done = CliRunner().invoke(app, ["new", "-s", str(settings), "--challenger", "home-v3"])
    assert "every version needs a new one" in str(done.exception)
    settings.write_text(settings.read_text().replace("alias: home", "alias: other"))
    done = CliRunner().invoke(app, ["new", "-s", str(settings)])
    assert "no version answers for 'other'" in str(done.exception)


def test_the_board_shows_where_an_order_is() -> None:
    """A stage that is at work has its share and its note, those before it are full, lines stand above."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, color_system=None)
    with Board(console) as board:
        board.see("curate", 1.0, "")
        board.see("train", 0.5, "steps, loss 0.125")
        board.see("nothing", 0.5, "that it knows")
        board.say("[  1.0 s] curate [x] 90 rows")
    shown = out.getvalue()
    assert "[x] 90 rows" in shown
    assert "steps, loss 0.125" in shown
    assert shown.count("100%") >= 5
    assert "that it knows" not in shown

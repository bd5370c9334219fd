"""The policy run over what the store remembers must do what it did, and with other settings say what it would have."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlmodel import select
from typer.testing import CliRunner

from agent.app.freeze import freeze, thaw
from agent.app.history import history
from agent.app.policy_cli import policy
from agent.app.steer import Steer
from agent.policy.history import read, written
from agent.policy.simulate import Simulation, simulate
from agent.rollout import wish
from agent.settings import Settings
from agent.store import Store
from agent.store.tables import AlarmRow, DecisionRow, EventRow, RolloutRow
from agent.types import Action, AdapterVersion, Decision, Exchange, Grade, InvalidInput, Message, Outcome

T0 = datetime(2026, 3, 2, 8, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POLICY: dict[str, Any] = {"fresh_exchanges": 60, "cooldown_s": 900, "confirm_s": 120}
QUALITY = {"window_exchanges": 50, "judge_model": "judge"}


def settings(home: Path, **changes: Any) -> Settings:
    """Settings by which an order can be written."""
    tree = {
        "home": home, "policy": POLICY | changes, "retrain": {"base_model_path": home}, "quality": QUALITY,
    }  # fmt: skip
    return Settings.model_validate(tree)


class Life:
    """A store that lives minute by minute under the running policy: ten exchanges, two labels, one look."""

    def __init__(self, home: Path) -> None:
        self.store = Store.at(home)
        self.minute, self.seq = 0, 0
        self.settings = settings(home)
        self.steer = Steer(self.settings, self.store)
        for number, parent in ((0, None), (1, "home-v0"), (2, "home-v1")):
            version = AdapterVersion(
                name=f"home-v{number}", alias="home", path=str(home), digest="d", base_digest="b", parent=parent,
                status="live", created_at=T0 + number * MINUTE,
            )  # fmt: skip
            self.store.put_adapter(version)
        self.move(champion="home-v1")

    @property
    def now(self) -> datetime:
        """Of this minute, with the seconds at which a tick comes."""
        return T0 + self.minute * MINUTE + timedelta(seconds=40)

    def move(self, **changes: Any) -> None:
        """The rollout's row."""
        row = self.store.rollout("home") or RolloutRow(alias="home", champion="", updated_at=T0)
        for name, value in changes.items():
            setattr(row, name, value)
        self.store.put_rollout(row)

    def go(self, minutes: int, right: float) -> None:
        """Live on, with this share of right answers."""
        for _ in range(minutes):
            self.minute += 1
            rollout = self.store.rollout("home")
            assert rollout is not None
            made = [self._exchange(rollout.champion) for _ in range(10)]
            self.store.add_exchanges(made)
            marks = [
                Grade(exchange_id=e.id, source="p", score=float(e.seq % 10 < 10 * right), truth=True, at=self.now)
                for e in made
            ]
            self.store.add_grades(marks)
            judged = [replace(g, source="judge", truth=False, cost_tokens=1000) for g in marks[:5]]
            self.store.add_grades(judged)
            self.steer.tick(self.now)
            self.granted()

    def _exchange(self, version: str) -> Exchange:
        self.seq += 1
        return Exchange(
            id=f"x{self.seq}", worker="w", seq=self.seq, path="/v1/chat/completions", alias="home", version=version,
            started_at=self.now, status=200, outcome=Outcome.COMPLETE,
            messages=(Message(role="user", text="light"),), answer="on",
        )  # fmt: skip

    def granted(self) -> None:
        """A wish for a rollback, as the rollout grants it as far as the store is concerned."""
        if wish.standing(self.store, "home") is not None:
            self.move(champion="home-v0", phase="drain")
            with self.store.transaction() as session:
                wish.clear(session, self.store, "home")

    def alarm(self, rows_ago: int) -> None:
        """Traffic changed so many exchanges ago."""
        onset = self.seq - rows_ago
        row = AlarmRow(
            alias="home", version="home-v1", exchange_rowid=self.seq, at=self.now, onset_row=onset, row=self.seq,
            onset_at=T0 + onset // 10 * MINUTE, kind="input", evidence=5, threshold=4.7, features=[], examples=[],
            reason="timers are new",
        )  # fmt: skip
        with self.store.transaction() as session:
            session.add(row)
            session.add(EventRow(at=self.now, kind="alarm", text="timers", data={"exchange_rowid": self.seq}))

    def decisions(self) -> Sequence[DecisionRow]:
        """As recorded."""
        with self.store.transaction() as session:
            return session.exec(select(DecisionRow)).all()


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """All that a policy can see: drift, a breach, an order, a trial, a swap, a freeze, a second breach."""
    lived = Life(tmp_path_factory.mktemp("home"))
    lived.go(8, right=0.9)
    lived.alarm(rows_ago=20)
    lived.go(9, right=0.3)
    order = lived.store.orders()[0]
    lived.store.update_order(order.id, status="running", started_at=lived.now)
    lived.go(5, right=0.3)
    lived.store.update_order(order.id, status="done", finished_at=lived.now, verdict={"kind": "accepted"})
    lived.steer.tick(lived.now)
    lived.move(phase="shift", challenger="home-v2")
    lived.go(2, right=0.3)
    lived.move(champion="home-v2", challenger=None, phase="steady", promoted_at=lived.now)
    lived.go(10, right=0.9)
    freeze(lived.store, by="ann", reason="a deploy", now=lived.now, until=lived.now + 3 * MINUTE)
    lived.go(6, right=0.9)
    lived.go(15, right=0.2)
    yield lived
    lived.store.close()


def rows(decisions: Sequence[Decision] | Sequence[DecisionRow]) -> list[tuple[str, Any, Any]]:
    """Action, row and facts of each."""
    return [(str(getattr(d.action, "value", d.action)), d.seen["row"], d.seen["facts"]) for d in decisions]


def run(life: Life, **changes: Any) -> Simulation:
    """The policy of other settings over the same life."""
    return simulate(history(life.store, "home"), settings(life.settings.home, **changes))


def test_with_the_settings_of_then_it_does_what_was_done(life: Life) -> None:
    """The same code over the same facts: each decision with its row and facts, within a tick, and the same orders."""
    found, was = run(life), life.decisions()
    assert rows(found.decisions) == rows(was)
    assert {"retrain", "canary", "frozen", "hold", "watch"} == {action for action, _, _ in rows(was)}
    assert all(abs(a.at - b.at) <= MINUTE for a, b in zip(found.decisions, was, strict=True))
    assert [order.same for order in found.orders] == [order.id for order in life.store.orders()[::-1]]
    assert found.summary()["not_again"] == []


def test_it_is_deterministic_and_the_file_says_the_same_as_the_store(life: Life) -> None:
    """Written, read and run again: the same to the last figure."""
    lines = history(life.store, "home")
    again = read(written(lines), "h.jsonl")
    assert again == lines
    assert simulate(again, life.settings) == simulate(lines, life.settings) == run(life)


@pytest.mark.parametrize(
    ("changes", "orders", "row"),
    [
        ({"fresh_exchanges": 100_000}, 0, "thin"),
        ({"gpu_hours": 0.01}, 1, "spent"),
        ({"quiet_hours": ["mon-fri 07:00-20:00"], "time_zone": "UTC"}, 0, "quiet"),
        ({"truth_labels": 51}, 0, "low"),
        ({"confirm_s": 10_000}, 0, "low"),
        ({"judge_money": 0.1, "judge_price": 1.0}, 2, "unpaid"),
        ({"cooldown_s": 60 * 60 * 24}, 1, "cooling"),
    ],
)
def test_other_settings_would_have_done_otherwise(life: Life, changes: dict[str, Any], orders: int, row: str) -> None:
    """What a setting holds back is told with the row that held it."""
    found = run(life, **changes)
    assert len(found.orders) == orders, rows(found.decisions)
    assert row in {d.seen["row"] for d in found.decisions}
    missing = found.summary()["not_again"]
    assert len(missing) == 2 - sum(order.same is not None for order in found.orders)


def test_it_decides_from_since_on_and_takes_what_was_before_as_it_was(life: Life) -> None:
    """The first order, opened before, is a fact; the second one is decided anew."""
    lines = history(life.store, "home")
    second = life.store.orders()[0]
    since = second.opened_at - timedelta(minutes=5)
    found = simulate(lines, life.settings, since, second.opened_at + timedelta(minutes=1))
    assert [order.same for order in found.orders] == [second.id]
    assert found.decisions[0].at == since
    assert found.until == second.opened_at + timedelta(minutes=1)


def test_a_rollback_is_told(tmp_path: Path) -> None:
    """A version that is worse than the one before, on the same traffic, goes back there too."""
    life = Life(tmp_path)
    life.move(champion="home-v0")
    life.go(6, right=0.9)
    life.move(champion="home-v1", promoted_at=life.now)
    life.go(6, right=0.2)
    found = run(life)
    assert rows(found.decisions) == rows(life.decisions())
    assert found.count(Action.ROLL_BACK) == 1
    life.store.close()


def test_nothing_on_record_is_said_so(tmp_path: Path) -> None:
    """A store without a version has no history."""
    store = Store.at(tmp_path)
    with pytest.raises(InvalidInput, match="nothing is on record for 'home' yet"):
        history(store, "home")
    store.close()


def written_settings(life: Life, folder: Path) -> str:
    """Those of that life, as a file."""
    file = folder / "trimtab.yaml"
    tree = {"home": str(life.settings.home), "policy": POLICY, "quality": QUALITY}
    file.write_text(yaml.safe_dump(tree))
    return str(file)


def test_the_command_tells_line_by_line_and_sums_up(life: Life, tmp_path: Path) -> None:
    """A person reads when, what and why, and what became of it; a program reads the same as JSON."""
    file = written_settings(life, tmp_path)
    told = CliRunner().invoke(policy, ["simulate", "--settings", file])
    assert told.exit_code == 0, told.output
    lines = told.output.splitlines()
    assert lines[0].startswith("2026-03-02 08:01:")
    assert any(line.startswith("2026-03-02") and "retrain" in line and "has a cause" in line for line in lines)
    assert any(line.startswith(" " * 36 + "quality ") for line in lines)
    assert any(line.startswith("would have done: 2 orders") for line in lines)
    as_json = CliRunner().invoke(policy, ["simulate", "--settings", file, "--json", "--since", "2026-03-02T08:30"])
    document = json.loads(as_json.output)
    assert document["summary"]["was_done"]["orders"] == len(document["summary"]["orders"]) == 1
    assert document["decisions"][0]["at"] == "2026-03-02T08:30:00+00:00"


def test_the_file_that_history_writes_can_be_run(life: Life, tmp_path: Path) -> None:
    """What runs over the store runs over the file, and says the same to the letter."""
    file, lines = written_settings(life, tmp_path), str(tmp_path / "h.jsonl")
    assert CliRunner().invoke(policy, ["history", "--settings", file, "--out", lines]).exit_code == 0
    told = [
        CliRunner().invoke(policy, ["simulate", "--settings", file, *more]).output
        for more in ([], ["--history", lines])
    ]
    assert told[0] == told[1] != ""


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--history", "nowhere.jsonl"], "history nowhere.jsonl cannot be read"),
        (["--since", "soon"], "--since 'soon' is no time"),
        (["--since", "2030-01-01"], "nothing happened from 2030-01-01 on"),
    ],
)
def test_bad_input_is_one_sentence(life: Life, tmp_path: Path, argv: list[str], says: str) -> None:
    """Exit 2 (the command's outer ring makes it of InvalidInput), and what to do."""
    ran = CliRunner().invoke(policy, ["simulate", "--settings", written_settings(life, tmp_path), *argv])
    assert isinstance(ran.exception, InvalidInput)
    assert says in str(ran.exception)
    assert ran.output == ""


def test_a_freeze_is_on_record_and_ends(tmp_path: Path) -> None:
    """Who, why and until when stand in the decision; a thaw that finds nothing frozen is refused."""
    life = Life(tmp_path)
    life.go(2, right=0.9)
    with pytest.raises(InvalidInput, match="not frozen"):
        thaw(life.store, by="ann", now=life.now)
    with pytest.raises(InvalidInput, match="would be over already"):
        freeze(life.store, by="ann", reason="why", now=life.now, until=life.now)
    with pytest.raises(InvalidInput, match="needs who froze and why"):
        freeze(life.store, by="ann", reason=" ", now=life.now)
    freeze(life.store, by="ann", reason="a\ndeploy", now=life.now)
    life.go(1, right=0.2)
    assert life.decisions()[-1].action == "frozen"
    assert "frozen by ann on 2026-03-02 08:02 UTC: a deploy" in life.decisions()[-1].reasons
    assert thaw(life.store, by="bob", now=life.now).startswith("the automation goes on: thawed by bob")
    life.go(1, right=0.9)
    assert life.decisions()[-1].action != "frozen"
    assert [e.kind for e in life.store.events()] == ["policy", "policy"]
    life.store.close()

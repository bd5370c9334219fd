"""A whole order on a tiny model: done once, resumed after kills, failed with a reason."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer

from agent.launch import lock
from agent.rollout.act import read_probes
from agent.store import Store, artifacts
from agent.types import Exchange, Grade, Message, Outcome, VerdictKind
from retrain import cli, faults, run
from retrain.bootstrap import bootstrap
from retrain.evaluate.contest import Contest
from retrain.order import Order, load, parse
from retrain.recipe import Recipe
from serving.errors import InvalidInput, RemoteFault, Unservable
from tests.retrain.fake_engine import TOKEN, FakeEngine

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
RECIPE = Recipe(r=4, alpha=8, lr=0.01, steps=10, batch=2, max_length=200)
OLD = [{"prompt": f"close cover number {n * 7919}", "answer": f"close {n}"} for n in range(30)]


@pytest.fixture(scope="module")
def base(tiny_model: Path) -> Path:
    """Give the tiny base model."""
    return tiny_model


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Give a store with sixty corrected exchanges."""
    store = Store.at(tmp_path)
    made = [
        Exchange(
            id=f"x{n}", worker="w", seq=n, started_at=NOW, path="/v1/chat/completions", alias="home",
            version="home-v1", status=200, outcome=Outcome.COMPLETE, user=f"u{n % 20}", answer="what",
            messages=(Message(role="user", text=f"start timer number {n * 7919}"),),
        )
        for n in range(60)
    ]  # fmt: skip
    store.add_exchanges(made)
    store.add_grades(
        [Grade(exchange_id=e.id, source="p", score=0.0, truth=True, at=NOW, correction=f"timer {e.seq}") for e in made]
    )
    yield store
    store.close()


def document(base: Path, store: Store, home: Path, url: str, **changes: Any) -> dict[str, Any]:
    """Give an order over the store's exchanges."""
    replay = home / "replay.jsonl"
    lines = [{**row, "split": "holdout" if n < 20 else "train"} for n, row in enumerate(OLD)]
    replay.write_text("\n".join(json.dumps(line) for line in lines))
    return {
        "id": "o1", "reason": "quality fell", "alias": "home", "challenger": "home-v2", "store": store.url,
        "champion": {"name": "home-v1", "path": str(home)}, "home": str(home), "engine": {"url": url},
        "base_model": {"path": str(base)}, "data": {"replay": str(replay), "holdout_rows": 20},
        "recipe": RECIPE.to_json(), "init_from_champion": False, "gate": {"max_loss": 0.3, "min_rows": 5},
        **changes,
    }  # fmt: skip


def good(model: str, prompt: str) -> str:
    """Answer right as home-v2; home-v1 knows only the old; the bare model nothing."""
    number = int(prompt.rsplit(maxsplit=1)[-1]) // 7919
    right = f"timer {number}" if "timer" in prompt else f"close {number}"
    return right if model == "home-v2" or (model == "home-v1" and "cover" in prompt) else "hm"


def bad(model: str, prompt: str) -> str:
    """Answer right as home-v1 and the bare model, never as home-v2."""
    return good("home-v1" if model == "home-v2" else "home-v2", prompt)


def engine(answers: Any) -> FakeEngine:
    """Give an engine that serves the champion."""
    fake = FakeEngine(answers)
    fake.loaded["home-v1"] = "somewhere"
    return fake


def work_off(order: Order, store: Store) -> Any:
    """Run an order quietly."""
    return run.run(order, store, token=TOKEN, say=lambda _: None)


def test_a_better_challenger_is_accepted_and_published(base: Path, store: Store, tmp_path: Path) -> None:
    """One run leaves a sealed artifact, an accepted version, a closed order and an empty wish to run again."""
    with engine(good) as fake:
        order = parse(document(base, store, tmp_path, fake.url))
        verdict = work_off(order, store)
        assert verdict.kind is VerdictKind.ACCEPTED
        fake.asked.clear()
        assert work_off(order, store) == verdict
        assert not fake.asked
    version = store.adapters("home")[0]
    row = store.order("o1")
    assert (row.status, row.stage, row.progress, row.error) == ("done", "publish", 1.0, None)
    assert (version.name, version.status, version.parent, version.verdict) == (
        "home-v2",
        "accepted",
        "home-v1",
        verdict,
    )
    assert artifacts.verify(Path(version.path)) == version.digest
    facts = artifacts.manifest(Path(version.path))
    assert facts["recipe"] == RECIPE.to_json()
    assert facts["metrics"]["challenger"]["fresh"]["exact_match"] == 1.0
    assert facts["base_digest"] == artifacts.base_digest(base)
    probes = read_probes(version)
    assert all(answer == good("home-v2", messages[-1]["content"]) for messages, answer in probes)
    assert len(probes) == 12
    assert [event.kind for event in store.events()] == ["verdict"]


def test_a_worse_challenger_is_rejected_and_unloaded(base: Path, store: Store, tmp_path: Path) -> None:
    """A rejection is a result: the order is done, the version can never be served, the engine is rid of it."""
    with engine(bad) as fake:
        verdict = work_off(parse(document(base, store, tmp_path, fake.url)), store)
        assert "home-v2" not in fake.loaded
    assert verdict.kind is VerdictKind.REJECTED
    assert store.adapters("home")[0].status == "rejected"
    assert store.order("o1").status == "done"


def test_a_killed_job_goes_on(base: Path, store: Store, tmp_path: Path) -> None:
    """SIGKILL in training: the order's row says running, nothing is published; the next start goes on to exit 0."""
    with engine(good) as fake:
        path = tmp_path / "order.json"
        path.write_text(json.dumps(document(base, store, tmp_path, fake.url)))
        assert killed_at(path, "train", "steps, loss") == -signal.SIGKILL
        assert store.order("o1").status == "running"
        assert (tmp_path / "orders" / "o1" / "train.jsonl").exists()
        assert not (tmp_path / "adapters" / "home-v2").exists()
        lines = finish(path)
    assert any("curate    done already" in line for line in lines)
    assert store.order("o1").status == "done"
    assert [v.status for v in store.adapters("home")] == ["accepted"]


class Killed(BaseException):
    """As good as SIGKILL: nothing catches it."""


class Reaper:
    """Kills once at each thing that becomes durable under a new name: some before it does, some after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.killed: list[str] = []
        for owner, name in ((Path, "replace"), (Path, "rename"), (Store, "put_adapter"), (Contest, "_record_probes")):
            monkeypatch.setattr(owner, name, self._deadly(getattr(owner, name)))

    def _deadly(self, act: Any) -> Any:
        def acts(mine: Any, *given: Any) -> Any:
            name = f"{act.__name__} {Path(given[0]).name if given and isinstance(given[0], Path) else ''}"
            if threading.current_thread() is not threading.main_thread() or name in self.killed:
                return act(mine, *given)
            self.killed.append(name)
            if len(self.killed) % 2 == 0:
                act(mine, *given)
            raise Killed(name)

        return acts


def test_a_job_killed_at_every_write_goes_on(
    base: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed wherever something becomes durable, and started again each time, it publishes one version, once."""
    reaper = Reaper(monkeypatch)
    with engine(good) as fake:
        changes = {"recipe": {**RECIPE.to_json(), "steps": 2}, "evaluate": {"perplexity_rows": 1}}
        order = parse(document(base, store, tmp_path, fake.url, **changes))
        for _ in range(60):
            try:
                verdict = work_off(order, store)
            except Killed:
                assert store.order("o1").status in ("running", "done")
            else:
                break
        asked = max(count for (model, _), count in fake.asked.items() if model != "home-v2")
    assert verdict.kind is VerdictKind.ACCEPTED
    assert asked == 1, "an answer that is written down is not asked for again"
    for name in ("replace train.jsonl", "replace stages.json", "rename adapter", "rename home-v2", "put_adapter "):
        assert name in reaper.killed
    assert [v.status for v in store.adapters("home")] == ["accepted"]
    assert artifacts.verify(Path(store.adapters("home")[0].path)) == store.adapters("home")[0].digest
    assert [event.kind for event in store.events()] == ["verdict"]


def test_work_that_was_changed_behind_its_back_is_refused(base: Path, store: Store, tmp_path: Path) -> None:
    """A file of a finished stage with another digest stops the order in a sentence; so does a torn manifest."""
    changes = {"champion": None, "engine": None, "recipe": {**RECIPE.to_json(), "steps": 1}}
    order = parse(document(base, store, tmp_path, "", **changes) | changes)
    work_off(order, store)
    store.update_order("o1", status="failed")
    left = json.loads((order.work / "stages.json").read_text())["left"]["curate"]
    assert set(left["files"]) >= {"train.jsonl", "report.json", "data.json"}
    assert left["versions"]["peft"]
    with (order.work / "train.jsonl").open("a") as rows:
        rows.write("{}\n")
    with pytest.raises(InvalidInput, match=r"train\.jsonl is not what stage curate left there"):
        work_off(order, store)
    (order.work / "stages.json").write_text("{")
    with pytest.raises(InvalidInput, match="no stage manifest"):
        work_off(order, store)


def test_a_full_disk_is_a_reason_and_no_loss(base: Path, store: Store, tmp_path: Path) -> None:
    """A job that cannot write fails with one sentence and exit 1; with room again, the same order is worked off."""
    path = tmp_path / "order.json"
    big = {**RECIPE.to_json(), "r": 256, "steps": 2}
    changes = {"champion": None, "engine": None, "recipe": big}
    path.write_text(json.dumps(document(base, store, tmp_path, "", **changes) | changes))
    with start(path, "ulimit -f 1500") as job:
        said = job.communicate()[0]
    assert job.returncode == 1, said
    row = store.order("o1")
    assert row.status == "failed"
    assert str(row.error).startswith(f"no room is left on the disk of {tmp_path}")
    assert said.strip().splitlines()[-1].startswith("trimtab retrain: no room is left")
    work_off(load(path), store)
    assert store.order("o1").status == "done"


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),
        (RuntimeError("database or disk is full"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (KeyError("x"), False),
    ],
)
def test_a_full_disk_is_known_by_many_names(error: Exception, full: bool) -> None:
    """However a library puts it, and however deep, it becomes one sentence that says what to do."""
    outer = ValueError("outer")
    outer.__cause__ = error
    assert faults.full(outer) is full
    assert ("make room" in faults.sentence(outer, "/home")) is full


def start(path: Path, before: str = "true") -> subprocess.Popen[str]:
    """Start the command as the launcher would, after a word to the shell."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TRIMTAB_TOKEN": TOKEN}
    return subprocess.Popen(
        ["bash", "-c", f'{before} && exec "$0" "$@"', sys.executable, "-m", "retrain.cli", str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
    )  # fmt: skip


def killed_at(path: Path, stage: str, words: str) -> int:
    """Run the command and kill it when a stage says something."""
    with start(path) as job:
        assert job.stdout is not None
        seen = []
        for line in job.stdout:
            seen.append(line)
            if stage in line and words in line:
                job.send_signal(signal.SIGKILL)
                break
        else:
            raise AssertionError("".join(seen))
    return job.returncode


def finish(path: Path) -> list[str]:
    """Run the command to its end."""
    with start(path) as job:
        assert job.stdout is not None
        lines = list(job.stdout)
    assert job.returncode == 0, "".join(lines)
    return lines


def test_two_jobs_never_work_on_one_order(base: Path, store: Store, tmp_path: Path) -> None:
    """The second job is turned away and leaves the order's row as it is."""
    order = parse(document(base, store, tmp_path, "http://127.0.0.1:9"))
    with lock.held(order.work), pytest.raises(lock.AlreadyRunning):
        work_off(order, store)
    assert store.orders() == []


def test_a_name_is_never_given_to_other_weights(base: Path, store: Store, tmp_path: Path) -> None:
    """An order for a taken adapter name, or over the work of another order, fails before it trains."""
    taken = tmp_path / "adapters" / "home-v2"
    taken.mkdir(parents=True)
    order = parse(document(base, store, tmp_path, "http://127.0.0.1:9"))
    with pytest.raises(InvalidInput, match="give a new challenger name"):
        work_off(order, store)
    assert store.order("o1").status == "failed"
    assert "home-v2" in str(store.order("o1").error)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"base_model": {"path": "/none"}}, "base_model.path"),
        ({"init_from_champion": True}, "manifest"),
        ({"data": {"labeller": "none.py:f"}}, "no file none.py"),
    ],
)
def test_what_cannot_be_done_fails_with_its_reason(
    base: Path, store: Store, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    """The order's row says failed and why, and so does the error."""
    order = parse(document(base, store, tmp_path, "http://127.0.0.1:9", **changes))
    with pytest.raises(Exception, match=says):
        work_off(order, store)
    row = store.order("o1")
    assert row.status == "failed"
    assert says in str(row.error)


def test_the_command_refuses_a_malformed_order(tmp_path: Path) -> None:
    """Exit status 2 and one sentence on stderr; nothing is created."""
    path = tmp_path / "order.yaml"
    path.write_text("id: o1\ncolour: red\n")
    done = subprocess.run(
        [sys.executable, "-m", "retrain.cli", str(path)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "order.yaml" in done.stderr
    assert list(tmp_path.iterdir()) == [path]


def test_what_no_second_attempt_would_mend_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An adapter that nobody can read fails its order at once; a store that is away is tried again."""
    ended = []
    for fault in (Unservable(f"adapter {tmp_path} has no readable manifest"), RemoteFault("the store is away")):

        def given(fault: Exception = fault) -> Any:
            raise fault

        with pytest.raises(typer.Exit) as status:
            cli._told(given)
        ended.append(status.value.exit_code)
    assert ended == [2, 1]
    assert capsys.readouterr().err.count("\n") == 2


def test_a_first_version_is_made_without_a_contest(base: Path, tmp_path: Path) -> None:
    """bootstrap() trains, seals what is given with it, returns at once when called again, and refuses other rows."""
    reference = tmp_path / "r.jsonl"
    reference.write_text("{}\n")
    told: list[int] = []

    def make(rows: Any) -> Path:
        return bootstrap(
            rows, base, tmp_path, "home-v1", replace(RECIPE, steps=2),
            files={"reference.jsonl": reference}, on_step=lambda step, _: told.append(step),
        )  # fmt: skip

    folder = make(OLD)
    digest = artifacts.verify(folder)
    assert folder == (tmp_path / "adapters" / "home-v1").resolve()
    assert told == [1, 2]
    assert "reference.jsonl" in artifacts.manifest(folder)["files"]
    assert artifacts.verify(make(OLD)) == digest
    assert told == [1, 2]
    with pytest.raises(InvalidInput, match="new id"):
        make(OLD[:5])


def test_a_bootstrap_order_publishes_without_an_engine(base: Path, store: Store, tmp_path: Path) -> None:
    """An order without engine and champion learns from its replay rows alone and enters an accepted version."""
    changes = {"champion": None, "engine": None, "recipe": {**RECIPE.to_json(), "steps": 1}}
    order = parse(document(base, store, tmp_path, "", **changes) | changes)
    assert work_off(order, store) is None
    version = store.adapters("home")[0]
    assert (version.status, version.verdict, store.order("o1").status) == ("accepted", None, "done")
    assert artifacts.verify(Path(version.path)) == version.digest

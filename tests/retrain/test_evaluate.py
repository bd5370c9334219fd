"""The contest: paired, resumable, patient with an engine that goes away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retrain.chat import Chat
from retrain.curate.rows import Row
from retrain.evaluate import Contest, Seats
from serving.engine import Engine
from serving.errors import InvalidInput, RemoteFault
from tests.retrain.fake_engine import TOKEN, FakeEngine

SEATS = Seats(challenger="home-v2", champion="home-v1", base="base")


def rows(name: str, n: int) -> list[Row]:
    """Give rows whose answer repeats their text."""
    return [
        Row(id=f"{name}{i}", messages=(("user", f"{name} {i}"),), answer=f"do {name} {i}", source="human", group="g")
        for i in range(n)
    ]


def answers(model: str, prompt: str) -> str:
    """Answer as a good challenger, a champion that knows old things only, and a bare model that chats."""
    knows = {"home-v2": ("fresh", "old"), "home-v1": ("old",)}.get(model, ())
    return f"do {prompt}" if prompt.startswith(knows) else "I am an assistant"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """Give a folder that the engine's client takes for an adapter."""
    folder = tmp_path / "home-v2"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return folder


def contest(fake: FakeEngine, folder: Path, n: int = 10, token: str = TOKEN, patience_s: float = 20.0) -> Contest:
    """Give a contest of n rows a slice."""
    slices = {"fresh": rows("fresh", n), "old": rows("old", n)}
    engine, chat = Engine(fake.url, token), Chat(fake.url, token)
    return Contest(SEATS, slices, engine, chat, folder, folder.parent, patience_s=patience_s)


def test_all_answer_the_same_examples(adapter: Path) -> None:
    """Every model answers every example once; who was right is paired by example; probes are the exact answers."""
    with FakeEngine(answers) as fake:
        fake.loaded["home-v1"] = "somewhere"
        made = contest(fake, adapter).run()
        assert fake.loaded["home-v2"] == str(adapter)
    evidence = made.evidence
    assert (evidence.fresh.wins, evidence.fresh.losses, evidence.old.wins, evidence.old.n) == (10, 0, 0, 10)
    assert (evidence.base.wins, evidence.base.n) == (20, 20)
    assert all(evidence.well_formed)
    assert len(evidence.slowdowns) == 20
    assert made.metrics["champion"]["old"]["exact_match"] == 1.0
    assert made.metrics["champion"]["fresh"]["exact_match"] == 0.0
    assert 0.0 <= made.metrics["base"]["fresh"]["rougeL"] < 0.5
    probes = json.loads((adapter.parent / "probes.json").read_text())
    assert len(probes) == 12
    assert probes[0] == {"messages": [{"role": "user", "content": "fresh 0"}], "answer": "do fresh 0"}


def test_what_was_answered_is_not_asked_again(adapter: Path) -> None:
    """A contest that was cut, even in the middle of a line, goes on and comes to the same result."""
    with FakeEngine(answers) as fake:
        fake.loaded["home-v1"] = "somewhere"
        whole = contest(fake, adapter).run()
        record = adapter.parent / "eval.jsonl"
        lines = record.read_bytes().splitlines(keepends=True)
        record.write_bytes(b"".join(lines[:25]) + lines[25][:20])
        (adapter.parent / "probes.json").unlink()
        fake.asked.clear()
        again = contest(fake, adapter).run()
        asked = sum(fake.asked.values())
    assert asked == 60 - 25 + 12
    assert again.evidence.fresh == whole.evidence.fresh
    assert again.evidence.old == whole.evidence.old
    assert len(record.read_text().splitlines()) == 60


def test_a_restarted_engine_gets_the_challenger_back(adapter: Path) -> None:
    """An engine that fails and forgets its adapters in the midst is given the challenger again."""

    def forgets(model: str, prompt: str) -> str:
        if model == "home-v2" and prompt == "fresh 8":
            fake.loaded.pop("home-v2", None)
            fake.faults = 3
        return answers(model, prompt)

    with FakeEngine(forgets) as fake:
        fake.loaded["home-v1"] = "somewhere"
        made = contest(fake, adapter).run()
        assert "home-v2" in fake.loaded
    assert made.evidence.fresh.wins == 10


def test_patience_ends(adapter: Path) -> None:
    """An engine that stays away is a remote fault; a wrong token is the caller's."""
    with FakeEngine(answers) as fake:
        fake.faults = 1_000_000
        with pytest.raises(RemoteFault):
            contest(fake, adapter, patience_s=0.1).run()
        fake.faults = 0
        with pytest.raises(InvalidInput, match="TRIMTAB_TOKEN"):
            contest(fake, adapter, token="wrong").run()


def test_an_answer_that_was_cut_is_not_well_formed(adapter: Path) -> None:
    """Empty and many-line answers, where labels have one line, are out of form."""

    def odd(model: str, prompt: str) -> str:
        return {"fresh 0": "", "fresh 1": "do\nthis"}.get(prompt, answers(model, prompt))

    with FakeEngine(odd) as fake:
        fake.loaded["home-v1"] = "somewhere"
        made = contest(fake, adapter, n=4).run()
    assert list(made.evidence.well_formed) == [False, False, True, True, True, True, True, True]

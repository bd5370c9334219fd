"""The contest: paired, resumable, patient with an engine that goes away."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from retrain.chat import Chat
from retrain.curate.rows import Row
from retrain.evaluate.beside import beside
from retrain.evaluate.contest import Contest
from retrain.evaluate.evidence import evidence, parts
from retrain.evaluate.judge import judge_of, read_choice
from retrain.evaluate.measured import Measured
from retrain.evaluate.record import CHAMPION, Seats
from retrain.gate.verdict import Bounds
from retrain.gate.verdict import judge as judge_all
from retrain.order import EvaluatePart, JudgePart
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


def test_an_empty_holdout_is_refused(adapter: Path) -> None:
    """Without any example the contest says in one sentence what to bring, and asks nobody."""
    with FakeEngine(answers) as fake, pytest.raises(InvalidInput, match="the holdout is empty"):
        contest(fake, adapter, n=0).run()
    assert not fake.asked


def test_the_canary_is_asked_by_its_own_rules(adapter: Path) -> None:
    """Canary rows are right by what they hold or by declining, and are no part of the other slices."""

    def says(model: str, prompt: str) -> str:
        if prompt == "capital":
            return "That is Paris, of course." if model == "home-v1" else "Who knows"
        return "I'm sorry, but I cannot help" if prompt == "attack" and model != "home-v2" else answers(model, prompt)

    extra = [
        Row.from_json({"prompt": "capital", "answer": "paris", "match": "contains"}, id="c1"),
        Row.from_json({"prompt": "attack", "answer": "(declines)", "match": "refusal"}, id="c2"),
    ]
    with FakeEngine(says) as fake:
        fake.loaded["home-v1"] = "somewhere"
        slices = {"fresh": rows("fresh", 4), "old": rows("old", 4), "canary": extra}
        engine, chat = Engine(fake.url, TOKEN), Chat(fake.url, TOKEN)
        made = Contest(SEATS, slices, engine, chat, adapter, adapter.parent).run()
    assert (made.evidence.canary.n, made.evidence.canary.losses) == (2, 2)
    assert (made.evidence.fresh.n, made.evidence.base.n) == (4, 8)
    safety, refusals = made.evidence.guards["safety"], made.evidence.guards["refusals"]
    assert (safety.losses, safety.n) == (1, 10)
    assert (refusals.losses, refusals.n) == (0, 9)
    assert made.metrics["champion"]["canary"]["right"] == 1.0


def test_parts_of_the_old_slice_follow_its_labels() -> None:
    """Each value of a label that five rows share is a part; one value for all is none; rare ones are left out."""
    made = [
        Row.from_json({"prompt": f"p{n}", "answer": "a", "intent": intent, "language": "en"}, id=str(n))
        for n, intent in enumerate(["on"] * 6 + ["off"] * 5 + ["odd"])
    ]
    assert {name: len(keys) for name, keys in parts(made).items()} == {"intent=on": 6, "intent=off": 5}
    assert parts([]) == {}


def test_perplexity_and_judge_are_measured_once(adapter: Path) -> None:
    """Beside the contest each model's perplexity is told; what is written down is not measured again."""
    asked = EvaluatePart(perplexity_rows=3, judge_rows=3)
    part = JudgePart(model="judge", kind="likelihood", midpoint=-2.0, slope=4.0)
    with FakeEngine(answers) as fake:
        fake.loaded |= {"home-v1": "somewhere", "judge": "somewhere"}
        one = contest(fake, adapter)
        one.run()
        judge = judge_of(part, fake.url, TOKEN, None)
        work = adapter.parent
        made, pairs = beside(one, work, asked, fake.url, TOKEN, judge, lambda _: None)
        scored = fake.scored
        assert beside(one, work, asked, fake.url, TOKEN, judge, lambda _: None) == (made, pairs)
        assert fake.scored == scored
    assert made["perplexity"]["challenger"]["fresh"] == pytest.approx(math.e)
    assert made["perplexity"]["champion"]["fresh"] == pytest.approx(math.e**3)
    assert pairs.perplexity["fresh"] == pytest.approx([math.e**-2] * 3)
    assert made["judge"]["fresh"]["rows"] == len(pairs.grades["fresh"]) == 3
    assert pairs.preferences == {}
    assert Measured.from_json(json.loads(json.dumps(pairs.to_json()))) == pairs
    verdict = judge_all(evidence(one.said, one.slices, CHAMPION, pairs), Bounds())
    names = {check.name for check in verdict.checks}
    assert {"perplexity on fresh", "perplexity on old", "judge's grades on fresh", "judge's grades on old"} <= names
    assert "position" not in made["judge"]["fresh"]


def test_what_cannot_be_measured_is_told(adapter: Path) -> None:
    """A judge that is not there costs its figures and nothing else."""
    part = JudgePart(model="nobody", kind="rubric")
    said: list[str] = []
    with FakeEngine(answers) as fake:
        fake.loaded["home-v1"] = "somewhere"
        one = contest(fake, adapter, n=4)
        one.run()
        judge = judge_of(part, fake.url, TOKEN, None)
        asked = EvaluatePart(perplexity_rows=0)
        made, pairs = beside(one, adapter.parent, asked, fake.url, TOKEN, judge, said.append)
    assert "404" in made["judge"]["not_measured"]
    assert (pairs.grades, pairs.preferences) == ({"fresh": [], "old": []}, {})
    assert "the judge: not measured" in said[-1]


def test_a_judge_that_likes_what_comes_first_decides_nothing(adapter: Path) -> None:
    """Two answers are shown both ways; a preference that turns with the order is a tie, and the bias is told."""

    def says(model: str, prompt: str) -> str:
        if model == "judge":
            return '{"reason": "-", "better": "first"}' if '"second"' in prompt else '{"score": 3}'
        return answers(model, prompt)

    with FakeEngine(says) as fake:
        fake.loaded |= {"home-v1": "somewhere", "judge": "somewhere"}
        one = contest(fake, adapter, n=4)
        one.run()
        judge = judge_of(JudgePart(model="judge", kind="rubric"), fake.url, TOKEN, None)
        asked = EvaluatePart(perplexity_rows=0, judge_rows=4)
        figures, pairs = beside(one, adapter.parent, asked, fake.url, TOKEN, judge, lambda _: None)
    made = figures["judge"]
    assert pairs.preferences == {"fresh": [0, 0, 4]}
    assert made["fresh"]["preferences"] == {"win": 0, "tie": 4, "loss": 0}
    assert made["fresh"]["position"]["first_share"] == 1.0
    assert made["fresh"]["position"]["turned_with_the_order"] == 4
    assert "position" not in made["old"]
    assert made["old"]["preferences"]["tie"] == 4


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ('{"reason": "the second is short", "better": "first"}', "first"),
        ("Second.", "second"),
        ('```json\n{"better": "tie"}\n```', "tie"),
        ("better: first, then better: second", "second"),
        ("both are fine, the first one perhaps", None),
        ("", None),
    ],
)
def test_a_choice_is_read_or_it_is_none(text: str, choice: str | None) -> None:
    """The last stated choice counts; chatter without one is no choice."""
    assert read_choice(text) == choice

"""The metrics: known points, and modules that `evaluate` loads without a hub."""

from __future__ import annotations

import math
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.metrics import right

METRICS = Path(right.__file__).parent


def test_answers_at_known_points() -> None:
    """Equal texts score one, texts without a common word zero, and half a match lies between."""
    from retrain.metrics.answers import Answers

    metric = Answers(keep_in_memory=True)
    same = ["turn on the kitchen light"]
    assert all(
        value == pytest.approx(1.0, abs=0.01) for value in metric.compute(predictions=same, references=same).values()
    )
    none = metric.compute(predictions=["blue"], references=["turn on the kitchen light"])
    assert max(none.values()) < 0.05
    assert none["exact_match"] == 0.0
    near = metric.compute(predictions=["turn on the hall light"], references=same)
    assert near["rouge1"] == pytest.approx(0.8)
    assert near["rougeL"] == pytest.approx(0.8)
    assert 0 < near["bleu"] < 1
    assert 0.5 < near["meteor"] < 1
    empty = metric.compute(predictions=[""], references=same)
    assert max(empty.values()) == 0.0


@pytest.mark.parametrize("text", ["Привет, мир", "请取消 我的订单", "नमस्ते दुनिया", "éclair vs e\u0301clair"])
def test_texts_that_are_not_ascii_are_like_themselves(text: str) -> None:
    """rouge_score's own tokenizer would see nothing in them; an accent may be a character of its own."""
    from retrain.metrics.answers import Answers

    made = Answers(keep_in_memory=True).compute(predictions=[unicodedata.normalize("NFD", text)], references=[text])
    assert [made[name] for name in ("exact_match", "rouge1", "rouge2", "rougeL")] == [1.0] * 4


@given(st.text(st.characters(codec="ascii"), max_size=40))
def test_words_of_ascii_are_those_of_rouge_score(text: str) -> None:
    """So figures of English are comparable with everybody else's."""
    from rouge_score.tokenize import tokenize

    from retrain.metrics.answers import Words

    assert Words().tokenize(text) == tokenize(text, None)


def test_labels_are_averaged_over_kinds() -> None:
    """Three of four right: accuracy 3/4; macro recall is the mean over kinds; an invented kind costs precision none."""
    from retrain.metrics.labels import Labels

    made = Labels(keep_in_memory=True).compute(predictions=["a", "a", "a", "x"], references=["a", "a", "a", "b"])
    assert made == {"accuracy": 0.75, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    one = Labels(keep_in_memory=True).compute(predictions=["a"], references=["a"])
    assert set(one.values()) == {1.0}


def test_perplexity_leaves_out_what_is_no_number() -> None:
    """A mean of -1 nat is a perplexity of e; NaN and infinities are left out; nothing at all is None."""
    from retrain.metrics.perplexity import Perplexity

    metric = Perplexity(keep_in_memory=True)
    assert metric.compute(data=[-1.0, math.nan, -math.inf]) == {"perplexity": pytest.approx(math.e)}
    assert metric.compute(data=[math.nan]) == {"perplexity": None}
    assert math.isfinite(metric.compute(data=[-1e6])["perplexity"])


@pytest.mark.parametrize(("name", "kind"), [("answers", "metric"), ("labels", "metric"), ("perplexity", "measurement")])
def test_evaluate_loads_each_module_from_its_file(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`evaluate.load` finds the modules by their path, with no hub to ask."""
    import evaluate

    monkeypatch.setenv("HF_EVALUATE_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    metric = evaluate.load(str(METRICS / f"{name}.py"), module_type=kind, cache_dir=str(tmp_path))
    values = {"data": [-1.0]} if kind == "measurement" else {"predictions": ["a"], "references": ["a"]}
    assert metric.compute(**values)


def test_right_by_each_rule() -> None:
    """Exact forgives the ends, contains forgives case and context, a refusal is right where it is asked for."""
    assert right.right("exact", "light on", " light on\n")
    assert not right.right("exact", "light on", "Light on")
    assert right.right("contains", "Paris", "It is paris, I think.")
    assert right.right("exact", "caf\u00e9", "cafe\u0301")
    assert not right.right("contains", "?", "It is paris.")
    assert right.right("refusal", "(declines)", "I'm sorry, but I cannot do that.")
    assert not right.right("refusal", "(declines)", "Sure: first you")


@pytest.mark.parametrize(
    ("answer", "given", "leak"),
    [
        ("write to anna@example.org", "hello", True),
        ("write to anna@example.org", "my address is anna@example.org", False),
        ("card 4111 1111 1111 1111", "", True),
        ("the key is sk-abcdefghijklmnopqrst", "", True),
        ("set volume to 90", "", False),
        ("see page 12345", "", False),
    ],
)
def test_a_secret_that_nobody_gave_is_a_leak(answer: str, given: str, *, leak: bool) -> None:
    """What looks like a secret is a leak unless the conversation or the label holds it."""
    assert right.leaks(answer, given) is leak


def test_kinds_of_answers() -> None:
    """A known answer has its label, another its first word, an empty one none."""
    assert right.kind("timer 5", {"timer 5": "start_timer"}) == "start_timer"
    assert right.kind("Timer: 7", {}) == "timer"
    assert right.kind("", {}) == ""

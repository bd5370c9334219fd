"""Settings that do not do what was meant must each be told, with what to write instead; those that do must not."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.app.doubts import RECIPE_RANK, doubts
from agent.app.places import files, stores
from agent.settings import Settings
from agent.store import Store
from retrain.recipe import Recipe

CHAMPION = {"champion": "/adapters/one", "retrain": {"base_model_path": "/models/base"}}
JUDGE = {"judge_model": "jury"}


@pytest.mark.parametrize(
    ("tree", "well", "words"),
    [
        ({"policy": {"quiet_hours": ["00:00-24:00"], "time_zone": "UTC"}}, False, "no minute of the week"),
        ({"policy": {"quiet_hours": ["at night"], "time_zone": "UTC"}}, False, "is no time of the week"),
        ({"policy": {"judge_money": 5}, "quality": JUDGE}, False, "policy.judge_price: say what a million tokens"),
        ({"policy": {"judge_price": 5}, "quality": JUDGE}, None, "a price alone bounds nothing"),
        ({"quality": {"judge_url": "http://jury"}}, False, "set quality.judge_model to the name"),
        ({"quality": {"judge_path": "/jury"}}, False, "quality.judge_path is set without quality.judge_model"),
        ({"quality": JUDGE, "capture": {"text": "none"}}, False, "the judge gets no text"),
        ({"quality": JUDGE | {"sample_share": 0}}, False, "the judge is never asked"),
        ({"quality": JUDGE | {"judge_url": "http://jury", "judge_path": "/jury"}}, None, "leave one of them out"),
        ({"quality": {"judge_model": "home-v1"}}, False, "the champion would judge itself"),
        ({"champion": "/adapters/one"}, None, "retrain.base_model_path is not set"),
        (CHAMPION | {"capture": {"text": "none"}}, False, "no text to learn from"),
        (CHAMPION | {"engine": {"max_lora_rank": 8}}, False, "retrain.recipe r 16 is above engine.max_lora_rank 8"),
        (CHAMPION | {"alias": "base"}, False, "alias and engine.base_model are both base"),
        ({"retrain": {"launcher": "ray"}}, False, "set retrain.ray.address"),
        (
            {"retrain": {"launcher": "kubernetes", "kubernetes": {"queue": "gpu"}}},
            False,
            "set retrain.kubernetes.image",
        ),
        ({"retrain": {"kubernetes": {"image": "x"}}}, None, "set retrain.launcher to kubernetes"),
        ({"objects": {"endpoint": "http://minio"}}, False, "set objects.url"),
        ({"objects": {"region": "eu"}}, False, "objects.region without objects.url"),
        ({"quality": {"min_truth": 301}}, False, "quality.min_truth 301 above quality.window_exchanges"),
        ({"drift": {"reference_rows": 50, "budget_windows": 5000}}, False, "in 500000 exchanges needs 60"),
        ({"notify": {"urls": ["json://x"]}}, None, "set notify.page"),
        ({"notify": {"urls": ["json://x"]}, "http": {"host": "::1"}}, None, "link to ::1, where"),
    ],
)
def test_each_doubt_is_told_alone(tree: dict[str, Any], well: bool | None, words: str) -> None:
    """One finding for one mistake, in one sentence that names the setting."""
    (finding,) = doubts(Settings.model_validate(tree))
    assert finding[0] is well
    assert words in f"{finding[1]}: {finding[2]}"


@pytest.mark.parametrize(
    "tree",
    [
        {},
        CHAMPION | {"quality": JUDGE | {"judge_path": "/jury"}},
        CHAMPION | {"engine": {"max_lora_rank": 8}, "retrain": {"base_model_path": "/m", "recipe": {"r": 8}}},
        {"retrain": {"launcher": "kubernetes", "kubernetes": {"image": "x"}}},
        {"notify": {"urls": ["json://x"], "page": "https://trimtab.example"}},
    ],
)
def test_what_fits_together_is_well(tree: dict[str, Any]) -> None:
    """The defaults and what people mean raise no doubt."""
    assert [good for good, _, _ in doubts(Settings.model_validate(tree))] == [True]


def test_the_rank_is_the_recipe_s() -> None:
    """The agent may not import retraining, so it says the default a second time."""
    assert Recipe().r == RECIPE_RANK


def test_files_that_are_named_are_looked_at(tmp_path: Path) -> None:
    """A short reference, a judge that is not sealed, a base model that is none; and each as it should be."""
    reference, base = tmp_path / "reference.jsonl", tmp_path / "base"
    base.mkdir()
    tree = {
        "reference": reference, "quality": JUDGE | {"judge_path": tmp_path}, "retrain": {"base_model_path": base},
    }  # fmt: skip
    settings = Settings.model_validate(tree)

    def say() -> list[tuple[bool | None, str]]:
        return [(good, f"{what}: {remedy}") for good, what, remedy in files(settings)]

    assert [good for good, _ in say()] == [False, False, False]
    assert "record it again or unset `reference`" in say()[0][1]
    reference.write_text("\n".join([json.dumps({"prompt": "p", "answer": "a"})] * 49))
    assert "49 exchanges: one false alarm in 50000 exchanges needs 50" in say()[0][1]
    assert "no config.json" in say()[2][1]
    with reference.open("a") as more:
        more.write('\n{"prompt": "p", "answer": "a"}')
    (base / "config.json").write_text("{}")
    assert [good for good, _ in say()] == [True, False, True]


def test_places_elsewhere_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Database and object store that do not answer, and jobs that would not reach them, are a sentence each."""
    monkeypatch.setattr("agent.store.s3.RETRY_TIMEOUT", timedelta())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")

    def say(**tree: Any) -> list[tuple[bool | None, str]]:
        found = stores(Settings.model_validate({"home": tmp_path} | tree))
        return [(good, f"{what}: {remedy}") for good, what, remedy in found]

    assert say() == []
    assert say(objects={"url": (tmp_path / "o").as_uri()}) == [(True, f"object store {(tmp_path / 'o').as_uri()}: ")]
    ((good, words),) = say(objects={"url": "s3://b/p", "endpoint": "http://127.0.0.1:9"})
    assert good is False
    assert "object store s3://b/p does not answer" in words
    away = {"url": "postgresql://u@127.0.0.1:9/x"}
    (database, alone) = say(store=away)
    assert (database[0], alone[0]) == (False, None)
    assert "cannot be used" in database[1]
    assert "set objects.url, unless all of them mount" in alone[1]
    (refused,) = say(retrain={"launcher": "ray"})
    assert "needs a database that its jobs reach" in refused[1]
    Store.at(tmp_path).close()
    assert say() == [(True, "database: ")]
    (tmp_path / "trimtab.db").write_bytes(b"no database at all" * 100)
    ((good, words),) = say()
    assert good is False
    assert "put a backup in its place" in words

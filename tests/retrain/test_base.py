"""Base models: licences, cards, and the smallest that will do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from retrain.bases.card import Card, read_card
from retrain.bases.choose import Candidate, Measured, choose, judged, token_f1
from retrain.bases.cli import app, languages
from retrain.bases.licence import TABLE, known, ruling
from retrain.curate.rows import Row
from serving.errors import InvalidInput
from tests.retrain.fake_engine import TOKEN, FakeEngine


@pytest.mark.parametrize(
    ("name", "use", "allowed"),
    [
        ("apache-2.0", "commercial", True),
        ("Apache_2.0".replace("_", "-"), "commercial", True),
        ("MIT", "commercial", True),
        ("llama3.1", "commercial", True),
        ("gemma", "commercial", True),
        ("cc-by-nc-4.0", "commercial", False),
        ("cc-by-nc-4.0", "research", True),
        ("qwen-research", "commercial", False),
        ("mrl", "commercial", False),
        ("house-licence", "research", None),
        (None, "commercial", None),
    ],
)
def test_licences_are_held_against_the_use(name: str | None, use: Any, allowed: bool | None) -> None:
    """Allowed, forbidden and unknown are three things, each said in one sentence."""
    found = ruling(name, use)
    assert found.allowed is allowed
    assert found.says
    assert "\n" not in found.says


def test_every_licence_has_a_source_and_its_conditions() -> None:
    """No row without the address of its text; community licences say what they ask for."""
    assert all(row.source.startswith("https://") for row in TABLE.values())
    assert all(known(key) is row for key, row in TABLE.items())
    for key in ("llama3.1", "gemma", "bigscience-openrail-m", "cc-by-sa-4.0"):
        assert TABLE[key].conditions in ruling(key, "commercial").says


@pytest.mark.parametrize(
    ("files", "licence", "where"),
    [
        ({"README.md": "---\nlicense: gemma\nlanguage: [en, de]\n---\ntext"}, "gemma", "README.md"),
        ({"README.md": "---\nlicense: other\nlicense_name: qwen-research\n---\n"}, "qwen-research", "README.md"),
        ({"README.md": "no front", "LICENSE": "Apache License\n   Version 2.0, January 2004"}, "apache-2.0", "LICENSE"),
        ({"README.md": "---\n[\n---\n", "LICENSE.txt": "LLAMA 3.2 COMMUNITY LICENSE"}, "llama3.2", "LICENSE.txt"),
        ({}, None, ""),
    ],
)  # fmt: skip
def test_a_card_is_read_where_it_stands(
    tiny_model: Path, tmp_path: Path, files: dict[str, str], licence: str | None, where: str
) -> None:
    """Front matter first, a licence file's title last, and nothing is made up."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    for name, text in files.items():
        (folder / name).write_text(text)
    card = read_card(folder)
    assert (card.licence, card.licence_from) == (licence, where)
    assert card.languages == (("en", "de") if "language" in files.get("README.md", "") else ())
    assert card.chats
    assert card.parameters > 100_000
    (folder / "config.json").unlink()
    with pytest.raises(InvalidInput, match=r"no config\.json"):
        read_card(folder)


def made(name: str, weights: int, f1: float, loss: float | None = 1.0, **changes: Any) -> Candidate:
    """Give a measured candidate."""
    facts: dict[str, Any] = {"licence": "apache-2.0", "languages": ("en",), "chats": True, **changes}
    card = Card(name=name, licence_from="README.md", parameters=weights, bytes=2 * weights, **facts)
    measured = Measured(
        exact=f1, f1=f1, loss=loss, n=40, seconds_per_answer=0.5, memory_bytes=10**9, tokens_per_answer=4
    )
    return judged(name, card, measured, use="commercial", languages=["en"], answer_words=5, price_per_hour=2.0)


def test_the_smallest_that_will_do_is_chosen() -> None:
    """Not the best, but the smallest near it; never one with something against it; without quality, by the loss."""
    big, middle, small = made("big", 7000, 0.80), made("middle", 1000, 0.77), made("small", 100, 0.40)
    assert choose([big, middle, small]).name == "middle"
    assert choose([big, middle, small], within=0.5).name == "small"
    assert choose([big, made("middle", 1000, 0.77, licence="cc-by-nc-4.0"), small]).name == "big"
    assert choose([big, made("middle", 1000, 0.77, chats=False)]).name == "big"
    nobody = [made("big", 7000, 0.0, 1.0), made("middle", 1000, 0.01, 1.05), made("small", 100, 0.0, 3.0)]
    assert choose(nobody).name == "middle"
    assert choose([made("big", 7000, 0.0, None)]).name is None
    assert choose([made("big", 7000, 0.9, licence=None)]).name is None
    assert big.price_per_1000 == pytest.approx(0.5 * 1000 / 3600 * 2.0)
    assert made("x", 100, 0.5, languages=("de",)).warnings


def test_f1_counts_shared_words() -> None:
    """All, half and none of the words; two empty answers are equal."""
    assert token_f1("light on", "Light on") == 1.0
    assert token_f1("light on", "light off") == 0.5
    assert token_f1("light on", "hm") == 0.0
    assert token_f1("", "") == 1.0


def test_languages_are_those_of_the_examples() -> None:
    """What at least a twentieth of the prompts is written in is named by its code."""
    rows = [
        Row(id="1", messages=(("user", text),), answer="a", source="replay", group="g")
        for text in ("please turn on the light in the kitchen", "bitte mach das Licht in der Küche an")
    ]  # fmt: skip
    assert sorted(languages(rows)) == ["de", "en"]


def test_the_command_asks_folders_and_chooses(tiny_model: Path, tmp_path: Path) -> None:
    """A permitted folder is asked in a process of its own, a forbidden one is not asked at all; all is written down."""
    for name, licence in (("good", "mit"), ("closed", "cc-by-nc-4.0")):
        shutil.copytree(tiny_model, tmp_path / name)
        (tmp_path / name / "README.md").write_text(f"---\nlicense: {licence}\nlanguage: en\n---\n")
    examples = tmp_path / "examples.jsonl"
    examples.write_text("\n".join(json.dumps({"prompt": f"light {n}", "answer": f"on {n}"}) for n in range(6)))
    argv = [
        "--examples",
        str(examples),
        "--use",
        "commercial",
        "--shots",
        "1",
    ]
    for name in ("good", "closed"):
        argv += ["--candidates", str(tmp_path / name)]
    done = CliRunner().invoke(app, [*argv, "--out", str(tmp_path / "o.json")])
    assert done.exit_code == 0, done.output
    assert "good is the smallest that will do" in done.output
    assert "closed: against it: CC BY-NC 4.0 forbids commercial use" in done.output
    report = json.loads((tmp_path / "o.json").read_text())
    assert report["choice"] == "good"
    good, closed = report["candidates"]
    assert good["measured"]["n"] == 5
    assert good["measured"]["memory_bytes"] > 10**8
    assert closed["measured"] is None


@pytest.mark.parametrize(
    ("more", "says"),
    [(["--candidates", "misspelt"], "misspelt is no model folder"), (["--out", "none/o.json"], "is no folder")],
)
def test_what_is_misspelt_is_said_before_anybody_is_asked(
    more: list[str], says: str, tiny_model: Path, tmp_path: Path
) -> None:
    """A second candidate that is not there does not cost the answers of the first."""
    (tmp_path / "rows.jsonl").write_text('{"prompt": "light", "answer": "on"}\n')
    argv = ["--candidates", str(tiny_model), "--examples", str(tmp_path / "rows.jsonl"), *more]
    done = CliRunner().invoke(app, argv)
    assert (done.exit_code, "asking" in done.stdout, says in done.stderr) == (2, False, True)


def test_an_engine_can_be_asked_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an URL the candidates are model names, and their licences can be declared."""
    examples = tmp_path / "examples.jsonl"
    examples.write_text("\n".join(json.dumps({"prompt": f"light {n}", "answer": f"on {n}"}) for n in range(6)))
    with FakeEngine(lambda model, prompt: prompt.replace("light", "on") if model == "big" else "hm") as fake:
        for name in ("big", "small"):
            fake.loaded[name] = "somewhere"
        argv = [
            "--examples",
            str(examples),
            "--url",
            fake.url,
            "--use",
            "research",
        ]
        argv += ["--candidates", "big", "--candidates", "small", "--licence", "big=mit", "--licence", "small=mit"]
        monkeypatch.setenv("TRIMTAB_TOKEN", TOKEN)
        done = CliRunner().invoke(app, argv)
    assert "big is the smallest that will do" in done.output, done.output

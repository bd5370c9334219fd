"""`trimtab eval show`: the contest as tables and as a page."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from agent.store import convert
from retrain.evaluate import page as pages
from retrain.evaluate import show
from retrain.evaluate.cli import app
from retrain.gate.verdict import Bounds, Evidence, Paired, judge
from serving.errors import InvalidInput

EVIL = "<script>alert('x')</script> & \"more\" [bold]"
FIGURES = {"right": 0.5, "exact_match": 0.5, "f1": None, "latency_p50_s": 0.1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give an order's folder: one example got better, one worse, one stayed."""
    made = tmp_path / "orders" / "order-7"
    made.mkdir(parents=True)
    right = {"champion": (False, True, True), "challenger": (True, False, True), "base": (False, False, False)}
    lines = [
        {
            "slice": "fresh", "number": number, "role": role, "model": f"the-{role}", "id": str(number),
            "prompt": f"{EVIL} {number}", "expected": "yes", "answer": f"{role} {EVIL}", "right": right[role][number],
        }
        for number in range(3)
        for role in right
    ]  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (made / "eval.jsonl").write_text(text + '{"torn', encoding="utf-8")
    return made


def finish(folder: Path) -> None:
    """Add what the later stages leave."""
    pair = Paired(challenger=[True, False, True] * 30, other=[False, True, True] * 30)
    evidence = Evidence(fresh=pair, old=pair, base=pair, well_formed=[True] * 90, slowdowns=[1.0, 1.1] * 40)
    judged: dict[str, Any] = {
        "rows": 3, "grades": {"challenger": 0.9}, "preferences": {"win": 1, "tie": 1, "loss": 1},
        "position": {"shown_both_ways": 2, "turned_with_the_order": 1, "first_share": 0.75},
    }  # fmt: skip
    metrics = {
        **{role: {"fresh": FIGURES, "median_latency_s": 0.1} for role in ("champion", "challenger", "base")},
        "perplexity": {"not_measured": "no vLLM"},
        "judge": {"fresh": judged},
    }
    done = {"evaluate": {"metrics": metrics}, "gate": convert.verdict_json(judge(evidence, Bounds()))}
    (folder / "stages.json").write_text(json.dumps({"order": "d", "done": done}), encoding="utf-8")


def test_better_and_worse_are_told_apart(folder: Path) -> None:
    """What exactly one of the two got right is listed with all three answers; a torn last line is no fault."""
    report = show.read(folder)
    assert (report.order, report.answers, report.verdict) == ("order-7", 9, None)
    assert [(e.change, e.prompt[-1]) for e in report.examples] == [("better", "0"), ("worse", "1")]
    assert set(report.examples[0].answers) == {"champion", "challenger", "base"}


def test_a_doubted_label_is_marked(folder: Path) -> None:
    """An example whose label curation found wrong says so; the others do not."""
    steps = [{"step": "split"}, {"step": "examined labels", "ids": ["1"]}]
    (folder / "report.json").write_text(json.dumps({"steps": steps}))
    report = show.read(folder)
    assert [(e.prompt[-1], e.doubted) for e in report.examples] == [("0", False), ("1", True)]
    assert pages.page(report).count("this label looks wrong") == 1


def test_the_page_is_whole_and_harmless(folder: Path) -> None:
    """Tags are balanced, no text of a model becomes one, and nothing is fetched."""
    finish(folder)
    page = pages.page(show.read(folder))
    tags: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "link", "img", "iframe")
            assert not any(name.startswith(("on", "src", "href")) for name, _ in attrs)
            if tag != "meta":
                tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert tags.pop() == tag

    Checker().feed(page)
    assert tags == []
    assert "&lt;script&gt;" in page
    assert "not worse on old" in page
    assert "turned with the order" in page


def test_the_terminal_shows_the_same(folder: Path) -> None:
    """Verdict, figures with dashes for what is no number, the judge's words, and texts that are no markup."""
    finish(folder)
    console = Console(width=400, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(show.tables(show.read(folder), most=1))
    said = capture.get()
    for words in (
        "verdict: ",
        "perplexity was not measured: no vLLM",
        "[bold]",
        "1 example got worse",
        "beats the bare",
    ):
        assert words in said


def test_the_command_takes_an_id_or_a_folder(folder: Path, tmp_path: Path) -> None:
    """By id under the settings' home, or by folder; the page is written where it was asked for."""
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"home: {tmp_path}\n")
    page = tmp_path / "page.html"
    run = CliRunner()
    assert run.invoke(app, ["show", "order-7", "-s", str(settings), "--html", str(page)]).exit_code == 0
    assert page.read_text().startswith("<!doctype html>")
    few = run.invoke(app, ["show", str(folder), "--examples", "0"])
    assert few.exit_code == 0
    assert "no verdict yet" in few.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none"], "there is no order 'none' in HOME/orders: give one of order-7"),
        (["waits"], "order 'waits' has no contest to show yet: give one of order-7"),
        (["none", "-s", "OTHER"], "no order there has held a contest so far; say with --settings FILE where"),
        (["../orders"], "there is no order"),
        (["EMPTY"], "holds no contest"),
        (["FOLDER", "--html", "/none/page.html"], "cannot be written"),
    ],
)
def test_what_is_not_there_is_said(folder: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    """One sentence each: no such order, an order without a contest, a page that cannot be written."""
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"home: {tmp_path}\n")
    other = tmp_path / "other.yaml"
    other.write_text(f"home: {tmp_path / 'empty'}\n")
    (tmp_path / "empty").mkdir()
    (folder.parent / "waits").mkdir()
    known = {"EMPTY": str(tmp_path / "empty"), "FOLDER": str(folder), "OTHER": str(other)}
    command = ["show", "-s", str(settings), *(known.get(word, word) for word in arguments)]
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, InvalidInput)
    assert says.replace("HOME", str(tmp_path)) in str(done.exception)

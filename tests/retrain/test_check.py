"""`trimtab retrain check`, and the doctor who asks it: a wrong recipe shows before the first order."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent.app.rehearse import order_finding
from agent.settings import Settings
from agent.store import artifacts
from retrain.cli import app


def written(folder: Path, base: Path, **changes: Any) -> Path:
    """Write an order into a file."""
    (folder / "replay.jsonl").write_text('{"prompt": "light on", "answer": "on"}\n')
    order = {
        "id": "o1", "reason": "a test", "alias": "home", "challenger": "home-v2", "store": "sqlite://",
        "home": str(folder / "home"), "base_model": {"path": str(base)},
        "data": {"replay": str(folder / "replay.jsonl")},
    }  # fmt: skip
    path = folder / "order.json"
    path.write_text(json.dumps(order | changes))
    return path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, ""),
        ({"recipe": {"r": "many"}}, "unable to parse string as an integer (given: 'many')"),
        ({"id": "my order"}, "id: 'my order' cannot be a folder and a model name"),
        ({"data": {"replay": "none.jsonl"}}, "rows file none.jsonl cannot be read"),
        ({"data": {"replay": "r.jsonl", "labeller": "labels"}}, "data.labeller: 'labels' is not file.py:function"),
        ({"base_model": {"path": "/nowhere"}}, "base_model.path /nowhere is no folder"),
        ({"recipe": {"method": "dora"}, "engine": {"url": "http://x"}}, "could not be served"),
        ({"recipe": {"targets": ["q_proj", "c_attn"]}}, "has no module c_attn; write recipe.targets, of down_proj,"),
        ({"recipe": {"max_length": 513}}, "more than the 512 tokens"),
        ({"recipe": {"seed": -1}}, "seed must lie between 0 and"),
        ({"recipe": {"targets": "q_proj"}}, "targets: write a list (given: 'q_proj')"),
        ({"champion": "v1"}, "champion: write keys and values (given: 'v1')"),
        ({"home": "/etc/passwd/home"}, "cannot be a folder, for /etc/passwd is none"),
    ],
)
def test_an_order_is_checked_without_being_done(
    changes: dict[str, Any], says: str, tiny_model: Path, tmp_path: Path
) -> None:
    """One sentence and exit 2, or one line that all is well; nothing is written either way."""
    path = written(tmp_path, tiny_model, **changes)
    done = CliRunner().invoke(app, ["check", str(path)])
    assert done.exit_code == (2 if says else 0), done.output
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == bool(says)
    assert ("nothing is wrong with it" in done.stdout) is not bool(says)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["order.json", "replay.jsonl"]


def test_a_base_that_cannot_chat_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    """Before anything is curated for it, whether its template or its tokenizer is missing."""
    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    (base / "chat_template.jinja").unlink()
    done = CliRunner().invoke(app, ["check", str(written(tmp_path, base))])
    assert (done.exit_code, "has no chat template: use an instruct model" in done.stderr) == (2, True)
    (base / "tokenizer_config.json").unlink()
    done = CliRunner().invoke(app, ["check", str(written(tmp_path, base))])
    assert (done.exit_code, "has no tokenizer that transformers can read" in done.stderr) == (2, True)


def test_a_name_that_is_taken_and_a_champion_that_changed_are_said(
    tiny_model: Path, tiny_adapters: list[Path], tmp_path: Path
) -> None:
    """What a job looks at first is looked at here too."""
    taken = tmp_path / "home" / "adapters" / "home-v2"
    taken.mkdir(parents=True)
    path = written(tmp_path, tiny_model)
    assert (
        "home-v2 already belongs to a folder that no order made" in CliRunner().invoke(app, ["check", str(path)]).stderr
    )
    start = tmp_path / "start"
    shutil.copytree(tiny_adapters[0], start)
    artifacts.seal(start, {"name": "home-v1"})
    for digest, says in ((None, "nothing is wrong"), ("0" * 64, "the order says 000000000000")):
        champion = {"name": "home-v1", "path": str(start), "digest": digest}
        path = written(tmp_path, tiny_model, challenger="home-v3", champion=champion)
        assert says in CliRunner().invoke(app, ["check", str(path)]).output


def test_files_that_lie_elsewhere_are_not_looked_at(tmp_path: Path) -> None:
    """`--words` is for orders that another machine works off."""
    path = written(tmp_path, Path("/elsewhere"))
    assert CliRunner().invoke(app, ["check", str(path)]).exit_code == 2
    assert CliRunner().invoke(app, ["check", str(path), "--words"]).exit_code == 0


@pytest.mark.parametrize(("home", "why"), [("home", "Not a directory"), ("/proc/none", "No such file or directory")])
def test_a_home_that_cannot_be_a_folder_is_said(home: str, why: str, tiny_model: Path, tmp_path: Path) -> None:
    """An order whose home is a file, or where nothing can be made, ends with one sentence, not with Python's words."""
    (tmp_path / "home").touch()
    done = CliRunner().invoke(app, ["run", str(written(tmp_path, tiny_model, home=str(tmp_path / home)))])
    assert done.exit_code == 2
    assert done.stderr.endswith(f"cannot be made ({why}): give another `home`\n")


def test_the_doctor_rehearses_an_order(tiny_model: Path, tmp_path: Path) -> None:
    """What the settings say of a retraining is asked of the process that would run it."""

    def asked(**retrain: Any) -> tuple[bool | None, str]:
        said = {"home": str(tmp_path / "home"), "retrain": {"base_model_path": str(tiny_model), **retrain}}
        good, _, remedy = order_finding(Settings.model_validate(said))
        return good, remedy

    assert asked()[0] is True
    assert asked(recipe={"lrr": 0.1})[1].startswith("it would be refused: recipe: unknown key 'lrr'; known keys")
    good, remedy = asked(labeller="none.py:label")
    assert (good, "there is no file none.py" in remedy) == (False, True)
    assert list(tmp_path.iterdir()) == []

"""Settings: what is refused, in which words, and that the README names them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.settings import Settings, load
from agent.settings.table import README, with_reference
from agent.types import InvalidInput


def write(folder: Path, text: str) -> Path:
    """A settings file."""
    path = folder / "settings.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hom: x", "unknown key 'hom'; known keys there are: alias, capture, champion"),
        ("drift: {window: 3}", "unknown key 'drift.window'; known keys there are: budget_windows"),
        ("quality: {floor: 2}", "quality.floor: Input should be less than or equal to 1 (given: 2)"),
        ("rollout: {steps: [0.5, 0.1]}", "must rise from above 0 to exactly 1.0"),
        ("engine: {url: nonsense}", "engine.url: String should match pattern '^https?://' (given: 'nonsense')"),
        ("[1, 2]", "must hold a mapping"),
        ("a: [", "is not valid YAML or JSON: line 1, column 5: expected the node content, but found the end of"),
        ("tick_s: 1\n  alias: a", "YAML or JSON: line 2, column 8: no key can stand here"),
        ("http:\n  port: 1\n alias: a", "line 3, column 2: this is not indented like what stands above it"),
        ("http:\n\tport: 1", "line 2, column 1: indent with spaces, not with tabs"),
        ("alias: @a", "line 1, column 8: no value can begin with this character: put it in quotes"),
        ("alias: 'a\ntick_s: 1", "line 2, column 10: a quote is not closed, in what begins at line 1, column 8"),
        ("alias: !a b", "line 1, column 8: leave out the tag"),
        ("[1]: 2", "line 1, column 1: a list or a mapping cannot be a key"),
        ("alias: a\n--- b", "line 2, column 1: a second document begins here"),
        ("alias: a\ntick_s: \0", "line 2, column 9: the character U+0000 is not allowed"),
        ("alias: 2026-13-45", "is none (month must be in 1..12): put texts in quotes"),
        ("alias: " + "[" * 5000, "it is nested too deeply"),
        ("tick_s: 1\nhttp: {port: 1}\ntick_s: 2", "'tick_s' stands there twice"),
        ("alias: ''", "alias: String should have at least 1 character (given: '')"),
        ("rollout: {steps: [most]}", "rollout.steps.0: Input should be a valid number"),
        ("rollout: {steps: [most]}", "unable to parse string as a number (given: 'most')"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    """The sentence names the file, the key, and what to write instead."""
    path = write(tmp_path, text)
    with pytest.raises(InvalidInput, match=r".") as refused:
        load(path)
    assert str(path) in str(refused.value)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "store: {url: 'mysql://ann:4242@db/t'}",
        "store: {url: 'ann:4242@db/t'}",
        "store: {url: 'host=db password=4242'}",
        "engine: {url: '4242abcdef0123456789abcdef'}",
        "retrain: {kubernetes: {claims: {TOKEN: 4242}}}",
    ],
)
def test_what_may_be_a_secret_is_not_said_back(tmp_path: Path, text: str) -> None:
    """Addresses with a password, long texts and what lies below a free key stay out of the sentence."""
    with pytest.raises(InvalidInput, match="settings file") as refused:
        load(write(tmp_path, text))
    assert "4242" not in str(refused.value)


def test_a_file_that_is_no_text_is_said(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are the caller's fault too."""
    (tmp_path / "s.yaml").write_bytes(b"\x80\x81")
    with pytest.raises(InvalidInput, match="it is not UTF-8 text"):
        load(tmp_path / "s.yaml")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    """A path that is not there is the caller's fault."""
    with pytest.raises(InvalidInput, match="give an existing YAML file"):
        load(tmp_path / "none.yaml")


def test_defaults_and_sections(tmp_path: Path) -> None:
    """What is not written keeps its default."""
    assert load(None) == Settings()
    settings = load(write(tmp_path, "alias: shop\nquality: {floor: 0.8}"))
    assert settings.first_version == "shop-v1"
    assert settings.quality.floor == 0.8
    assert settings.quality.level == Settings().quality.level


def test_the_readme_names_every_setting() -> None:
    """The table is generated; `python -m agent.settings` writes it anew."""
    text = README.read_text(encoding="utf-8")
    assert with_reference(text) == text


@pytest.mark.parametrize(
    "text",
    ["capture: {keep_days: 1000000}", "capture: {keep_days: .inf}", "tick_s: .inf", "policy: {cooldown_s: .nan}"],
)
def test_a_time_that_no_calendar_holds_is_refused_at_load(tmp_path: Path, text: str) -> None:
    """Endless and astronomic spans are one sentence at the start, not a fault at every tick."""
    with pytest.raises(InvalidInput, match=r"keep_days|tick_s|cooldown_s"):
        load(write(tmp_path, text))

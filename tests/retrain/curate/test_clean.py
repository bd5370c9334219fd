"""Spelling, misfits, private data, caps and balance: what is done to a row, and what never is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.curate import caps, clean, split
from retrain.curate.curate import curate_rows
from retrain.curate.options import Curation
from retrain.curate.rows import Row


def row(text: str, answer: str = "a", **changes: Any) -> Row:
    """Give one row that asks a text."""
    values: dict[str, Any] = {"id": text, "group": text, "user": None, "source": "human", **changes}
    return Row(messages=(("user", text),), answer=answer, **values)


def test_spelling_changes_and_plain_rows_are_the_same_object() -> None:
    """Line ends, invisible and control characters go; a plain row is not even copied."""
    assert clean.normalised(row(" ca\u0301fe\u200b\r\nau\x07 lait ")).prompt == "c\u00e1fe\nau lait"
    plain = row("pause timer in gym")
    assert clean.normalised(plain) is plain
    assert clean.masked(plain) is plain


@given(st.text(max_size=60))
@settings(deadline=None, max_examples=60)
def test_normalising_and_masking_twice_change_nothing_more(text: str) -> None:
    """Both are done once and for all."""
    once = clean.normalised(row(text))
    assert clean.normalised(once) is once
    hidden = clean.masked(once)
    assert clean.masked(hidden) is hidden


def test_a_secret_goes_from_text_answer_and_group() -> None:
    """A card in a prompt is masked there, in the answer, and in the group that the text stood for."""
    card = "4556 7375 8689 9855"
    hidden = clean.masked(row(f"pay with {card}", f"paid with {card}"))
    assert card not in str(hidden.to_json() | {"id": ""})
    assert "[CARD]" in hidden.prompt
    assert clean.masked(row(f"pay with {card}")).group == hidden.group


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("pause timer in gym", None),
        ("ok", "prompt shorter"),
        ("x" * 300, "longer"),
        ("Ich hätte gerne das Geld zurück und nicht einen neuen", "language de"),
        ("", "empty"),
    ],
)
def test_misfits_say_why(text: str, why: str | None) -> None:
    """Too short, too long, another language, empty; a command too short to tell its language stays."""
    found = clean.misfit(row(text), least=3, most=200, languages=("en",))
    assert (found is None) if why is None else str(found).startswith(why)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.floats(0.15, 0.9), st.integers(0, 100))
@settings(deadline=None, max_examples=60)
def test_a_capped_share_is_of_what_is_kept(counts: list[int], share: float, nobody: int) -> None:
    """After the cap nobody has more than the share (or twice an even one, or the free rows)."""
    rows = [row(f"{user} {n}", user=f"u{user}") for user, count in enumerate(counts) for n in range(count)]
    rows += [row(f"none {n}") for n in range(nobody)]
    kept, dropped = caps.by_user(rows, share=share, free=3)
    assert len(kept) + len(dropped) == len(rows)
    bound = max(share, 2 / (len(counts) + nobody))
    for user in range(len(counts)):
        mine = sum(one.user == f"u{user}" for one in kept)
        assert mine <= max(3, bound * len(kept) + 1e-9) or bound >= 1


def test_a_teacher_never_outweighs_people() -> None:
    """A capped source gives its share of what is kept; the first rows of it stay, a lone source stays whole."""
    rows = [row(f"h {n}") for n in range(60)] + [row(f"t {n}", source="teacher") for n in range(300)]
    kept, dropped = caps.by_source(rows, {"teacher": 0.5}, free=20)
    assert sum(one.source == "teacher" for one in kept) == 60
    assert [one.id for one in dropped][:1] == ["t 60"]
    assert caps.by_source(rows[60:], {"teacher": 0.5}, free=20)[1] == []


def test_balance_cuts_the_loudest_label_alone() -> None:
    """No label has more than so many times the median's rows; without a factor, and in free text, nothing goes."""
    rows = [row(f"{label} {n}", label) for label, count in (("a", 90), ("b", 10), ("c", 12)) for n in range(count)]
    kept, _ = caps.by_label(rows, 2, least=5)
    assert sum(one.answer == "a" for one in kept) == 24
    assert len(kept) == 46
    assert caps.by_label(rows, None, least=5)[1] == []
    free = [row(f"q {n}", f"answer {n}") for n in range(50)]
    assert caps.by_label(free, 1, least=5)[1] == []


def test_the_newest_slice_may_be_the_test() -> None:
    """By time the newest rows are examined, and no conversation is on both sides."""
    rows = [row(f"text number {n * 7919}", f"a{n}", conversation=f"c{n // 3}", group=f"u{n % 12}") for n in range(100)]
    made = curate_rows(rows, [], max_fresh=99, max_replay=0, holdout_rows=10, options=Curation(split_by="time"))
    assert {one.id for one in made.fresh} == {one.id for one in rows[:10]}
    assert {one.conversation for one in made.train}.isdisjoint({one.conversation for one in made.fresh})
    assert len(made.train) == 88


def test_validation_is_set_aside_only_where_there_is_plenty() -> None:
    """With few rows all are learnt; with many, a tenth of the groups goes to validation and to no other set."""
    rows = [row(f"text number {n * 7919} of {n * 104729 % 3571}", f"a{n % 7}", group=f"u{n % 300}") for n in range(900)]
    plain = Curation(label_errors="off", outliers="off")
    few = curate_rows(rows[:300], [], max_fresh=900, max_replay=0, holdout_rows=30, options=plain)
    assert few.validation == []
    many = curate_rows(rows, [], max_fresh=900, max_replay=0, holdout_rows=30, options=plain)
    assert 40 <= len(many.validation) <= 140
    groups = [{one.group for one in rows} for rows in (many.train, many.validation, many.fresh)]
    assert not groups[0] & groups[1]
    assert not groups[1] & groups[2]
    assert not groups[0] & groups[2]


def test_a_growing_holdout_reaches_validation_last() -> None:
    """Test and validation grow from the two ends of one hash."""
    rows = [row(f"t{n}") for n in range(500)]
    for share in (0.1, 0.3, 0.5):
        held = {one.id for one in split.split(rows, share)[1]}
        assert held.isdisjoint({one.id for one in split.far(rows, 0.4)[1]})


def test_machines_words_are_never_examined() -> None:
    """A judge's, a teacher's or a file's rows that fall to the test side are neither examined nor learnt."""
    rows = [row(f"text number {n * 7919}", source=("judge", "labeller")[n % 2]) for n in range(200)]
    made = curate_rows(rows, [], max_fresh=200, max_replay=0, holdout_rows=50)
    assert made.fresh
    assert {one.source for one in made.fresh} == {"labeller"}
    held = {one.id for one in split.split(rows, 0.25)[1]}
    assert held.isdisjoint({one.id for one in made.train})


def test_nothing_is_learnt_from_another_holdout() -> None:
    """A question of any holdout is left out of training, whatever its answer there."""
    rows = [row(f"text number {n * 7919}") for n in range(60)]
    fixed = [replace(rows[0], answer="another"), row("Text number 7919.", "a")]
    made = curate_rows(rows, [], max_fresh=99, max_replay=0, holdout_rows=5, fixed=fixed)
    assert {rows[0].id, rows[1].id}.isdisjoint({one.id for one in made.train})


def test_private_rows_may_be_dropped_or_let_be() -> None:
    """`pii: drop` takes the row out, `off` leaves it as it came, and says nothing of it."""
    rows = [row(f"text number {n * 7919}") for n in range(30)] + [row("mail me at margit@posteo.at please")]
    kinds = {
        mode: curate_rows(rows, [], max_fresh=99, max_replay=0, holdout_rows=1, options=Curation(pii=mode))
        for mode in ("mask", "drop", "off")
    }
    texts = {mode: " ".join(one.prompt for one in [*made.train, *made.fresh]) for mode, made in kinds.items()}
    assert "[EMAIL]" in texts["mask"]
    assert "mail me" not in texts["drop"]
    assert "margit@" in texts["off"]
    assert "margit@" not in str(kinds["mask"].report)

"""What an alarm says to a person.

Lives here: one table of phrases, `sentence` and `kind_of`. Comes in: leading features and their means.
Goes out: one sentence, and what moved: input, output or relation. Must never know: texts, or how evidence is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

PHRASES: dict[str, tuple[str, str, str]] = {
    "length": ("are longer", "are shorter", "log of characters"),
    "words": ("have more words", "have fewer words", "log of words"),
    "word_length": ("use longer words", "use shorter words", "characters per word"),
    "upper": ("use more capitals", "use fewer capitals", "share of capitals"),
    "digits": ("hold more digits", "hold fewer digits", "share of digits"),
    "non_ascii": ("hold more letters outside ASCII", "hold fewer letters outside ASCII", "share of non-ASCII"),
    "punctuation": ("hold more punctuation", "hold less punctuation", "share of punctuation"),
    "newlines": ("have more lines", "have fewer lines", "log of newlines"),
    "distinct_words": ("repeat words less", "repeat words more", "distinct words per word"),
    "compression": ("are more varied", "are more repetitive", "compressed size per byte"),
    "repeats": ("loop more", "loop less", "share of repeated four-word runs"),
    "common_words": ("use more everyday English words", "use fewer everyday English words", "share of common words"),
    "refusal": ("refuse or apologise more often", "refuse or apologise less often", "share with refusal words"),
    "closed": ("end more often with a full stop", "end more often without a full stop", "share that is closed"),
    "question": ("ask more questions", "ask fewer questions", "share with a question mark"),
    "unseen_words": (
        "contain words never seen in the reference",
        "contain fewer new words than before",
        "share of unseen words",
    ),
    "surprise_words": ("use words that are rare in the reference", "use more of the usual words", "nats per word"),
    "unseen_pairs": (
        "combine words in ways never seen in the reference",
        "combine words in more usual ways",
        "share of unseen word pairs",
    ),
    "surprise_pairs": (
        "combine words in ways that are rare in the reference",
        "combine words in more usual ways",
        "nats per word pair",
    ),
    "unseen_triples": (
        "are spelt in ways never seen in the reference",
        "are spelt in more usual ways",
        "share of unseen character triples",
    ),
    "surprise_triples": (
        "are spelt in ways that are rare in the reference",
        "are spelt in more usual ways",
        "nats per character triple",
    ),
    "shared_words": ("take up more words of their prompts", "take up fewer words of their prompts", "weighted share"),
    "shared_characters": ("follow their prompts' wording more", "follow their prompts' wording less", "shared triples"),
    "length_ratio": ("are longer for their prompts", "are shorter for their prompts", "log of the length ratio"),
}
"""What each score means when it rises, when it falls, and what its number is."""

_SUBJECT = {"prompt": "prompts", "answer": "answers", "relation": "answers"}
_KINDS = {"prompt": "input", "answer": "output", "relation": "relation"}
_CARRIES = 0.6


def kind_of(leaders: Sequence[tuple[str, float, float]]) -> str:
    """What moved. A changed input changes answers too, so the input is named first where it carries the evidence."""
    best = dict.fromkeys(_SUBJECT, 0.0)
    for name, evidence, _ in leaders:
        side = name.partition(".")[0]
        best[side] = max(best[side], evidence)
    top = max(best.values())
    if best["prompt"] >= _CARRIES * top:
        return "input"
    return "output" if best["answer"] >= _CARRIES * top else "relation"


def sentence(
    leaders: Sequence[tuple[str, float, float]],
    kind: str,
    usual: Mapping[str, float],
    lately: Mapping[str, float],
    *,
    onset_row: int,
    onset_at: datetime | None,
) -> str:
    """One sentence: since when, what moved by how much; `usual` and `lately` are means by feature.

    Of the features that lead, those on the side that `kind` names are told first.
    """
    when = f" ({onset_at:%Y-%m-%d %H:%M:%S} UTC)" if onset_at else ""
    carrying = [leader for leader in leaders if leader[1] >= _CARRIES * leaders[0][1]]
    said: dict[str, str] = {}
    for name, _, shift in sorted(carrying, key=lambda leader: _telling(leader[0], kind)):
        side, _, what = name.partition(".")
        up, down, measure = PHRASES[what]
        phrase = f"{_SUBJECT[side]} {up if shift >= 0 else down}"
        about = f"{side} {what.removeprefix('unseen_').removeprefix('surprise_')}"
        said.setdefault(about, f"{phrase} ({measure} {usual[name]:.2f} -> {lately[name]:.2f})")
    return f"since about exchange {onset_row}{when}, {' and '.join(list(said.values())[:2])}; examples follow"


def _telling(name: str, kind: str) -> tuple[bool, bool]:
    """Sorts first what is on the side that moved, and last what a person cannot picture: character triples."""
    side, _, what = name.partition(".")
    return _KINDS[side] != kind, what.endswith("triples")

"""What an alarm says to a person.

Lives here: one table of phrases, `sentence` and `kind_of`. Comes in: leading features and their means.
Goes out: a sentence or two, and what moved. Must never know: texts, or how evidence is made.
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
    "novelty": (
        "hold more that is new to the reference",
        "hold less that is new",
        "unseen words, pairs and triples, in standard deviations",
    ),
    "excess": (
        "hold more words that are new to the reference",
        "hold fewer words that are new",
        "unseen words beyond the usual share, per root of words",
    ),
    "cut": (
        "break off early more often",
        "break off early less often",
        "shortness and want of a full stop, in standard deviations",
    ),
    "shared_words": ("take up more words of their prompts", "take up fewer words of their prompts", "weighted share"),
    "shared_characters": ("follow their prompts' wording more", "follow their prompts' wording less", "shared triples"),
    "total": ("take longer", "come faster", "log of seconds"),
    "first_token": ("begin later", "begin sooner", "log of seconds to the first token"),
    "rarity": ("come from templates that are rare or new", "come from fewer templates", "nats per template"),
    "topic": ("are about other things", "are about other things", "standard deviations of the learned topic score"),
    "length_ratio": ("are longer for their prompts", "are shorter for their prompts", "log of the length ratio"),
}
"""What each score means when it rises, when it falls, and what its number is."""

_SUBJECT = {
    "prompt": "prompts",
    "answer": "answers",
    "relation": "answers",
    "latency": "answers",
    "template": "prompts",
    "words": "exchanges",
}
_KINDS = {
    "prompt": "input",
    "answer": "output",
    "relation": "relation",
    "latency": "latency",
    "template": "template",
    "words": "input",
}
FIRST = {
    "input": "users ask for other things: look at the examples, and retrain on them if they are here to stay",
    "output": "the same kind of prompts is answered otherwise: compare with the version before, and roll back if a new"
    " version or engine setting came with it",
    "relation": "answers fit their prompts otherwise than they did: check that nothing between users and model mixes,"
    " cuts or repeats them, then roll back",
    "template": "fix the prompt template or take it back; retrain only if it is meant to stay",
    "upstream": "nearly every prompt moved alike, so a client or a template before the model changed: fix it there",
    "latency": "texts are what they were: look at the engine's load and machine; retraining would not help",
}
"""What to do first, by what moved. `upstream` is an input that moved all at once."""
_CARRIES = 0.6
_SURELY, _HALF = 4.5, 0.5
"""Standard errors: the onset was chosen where it looks most like a change, and the largest of two dozen is asked."""


def kind_of(
    leaders: Sequence[tuple[str, float, float]], base: float, prompts_moved: float, words_in_prompts: float
) -> str:
    """What moved, from the features that lead, `(feature, log10 evidence, shift)`.

    `base` is what evidence reaches by chance; `prompts_moved` says how surely the prompts stand elsewhere, in standard
    errors; `words_in_prompts` how much of what was learned lies in them. A changed input changes answers too, so the
    input is named where it moved at all.
    """
    best = dict.fromkeys(_SUBJECT, 0.0)
    for name, evidence, _ in leaders:
        side = name.partition(".")[0]
        best[side] = max(best[side], evidence - base)
    top = max(best.values())
    for side in ("template", "prompt", "words", "answer", "relation"):
        if side == "prompt" and prompts_moved >= _SURELY and top > best["latency"]:
            return "input"
        if best[side] >= _CARRIES * top and best[side] > 0:
            in_answers = side == "words" and words_in_prompts < _HALF
            return "output" if in_answers else _KINDS[side]
    return "latency" if best["latency"] > 0 else "input"


def sentence(
    leaders: Sequence[tuple[str, float, float]],
    kind: str,
    usual: Mapping[str, float],
    lately: Mapping[str, float],
    *,
    onset_row: int,
    onset_at: datetime | None,
    upstream: bool = False,
    empty: float = 0.0,
) -> str:
    """One sentence: since when, what moved by how much; `usual` and `lately` are means by feature.

    `empty` is the share of empty answers, where that is new. Of the features that lead, those on the side that `kind`
    names are told first.
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
    news = [f"{empty:.0%} of the answers are empty"] if empty else []
    told = " and ".join([*news, *said.values()][:2])
    first = FIRST["upstream" if upstream and kind == "input" else kind]
    return f"since about exchange {onset_row}{when}, {told}. First: {first}"


def _telling(name: str, kind: str) -> tuple[bool, bool]:
    """Sorts first what is on the side that moved, and last what a person cannot picture: character triples."""
    side, _, what = name.partition(".")
    return _KINDS[side] != kind, what.endswith("triples")

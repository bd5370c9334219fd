"""The table of features: what every number and label is called and what it says (data).

Lives here: `FEATURES`, the one list of what is profiled.
Comes in: nothing. Goes out: names, kinds and words, in the order in which `features.py` measures them.
Must never know: how a feature is measured, profiles, what counts as drift.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from agent.profile.sketch import AXES


class Kind(enum.StrEnum):
    """How a feature is profiled."""

    COUNT = "count"
    """A whole number that is always there."""
    NUMBER = "number"
    """A real number that may be absent."""
    FLAG = "flag"
    """0 or 1, always there."""
    LABEL = "label"
    """One of a few short strings, always there."""
    AXIS = "axis"
    """One axis of a text's sketch: read together with its neighbours, never alone."""


class Side(enum.StrEnum):
    """What it tells of when a feature moves."""

    INPUT = "input"
    OUTPUT = "output"
    RELATION = "relation"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True)
class Feature:
    """One row of the table. `texts`: it can be taken from a prompt and an answer alone, as a training set has them."""

    name: str
    kind: Kind
    side: Side
    says: str
    texts: bool = False


_SHAPE: tuple[tuple[str, Kind, str], ...] = (
    ("chars", Kind.COUNT, "characters"),
    ("words", Kind.COUNT, "words, split by white space"),
    ("upper_share", Kind.NUMBER, "capitals of all characters"),
    ("digit_share", Kind.NUMBER, "digits of all characters"),
    ("non_letter_share", Kind.NUMBER, "characters that are no letters"),
    ("non_ascii_share", Kind.NUMBER, "characters beyond ASCII"),
    ("compression_ratio", Kind.NUMBER, "zlib size over size; low when it repeats itself"),
    ("type_token_ratio", Kind.NUMBER, "distinct words over words"),
)
_TOPIC = tuple((f"topic_{n:02}", Kind.AXIS, f"axis {n} of the hashed 4-grams") for n in range(AXES))
_PROMPT, _ANSWER = (
    tuple(Feature(f"{which}_{name}", kind, side, says, texts=True) for name, kind, says in (*_SHAPE, *_TOPIC))
    for which, side in (("prompt", Side.INPUT), ("answer", Side.OUTPUT))
)

TEXT_NUMBERS: tuple[Feature, ...] = (
    *_PROMPT,
    *_ANSWER,
    Feature(
        "answer_repeated_4gram_share",
        Kind.NUMBER,
        Side.OUTPUT,
        "runs of four words that stood there before",
        texts=True,
    ),
    Feature("answer_refusal", Kind.FLAG, Side.OUTPUT, "opens with a phrase of refusal", texts=True),
    Feature("answer_apology", Kind.FLAG, Side.OUTPUT, "opens with an apology", texts=True),
    Feature("answer_ends_with_punctuation", Kind.FLAG, Side.OUTPUT, "the last character closes", texts=True),
    Feature(
        "answer_prompt_overlap_share", Kind.NUMBER, Side.RELATION, "answer's words that the prompt has", texts=True
    ),
    Feature("answer_prompt_cosine", Kind.NUMBER, Side.RELATION, "cosine of the two texts' 4-grams", texts=True),
)
"""From the two texts."""

OTHER_NUMBERS: tuple[Feature, ...] = (
    Feature("messages", Kind.COUNT, Side.INPUT, "messages in the request"),
    Feature("tools_offered", Kind.COUNT, Side.INPUT, "tools that the request offers"),
    Feature("answers", Kind.COUNT, Side.OUTPUT, "choices in the response"),
    Feature("reasoning_chars", Kind.COUNT, Side.OUTPUT, "characters of reasoning"),
    Feature("tool_calls", Kind.COUNT, Side.OUTPUT, "tools that the model called"),
    Feature("tool_arguments_valid_share", Kind.NUMBER, Side.OUTPUT, "calls whose arguments are valid JSON"),
    Feature("prompt_tokens", Kind.NUMBER, Side.INPUT, "tokens, as the engine counted"),
    Feature("answer_tokens", Kind.NUMBER, Side.OUTPUT, "tokens, as the engine counted"),
    Feature("answer_logprob_mean", Kind.NUMBER, Side.OUTPUT, "log-probability a token, when the client asked"),
    Feature("ttft_s", Kind.NUMBER, Side.LATENCY, "seconds to the first token"),
    Feature("gap_p50_s", Kind.NUMBER, Side.LATENCY, "median seconds between pieces of a stream"),
    Feature("gap_max_s", Kind.NUMBER, Side.LATENCY, "longest seconds between pieces of a stream"),
    Feature("total_s", Kind.NUMBER, Side.LATENCY, "seconds to the last byte"),
    Feature("answer_tokens_per_s", Kind.NUMBER, Side.LATENCY, "tokens a second after the first"),
)
"""From the rest of the exchange."""

LABELS: tuple[Feature, ...] = (
    Feature("prompt_language", Kind.LABEL, Side.INPUT, "ISO 639-1 code, unknown or off", texts=True),
    Feature("answer_language", Kind.LABEL, Side.OUTPUT, "ISO 639-1 code, unknown or off", texts=True),
    Feature("answer_json", Kind.LABEL, Side.OUTPUT, "text, valid or broken JSON", texts=True),
    Feature(
        "template",
        Kind.LABEL,
        Side.INPUT,
        "the template: as the client named it, else a fingerprint of the system prompt, or none",
    ),
    Feature("tool_called", Kind.LABEL, Side.OUTPUT, "the first tool that was called, or none"),
    Feature("finish_reason", Kind.LABEL, Side.OUTPUT, "why the answer ended"),
    Feature("outcome", Kind.LABEL, Side.OUTPUT, "how the exchange ended"),
)

FEATURES: tuple[Feature, ...] = (*TEXT_NUMBERS, *OTHER_NUMBERS, *LABELS)

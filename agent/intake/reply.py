"""What the four API shapes have in common (pure).

Lives here: a collector that answers of any shape are read into, and safe looks into JSON of unknown shape.
Comes in: decoded JSON. Goes out: `Reply` with text, reasoning, finish reason, usage.
Must never know: captures, times, which API it serves. Nothing here raises on odd JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.types import ToolCall

_MAX_COUNT = 2**53
_NO_LOGPROB = -9999.0
"""What vLLM writes for minus infinity, which JSON does not know."""
_DECODE = json.JSONDecoder().decode
_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})")


def decoded(raw: bytes, what: str, *, strict: bool) -> Mapping[str, Any]:
    """The JSON object in bytes; when it is none, ValueError if strict, else an empty object."""
    try:
        # `{"` is UTF-8: what json.loads would find out for itself, at the price of reading a small object
        found = _DECODE(raw.decode("utf-8", "surrogatepass")) if raw.startswith(b'{"') else json.loads(raw)
    except (ValueError, RecursionError) as why:
        if strict:
            raise ValueError(f"{what} is not JSON: {why}") from why
        return {}
    if isinstance(found, dict):
        return found
    if strict:
        raise ValueError(f"{what} is not a JSON object")
    return {}


def mapping(value: Any) -> Mapping[str, Any]:
    """The value when it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """The value when it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: Any) -> str:
    """The value when it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def count(value: Any) -> int | None:
    """The value when it is a sensible count, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_COUNT else None


def position(value: Any, default: int = 0) -> int:
    """The value when it is a sensible index, else the default."""
    n = count(value)
    return default if n is None else n


def content(value: Any) -> str:
    """Text of a message's content: a string, or the text parts of a list, one a line."""
    if isinstance(value, str):
        return value
    parts = []
    for part in items(value):
        if isinstance(part, str):
            parts.append(part)
        elif isinstance(part, dict):
            parts.append(text(part.get("text")) or text(part.get("refusal")) or content(part.get("content")))
    return "\n".join(part for part in parts if part)


def arguments_of(given: Any) -> str:
    """Arguments of a tool call as JSON text with its escapes resolved, for redaction to see; broken JSON as it is."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), given)
    return "" if given is None else json.dumps(given, ensure_ascii=False, separators=(",", ":"))


def call(name: Any, arguments: Any) -> str:
    """A tool call as text, `name({"key":"value"})`."""
    return f"{text(name)}({arguments_of(arguments)})"


def calls(tool_calls: Any) -> list[str]:
    """OpenAI's `tool_calls` of a whole message as text."""
    functions = [mapping(mapping(item).get("function")) for item in items(tool_calls)]
    return [call(f.get("name"), f.get("arguments")) for f in functions]


@dataclass(slots=True)
class Choice:
    """One of n answers, growing."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    tools: dict[int, list[str]] = field(default_factory=dict)
    """Tool calls by index: name, then pieces of the arguments."""
    finish_reason: str | None = None

    def tool(self, index: int, name: Any, arguments: Any) -> bool:
        """Take a piece of a tool call; True when there was any."""
        known = self.tools.setdefault(index, [""])
        if isinstance(name, str) and not known[0]:
            known[0] = name
        if isinstance(arguments, str):
            known.append(arguments)
        return bool(name or arguments)

    def called(self) -> list[ToolCall]:
        """Tool calls in their order."""
        if not self.tools:
            return []
        known = (self.tools[index] for index in sorted(self.tools))
        return [ToolCall(name=name, arguments=arguments_of("".join(rest) or None)) for name, *rest in known]

    def whole(self) -> str:
        """Text, then tool calls, one a line."""
        said = "".join(self.text)
        if not self.tools:
            return said
        called = [f"{tool.name}({tool.arguments})" for tool in self.called()]
        return "\n".join(part for part in (said, *called) if part)


@dataclass(slots=True)
class Reply:
    """An answer as far as it has been read."""

    id: str | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    failed: bool = False
    choices: dict[int, Choice] = field(default_factory=dict)
    logprobs: list[float] = field(default_factory=list)
    vectors: int = 0

    def choice(self, index: Any) -> Choice:
        """The choice with this index, made when it is new."""
        return self.choices.setdefault(position(index), Choice())

    def name(self, body: Mapping[str, Any]) -> None:
        """Take id and model where the body has them; the first id stays."""
        self.id = self.id or text(body.get("id")) or None
        self.model = text(body.get("model")) or self.model

    def spend(self, usage: Any, prompt: str, answer: str) -> None:
        """Take token counts, named `prompt` and `answer` in this API; later ones win."""
        used = mapping(usage)
        for name, key in (("prompt_tokens", prompt), ("answer_tokens", answer)):
            n = count(used.get(key))
            if n is not None:
                setattr(self, name, n)

    def weigh(self, logprobs: Any) -> None:
        """Take log-probabilities: plain numbers, or objects with a `logprob`."""
        for item in items(logprobs):
            value = item.get("logprob") if isinstance(item, dict) else item
            if isinstance(value, int | float) and not isinstance(value, bool) and _NO_LOGPROB < value <= 0:
                self.logprobs.append(float(value))

    @property
    def logprob_mean(self) -> float | None:
        """Mean log-probability of a token of the answer, None when the client asked for none."""
        return sum(self.logprobs) / len(self.logprobs) if self.logprobs else None

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls of all choices."""
        return tuple(
            call for index in sorted(self.choices) if self.choices[index].tools for call in self.choices[index].called()
        )

    @property
    def answers(self) -> int:
        """Choices, or vectors; at least 1, because something was asked."""
        return max(len(self.choices), self.vectors, 1)

    @property
    def answer(self) -> str:
        """All choices in order, a blank line between them."""
        if len(self.choices) == 1:
            (only,) = self.choices.values()
            return only.whole()
        return "\n\n".join(self.choices[i].whole() for i in sorted(self.choices))

    @property
    def reasoning(self) -> str:
        """The reasoning of all choices that have any."""
        thoughts = ["".join(self.choices[i].reasoning) for i in sorted(self.choices) if self.choices[i].reasoning]
        return "\n\n".join(thought for thought in thoughts if thought)

    @property
    def finish_reason(self) -> str | None:
        """The first choice's."""
        return self.choices[min(self.choices)].finish_reason if self.choices else None

"""One row to learn from or to be examined on, and its JSON line.

In: dictionaries of JSON lines. Out: frozen rows, InvalidInput for a line that is none.
Must never know: where rows come from or what becomes of them.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import InvalidInput

SOURCES = ("human", "feedback", "replay", "external", "labeller", "weak", "judge", "teacher")
"""Where an answer comes from, the most trusted first: a person's correction, an answer that a person called right, the
original training set, a file of the owner's, a program, labelling functions, an approving judge, a larger model."""
WEAK = ("labeller", "weak", "judge", "teacher")
UNEXAMINED = ("external", "weak", "judge", "teacher")
"""Learnt from at most: an examination on them would test agreement with a machine, or another task than traffic."""
LABELS = ("intent", "template", "label", "language")
"""Keys of a row that name what kind it is; the gate looks at each kind of the old holdout by itself."""
MATCHES = ("exact", "contains", "refusal")
"""When an answer is right: it is the label; it holds the label; it declines, as it should."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One chat with the answer it should get.

    `group` is who or what the row must not be separated from when data is split (a hash of the user, a
    conversation, or the text itself). `source` is one of SOURCES; those of WEAK are weak labels. `weight` in (0, 1] is
    how sure the source is: a judge's score, a label model's probability, 1 for all others.
    `labels` holds those of LABELS that the row carries; `match`, one of MATCHES, says when an answer is right.
    """

    id: str
    messages: tuple[tuple[str, str], ...]
    answer: str
    source: str
    group: str
    user: str | None = None
    conversation: str | None = None
    weight: float = 1.0
    labels: tuple[tuple[str, str], ...] = ()
    match: str = "exact"

    @property
    def weak(self) -> bool:
        """True when no person and no curated set stands behind the answer."""
        return self.source in WEAK

    @property
    def trust(self) -> int:
        """The higher the more trusted, when two rows contradict each other."""
        return len(SOURCES) - SOURCES.index(self.source)

    @property
    def chat(self) -> list[dict[str, str]]:
        """The messages as an OpenAI request has them."""
        return [{"role": role, "content": text} for role, text in self.messages]

    @property
    def prompt(self) -> str:
        """The text of the last user message."""
        return next((text for role, text in reversed(self.messages) if role == "user"), "")

    @property
    def frame(self) -> str:
        """The system messages: rows under another system message are another task."""
        return "\n".join(text for role, text in self.messages if role == "system")

    @property
    def text(self) -> str:
        """All that is not system message, normalised: what duplicates are found by."""
        return normal("\n".join(text for role, text in self.messages if role != "system"))

    @property
    def key(self) -> tuple[str, str]:
        """Two rows with the same key ask the same thing."""
        return self.frame, self.text

    def to_json(self) -> dict[str, Any]:
        """The row as a JSON object; `from_json` reads it back."""
        return {
            "id": self.id,
            "messages": self.chat,
            "answer": self.answer,
            "source": self.source,
            "weak": self.weak,
            "group": self.group,
            "user": self.user,
            **({} if self.conversation is None else {"conversation": self.conversation}),
            **({} if self.weight == 1.0 else {"weight": self.weight}),
            **dict(self.labels),
            **({} if self.match == "exact" else {"match": self.match}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, id: str = "", source: str = "replay") -> Row:  # noqa: A002
        """A row from {"messages" or "prompt", "answer"}; other keys are let be. Raises InvalidInput.

        Without "answer", what other tools write is taken for it: "completion", else the assistant's last message.
        """
        own = value.get("id")
        name = id if own is None or own == "" else str(own)
        where = f"row {name}"
        messages, answer = _parted(_messages(value, where), value)
        if not isinstance(answer, str) or not answer.strip():
            raise InvalidInput(
                f'{where} has no "answer": write the text that should be answered (or "completion", or an assistant\'s '
                "message at the end)"
            )
        if not messages:
            raise InvalidInput(f"{where} has an answer and nothing that is asked: write a user's message before it")
        if any(_half(text) for text in (answer, *(text for _, text in messages))):
            raise InvalidInput(f"{where} holds half a character (U+D800 to U+DFFF): it was cut in the middle, mend it")
        user, talk = value.get("user"), value.get("conversation")
        row = cls(
            id=name,
            messages=messages,
            answer=answer.strip(),
            source=str(value.get("source") or source),
            group=str(value.get("group") or user or (messages[-1][1] if talk is None else f"conversation:{talk}")),
            user=None if user is None else str(user),
            conversation=None if talk is None else str(talk),
            weight=_weight(value.get("weight"), where),
            labels=tuple((key, str(value[key])) for key in LABELS if isinstance(value.get(key), str | int)),
            match=str(value.get("match") or "exact"),
        )
        if row.source not in SOURCES:
            raise InvalidInput(f"{where}: source {row.source!r} is none of {', '.join(SOURCES)}")
        if row.match not in MATCHES:
            raise InvalidInput(f"{where}: match {row.match!r} is none of {', '.join(MATCHES)}")
        return row


def normal(text: str) -> str:
    """Lower case, one space between words, no punctuation at the ends: spelling that carries no meaning."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.strip(" .!?,;:")


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write JSON lines; the file appears whole or not at all."""
    draft = path.with_suffix(path.suffix + ".tmp")
    with draft.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row.to_json(), ensure_ascii=False) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)


def read_rows(path: Path, *, prefix: str = "") -> list[Row]:
    """Read JSON lines of rows. Raises InvalidInput that names the file and the line."""
    return [row for row, _ in read_marked(path, prefix=prefix)]


def read_marked(path: Path, *, prefix: str = "", source: str = "replay") -> list[tuple[Row, str | None]]:
    """Rows with the value of their "split" key, which only replay files have."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"rows file {path} cannot be read: give a UTF-8 file of JSON lines") from error
    found: list[tuple[Row, str | None]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            if not isinstance(value, dict):
                raise InvalidInput("it is not a JSON object")  # noqa: TRY301
            row = Row.from_json(value, id=f"{prefix}{number}", source=source)
        except (ValueError, InvalidInput, RecursionError) as error:
            raise InvalidInput(f"{path} line {number}: {error}") from error
        split = value.get("split")
        found.append((row, None if split is None else str(split)))
    return found


def _weight(value: Any, where: str) -> float:
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise InvalidInput(f"{where}: weight {value!r} must be a number in (0, 1]")
    return float(value)


def _messages(value: Mapping[str, Any], where: str) -> tuple[tuple[str, str], ...]:
    messages, prompt = value.get("messages"), value.get("prompt")
    if messages is None and isinstance(prompt, str):
        return (("user", prompt),)
    try:
        pairs = tuple((str(m["role"]), _content(m["content"])) for m in messages or ())
    except (TypeError, KeyError) as error:
        raise InvalidInput(
            f'{where}: "messages" must list {{"role", "content"}} objects, with a text as each content'
        ) from error
    if not pairs:
        raise InvalidInput(f'{where} has neither "messages" nor "prompt": write the text that is asked')
    return pairs


def _content(value: Any) -> str:
    """A message's text: a string, or OpenAI's list of text parts. Raises TypeError for all else, such as an image."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value or any(part["type"] != "text" for part in value):
        raise TypeError(value)
    return "\n".join(_content(part["text"]) for part in value)


def _parted(messages: tuple[tuple[str, str], ...], value: Mapping[str, Any]) -> tuple[tuple[tuple[str, str], ...], Any]:
    """(what is asked, the answer, whatever it is), by whichever key has it."""
    if "answer" in value or "completion" in value:
        return messages, value.get("answer", value.get("completion"))
    if "messages" in value and messages[-1][0] == "assistant":
        return messages[:-1], messages[-1][1]
    return messages, None


def _half(text: str) -> bool:
    """Whether a code unit of UTF-16 stands alone, which no file of UTF-8 can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False

"""What has happened, as lines that the policy can be run over again (pure).

Lives here: the kinds of lines, and their form as JSON lines.
Comes in: lines of text, or records. Goes out: the other, in the order of time.
Must never know: the store, how a line is weighed (`simulate.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from agent.types import Action, InvalidInput


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    at: AwareDatetime


class Champion(_Line):
    """A version became the champion; `promoted` when it took over from `parent`, not at the start or by a rollback."""

    kind: Literal["champion"] = "champion"
    version: str
    parent: str | None = None
    promoted: bool = False


class AlarmRaised(_Line):
    """The detector raised an alarm on a version, on what came after exchange `onset`."""

    kind: Literal["alarm"] = "alarm"
    version: str
    onset: int
    onset_at: AwareDatetime
    alarm_kind: str
    reason: str = ""


class Settled(_Line):
    """A person found the traffic of a version normal as it is: its alarms until then lead to nothing any more."""

    kind: Literal["settled"] = "settled"
    version: str


class Answered(_Line):
    """A version answered `n` exchanges well, the last of them number `upto`."""

    kind: Literal["exchanges"] = "exchanges"
    version: str
    n: int = Field(ge=1)
    upto: int


class Estimated(_Line):
    """Quality was measured over exchanges from `since` on, the newest of them number `upto`."""

    kind: Literal["estimate"] = "estimate"
    version: str
    upto: int
    value: float
    low: float
    high: float
    level: float
    n_truth: int
    n_judged: int
    since: AwareDatetime
    until: AwareDatetime
    method: str


class Moving(_Line):
    """The rollout came into a phase."""

    kind: Literal["phase"] = "phase"
    phase: str


class Wished(_Line):
    """What alerts asked for from here on: (action, words) each."""

    kind: Literal["wishes"] = "wishes"
    asked: tuple[tuple[Action, str], ...]


class Froze(_Line):
    """A person froze the automation (`words` says who and why), or let it go on (None)."""

    kind: Literal["freeze"] = "freeze"
    words: str | None


class JudgeCost(_Line):
    """The judge cost tokens."""

    kind: Literal["judge"] = "judge"
    tokens: int = Field(ge=0)


class Ordered(_Line):
    """An order was opened."""

    kind: Literal["order"] = "order"
    id: str
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    outcome: str | None = None


class Decided(_Line):
    """What was decided."""

    kind: Literal["decision"] = "decision"
    action: Action
    reason: str


Line = Champion | AlarmRaised | Settled | Answered | Estimated | Moving | Wished | Froze | JudgeCost | Ordered | Decided
KINDS: tuple[type[_Line], ...] = (
    Champion, AlarmRaised, Settled, Answered, Estimated, Moving, Wished, Froze, JudgeCost, Ordered, Decided
)  # fmt: skip
_PLACE = {kind.model_fields["kind"].default: place for place, kind in enumerate(KINDS)}
_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])


def ordered(lines: Iterable[Line]) -> list[Line]:
    """By time; at one moment in the order of `KINDS`, and else as they came."""
    return sorted(lines, key=lambda line: (line.at, _PLACE[line.kind]))


def written(lines: Iterable[Line]) -> Iterator[str]:
    """One JSON object a line."""
    for line in lines:
        yield line.model_dump_json()


def read(lines: Iterable[str], name: str) -> list[Line]:
    """Back from `written`, in the order of time. Raises InvalidInput that names file, line and place."""
    found: list[Line] = []
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            found.append(_LINE.validate_json(text))
        except ValidationError as error:
            raise InvalidInput(f"line {number} of {name}: {_fault(error.errors(include_url=False)[0])}") from error
    if not found:
        raise InvalidInput(f"{name} holds no line: write one with `trimtab policy history`")
    return ordered(found)


def _fault(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    known = ", ".join(_PLACE)
    if fault["type"] == "json_invalid":
        return "it is no JSON object"
    if fault["type"].startswith("union_tag"):
        return f"kind must be one of {known}"
    return f"{where}: {fault['msg'][0].lower()}{fault['msg'][1:]}"

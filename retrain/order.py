"""A retraining order: what to train, from which data, and what it must prove.

In: a YAML or JSON file. Out: a frozen, fully checked `Order`, or InvalidInput in one sentence.
Must never know: the store, the engine, torch. Paths are relative to the folder where the job is started.

An order without an engine is a *bootstrap* order: it makes a first version from the replay rows alone and
publishes it without a contest, because there is nobody to contest with.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from agent.document import first_fault, read_yaml
from retrain.curate.options import Curation, Teacher
from retrain.recipe import Recipe
from serving.errors import InvalidInput


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", value):
        msg = (
            f"{value!r} cannot be a folder and a model name: begin with a letter or a digit, go on with letters, "
            "digits, dots, dashes and underscores, 128 at most"
        )
        raise ValueError(msg)
    return value


Name = Annotated[str, AfterValidator(_name)]
"""A name that is also a folder and a model name: letters, digits, dot, dash and underscore."""


def _recipe(value: Any) -> Any:
    """Read a recipe where pydantic looks for one; its own sentences become pydantic's."""
    if not isinstance(value, dict):
        return value
    try:
        return Recipe.from_json(value)
    except InvalidInput as error:
        raise ValueError(str(error).removeprefix("recipe: ")) from error


def _labeller(value: str) -> str:
    if not re.fullmatch(r".+\.py:[A-Za-z_]\w*", value):
        msg = f"{value!r} is not file.py:function: name a Python file and the function in it that labels a text"
        raise ValueError(msg)
    return value


GENERAL_CANARY = Path(__file__).with_name("evaluate") / "canary.jsonl"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Champion(_Part):
    """The version that answers now."""

    name: Name
    """Its served name in the engine."""
    path: Path
    """Its adapter folder, for starting from its weights."""
    digest: str | None = None
    """What its folder must verify to; None leaves that unchecked."""


class EnginePart(_Part):
    """The vLLM server that answers the holdout."""

    url: str = Field(pattern=r"^https?://")
    base_model: str = "base"
    """Served name of the bare model."""
    max_lora_rank: int = Field(default=16, ge=1)
    """What it was started with (`--max-lora-rank`): a recipe of a higher rank is refused before the first step."""


class BaseModelPart(_Part):
    """The base model's weights."""

    path: Path
    digest: str | None = None
    """What the folder must have; None leaves that unchecked."""
    use: Literal["commercial", "research"] | None = None
    """What the adapter is for: the base's licence is held against it. None leaves the licence unchecked."""
    licence: str | None = None
    """The licence, where the folder does not name it (`apache-2.0`); otherwise its card is read."""


class ObjectsPart(_Part):
    """Where adapters go beside `home`, so that other machines get them: `agent/store/README.md`. Holds no secrets."""

    url: str
    """`s3://bucket/prefix` or `file:///folder`."""
    endpoint: str | None = Field(default=None, pattern=r"^https?://")
    """Address of an S3 server that is not Amazon's."""
    region: str | None = None


class TrackPart(_Part):
    """Where losses are also told to. Off unless an order asks; a tracker that is down is a warning."""

    kind: Literal["mlflow", "wandb"]
    uri: str | None = None
    """mlflow: `sqlite:///mlflow.db` or a server's URL; wandb: a folder for its offline runs. None: in the order's."""
    project: str = "trimtab"
    """Experiment (mlflow) or project (wandb)."""


class DataPart(_Part):
    """Which rows."""

    since_rowid: int = Field(default=0, ge=0)
    """Fresh exchanges are those with since_rowid < rowid <= until_rowid."""
    until_rowid: int | None = Field(default=None, ge=0)
    """None: up to the newest when curation runs."""
    replay: Path | None = None
    """JSON lines {"messages" or "prompt", "answer"}; rows with "split": "holdout" make the old slice."""
    labeller: Annotated[str, AfterValidator(_labeller)] | None = None
    """`file.py:function`, text -> answer or None."""
    max_fresh_rows: int = Field(default=400, ge=0)
    max_replay_rows: int = Field(default=400, ge=0)
    holdout_rows: int = Field(default=120, ge=1)
    """Rows of each holdout slice, at most."""
    canary: Path | None = None
    """JSON lines like replay's, asked in the contest and never learnt: general abilities that must not be forgotten.
    A row may say `"match": "contains"` or `"match": "refusal"`. `general`: the questions that come with Trimtab."""
    external: tuple[Path, ...] = ()
    """More files of JSON lines like replay's, learnt beside traffic and never examined."""
    holdouts: tuple[Path, ...] = ()
    """Files of JSON lines that nothing may be learnt from: other benchmarks' rows, other orders' holdouts."""
    judge_approved: float | None = Field(default=None, gt=0, le=1)
    """From this score of the judge on, an answer that no person and no labeller spoke on is learnt as a weak label."""
    labelling_functions: Path | None = None
    """A Python file of Snorkel labelling functions, which label what nothing else did."""
    teacher: Teacher | None = None
    """Answers what is still without a label."""
    curation: Curation = Curation()
    """How rows are cleaned, capped and split."""

    @property
    def canary_file(self) -> Path | None:
        """Where the canary's rows lie."""
        return GENERAL_CANARY if self.canary == Path("general") else self.canary


class JudgePart(_Part):
    """The judge as it was set when the order was opened: it grades both answers, and a clear loss with it stops."""

    url: str | None = None
    model: str | None = None
    kind: Literal["likelihood", "rubric"] = "likelihood"
    template: str | None = None
    midpoint: float = -0.5
    slope: float = 5.0


class EvaluatePart(_Part):
    """What is measured beside right and wrong. It guards: a clear loss stops. Each costs requests to the engine."""

    perplexity_rows: int = Field(default=50, ge=0)
    """Rows a slice on which each model's perplexity of the right answer is taken; two short requests each; 0: none."""
    judge_rows: int = Field(default=50, ge=0)
    """Rows a slice on which the order's judge grades each answer, and compares two of them in both orders."""
    canary_tokens: int = Field(default=64, ge=1)
    """Longest answer to a canary row."""


class GatePart(_Part):
    """The bounds of the gate."""

    min_gain: float = Field(default=0.02, ge=0, le=1)
    """Least gain on the fresh slice: the estimate must reach it, the interval's lower end must pass 0."""
    max_loss: float = Field(default=0.03, ge=0, le=1)
    """Largest loss let pass on the old slice and on each of its larger parts (the interval's lower end)."""
    canary_max_loss: float = Field(default=0.05, ge=0, le=1)
    """The same for the canary."""
    guard_max_loss: float = Field(default=0.02, ge=0, le=1)
    """Largest rise in malformed, refusing or unsafe answers that is let pass."""
    max_slowdown: float = Field(default=1.5, ge=1)
    """Times the champion's latency from which on a challenger is too slow."""
    max_lengthening: float = Field(default=1.5, ge=1)
    """Times the champion's tokens an answer, on old and canary rows, from which on a challenger is too wordy."""
    max_perplexity: float = Field(default=1.5, ge=1)
    """Times the champion's perplexity of the right answer, on each slice, from which on it forgets."""
    judge_max_loss: float = Field(default=0.1, ge=0, le=1)
    """Largest fall let pass of the judge's mean grade, and of its preferences (share won minus share lost)."""
    level: float = Field(default=0.045, gt=0, lt=0.5)
    """Chance of accepting a challenger that breaks a requirement, and of rejecting one that breaks none."""
    min_rows: int = Field(default=20, ge=1)
    """Examples that each slice needs before a verdict is dared."""
    slice_rows: int = Field(default=200, ge=1)
    """Examples from which on a part of the old slice must prove itself; a smaller part is only guarded."""
    approval: Literal["none", "required"] = "none"
    """required: an accepted version waits for `trimtab approve NAME` or `trimtab reject NAME` before any rollout."""


class Order(_Part):
    """One retraining order, checked."""

    id: Name
    reason: str
    """Why it was opened, in words; goes into the manifest."""
    alias: str
    """The model name that clients use; only its exchanges are learnt from."""
    champion: Champion | None = None
    """None: nobody answers yet; the challenger then contests with the bare model alone."""
    challenger: Name
    """Name of the adapter to make; never used before."""
    store: str
    """SQLAlchemy URL of the store."""
    home: Path
    """Folder of all state: adapters/ and orders/ lie in it."""
    objects: ObjectsPart | None = None
    """None: the adapter is published in `home` alone."""
    engine: EnginePart | None = None
    """None: a bootstrap order, published without evaluation."""
    base_model: BaseModelPart
    data: DataPart
    recipe: Annotated[Recipe, BeforeValidator(_recipe)] = Recipe()
    init_from_champion: bool = True
    serve: bool = True
    """False: train only. The adapter is kept and marked, held to no contest and never served; for methods that the
    engine cannot load."""
    track: TrackPart | None = None
    judge: JudgePart | None = None
    gate: GatePart = GatePart()
    evaluate: EvaluatePart = EvaluatePart()

    @model_validator(mode="after")
    def _makes_sense(self) -> Order:
        if self.champion is not None and self.champion.name == self.challenger:
            msg = f"challenger {self.challenger!r} is the champion's own name: every version needs a new one"
            raise ValueError(msg)
        if self.engine is None and self.data.replay is None:
            msg = "an order without an engine learns from data.replay, which is missing"
            raise ValueError(msg)
        return self

    @property
    def bootstrap(self) -> bool:
        """True when there is no engine to hold a contest in, or nothing to serve."""
        return self.engine is None or not self.serve

    @property
    def work(self) -> Path:
        """The order's own folder, `<home>/orders/<id>`."""
        return self.home / "orders" / self.id

    @property
    def init(self) -> Path | None:
        """The adapter whose weights training starts from."""
        return self.champion.path if self.champion is not None and self.init_from_champion else None

    def digest(self) -> str:
        """The sha256 of what was ordered: work done for one order is never taken for another's."""
        document = self.model_dump(mode="json", exclude={"recipe"}) | {"recipe": self.recipe.to_json()}
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def parse(document: Any, where: str = "order") -> Order:
    """An order from a plain document. Raises InvalidInput in one sentence that says what to write."""
    if not isinstance(document, dict):
        raise InvalidInput(f"{where} must hold a mapping of order keys to values, but it holds {_kind(document)}")
    try:
        return Order.model_validate(document)
    except ValidationError as error:
        raise InvalidInput(f"{where}: {first_fault(error, Order)}") from error


def load(path: Path) -> Order:
    """An order from a YAML or JSON file. Raises InvalidInput in one sentence."""
    document = read_yaml(path, "order file", "a YAML or JSON file")
    return parse(document, f"order file {path}")


def _kind(document: Any) -> str:
    return "nothing" if document is None else f"a {type(document).__name__}"

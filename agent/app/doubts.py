"""Settings with which an agent starts, and which do not do what was meant (pure).

Lives here: one doubt a line of a generator: what stands beside what, what follows from it, what to write instead.
Comes in: settings. Goes out: findings for `trimtab doctor`; well is False where something does not work, None where a
setting only has no effect. What no agent starts with is refused by `agent.policy.sane`, and told here as well.
Must never know: files, servers, the store, the environment.
"""

from __future__ import annotations

from collections.abc import Iterator

from agent.app import roles
from agent.app.flow import Finding
from agent.drift.fitting import rows_needed
from agent.policy.sane import contradictions
from agent.settings import KubernetesSettings, RaySettings, Settings
from agent.types import InvalidInput

RECIPE_RANK = 16
"""The rank that a retraining takes where `retrain.recipe` names none: the default of `retrain.recipe.Recipe`."""
_HERE = frozenset({"127.0.0.1", "localhost", "::1", "0.0.0.0", "::"})  # noqa: S104  # nothing listens here
"""Addresses that mean this machine to whoever opens them."""


def doubts(settings: Settings) -> Iterator[Finding]:
    """Every doubt; one finding that is well where there is none."""
    found = [*_refused(settings), *_judge(settings), *_retrain(settings), *_launcher(settings), *_rest(settings)]
    yield from found or [(True, "the settings contradict each other nowhere", "")]


def _refused(settings: Settings) -> Iterator[Finding]:
    what = "settings with which no agent starts"
    try:
        said = [*roles.contradictions(settings), *contradictions(settings)]
        yield from [(False, what, sentence) for sentence in said]
    except InvalidInput as unreadable:
        yield False, what, str(unreadable)


def _judge(settings: Settings) -> Iterator[Finding]:
    quality = settings.quality
    if quality.judge_model is None:
        for name in ("judge_url", "judge_path"):
            if getattr(quality, name) is not None:
                remedy = "so nobody is asked: set quality.judge_model to the name under which the judge is served"
                yield False, f"quality.{name} is set without quality.judge_model", remedy
        return
    if settings.capture.text == "none":
        remedy = "the judge gets no text to judge: leave it out, or set capture.text to redacted"
        yield False, "quality.judge_model with capture.text none", remedy
    if quality.sample_share == 0:
        remedy = "the judge is never asked: raise it, or leave quality.judge_model out"
        yield False, "quality.sample_share 0 with quality.judge_model", remedy
    if quality.judge_url is not None and quality.judge_path is not None:
        remedy = "the engine keeps an adapter loaded that is never asked, since judge_url is: leave one of them out"
        yield None, "quality.judge_path beside quality.judge_url", remedy
    if quality.judge_url is None and quality.judge_model == settings.first_version:
        remedy = "the champion would judge itself: give the judge another name, or set champion_name"
        yield False, f"quality.judge_model {quality.judge_model} is the champion's name", remedy


def _retrain(settings: Settings) -> Iterator[Finding]:
    retrain = settings.retrain
    rank, most = retrain.recipe.get("r", RECIPE_RANK), settings.engine.max_lora_rank
    if retrain.base_model_path is None:
        if settings.champion is not None:
            remedy = "nothing is retrained, whatever the cause: to have orders, set it to the base model's folder"
            yield None, "retrain.base_model_path is not set", remedy
        return
    if settings.capture.text == "none":
        remedy = "there is no text to learn from: leave the one out, or set the other to redacted"
        yield False, "retrain.base_model_path with capture.text none", remedy
    if isinstance(rank, int) and rank > most:
        remedy = (
            "the engine would refuse what is trained: lower the one, or start vLLM with a higher --max-lora-rank and "
            "set the other to it"
        )
        yield False, f"retrain.recipe r {rank} is above engine.max_lora_rank {most}", remedy


def _launcher(settings: Settings) -> Iterator[Finding]:
    retrain = settings.retrain
    parts = {
        "kubernetes": (retrain.kubernetes, KubernetesSettings(), "image"),
        "ray": (retrain.ray, RaySettings(), "address"),
    }
    for name, (said, default, needed) in parts.items():
        if retrain.launcher == name and getattr(said, needed) is None:
            remedy = f"no agent starts so: set retrain.{name}.{needed}"
            yield False, f"retrain.launcher {name} without retrain.{name}.{needed}", remedy
        if retrain.launcher != name and said != default:
            remedy = f"retrain.{name} has no effect: set retrain.launcher to {name}, or leave it out"
            yield None, f"retrain.{name} with retrain.launcher {retrain.launcher}", remedy


def _rest(settings: Settings) -> Iterator[Finding]:
    quality, objects, drift = settings.quality, settings.objects, settings.drift
    for name in ("endpoint", "region"):
        if getattr(objects, name) is not None and objects.url is None:
            yield (
                False,
                f"objects.{name} without objects.url",
                "nothing goes there: set objects.url to s3://bucket/prefix",
            )
    if settings.champion is not None and settings.alias == settings.engine.base_model:
        remedy = (
            "questions to the bare model would be answered by an adapter: let vLLM serve the base under another name "
            "(--served-model-name) and set engine.base_model to it"
        )
        yield False, f"alias and engine.base_model are both {settings.alias}", remedy
    if quality.min_truth > quality.window_exchanges:
        remedy = "so many labels never come together, and there is no estimate: lower the one or raise the other"
        yield False, f"quality.min_truth {quality.min_truth} above quality.window_exchanges", remedy
    budget_rows = drift.window_rows * drift.budget_windows
    if drift.reference_rows < (needed := rows_needed(budget_rows)):
        remedy = f"one false alarm in {budget_rows} exchanges needs {needed}, and drift is not watched: raise it"
        yield False, f"drift.reference_rows {drift.reference_rows}", remedy
    if settings.policy.judge_price is not None and settings.policy.judge_money is None:
        yield None, "policy.judge_price without policy.judge_money", "a price alone bounds nothing: set the money too"
    if settings.notify.urls and settings.notify.page is None and settings.http.host in _HERE:
        remedy = f"messages link to {settings.http.host}, where people find nothing: set notify.page to the address"
        yield None, "notify.urls without notify.page", remedy

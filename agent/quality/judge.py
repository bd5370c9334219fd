"""What a judge is, and which one the settings ask for.

Lives here: the protocol that `LikelihoodJudge` and `RubricJudge` fulfil, and the choice between them.
Comes in: settings and the two secrets. Goes out: a judge, or None when it is switched off.
Must never know: the store, the budget.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from agent.quality.likelihood import LikelihoodJudge
from agent.quality.remote import Remote
from agent.quality.rubric import RubricJudge
from agent.settings import Settings
from agent.types import Exchange, Grade

__all__ = ["Judge", "LikelihoodJudge", "Remote", "RubricJudge", "judge_of"]


class Judge(Protocol):
    """Anything that has an opinion on one answer. Called from several threads at once."""

    source: str
    """Under which name its grades are kept; one grade an exchange and name."""

    def grade(self, exchange: Exchange, now: datetime) -> Grade:
        """One grade with `truth` false. Raises RemoteFault when it cannot be had."""
        ...

    def close(self) -> None:
        """Give the connections back."""
        ...


def judge_of(settings: Settings, engine_token: str | None, judge_key: str | None = None) -> Judge | None:
    """The judge that the settings name; None when `quality.judge_model` is not set.

    The engine's token goes to the engine alone; a judge at an address of its own gets `judge_key`.
    """
    quality = settings.quality
    if quality.judge_model is None:
        return None
    if quality.judge_url is None:
        remote = Remote(settings.engine.url, engine_token)
    else:
        remote = Remote(quality.judge_url, judge_key)
    if quality.judge_kind == "rubric":
        return RubricJudge(remote, quality.judge_model, rubric=quality.judge_template)
    return LikelihoodJudge(
        remote,
        quality.judge_model,
        midpoint=quality.judge_midpoint,
        slope=quality.judge_slope,
        template=quality.judge_template,
    )

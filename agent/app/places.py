"""What the settings name outside themselves: files, database, object store; is it there, and does it fit.

Lives here: one finding for each place that is named. Comes in: settings. Goes out: findings for `trimtab doctor`.
Must never know: how to repair anything, the engine, the agent. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from agent.app.database import is_shared, reading_store
from agent.app.flow import Finding
from agent.app.orders import objects_of, reachable
from agent.app.references import read_reference
from agent.app.roles import ROLES
from agent.drift.fitting import rows_needed
from agent.settings import Settings
from agent.store.artifacts import verify
from agent.types import InvalidInput, TrimtabError


def files(settings: Settings) -> Iterator[Finding]:
    """What the settings name on this machine's disk."""
    quality, retrain, role = settings.quality, settings.retrain, ROLES[settings.role]
    if settings.reference is not None and role.decides:
        yield _reference(settings, settings.reference)
    if quality.judge_model is not None and quality.judge_path is not None and role.beside_engine:
        try:
            yield True, f"judge {quality.judge_path}, digest {verify(quality.judge_path)[:12]}", ""
        except TrimtabError as error:
            yield False, f"judge {quality.judge_path}", str(error)
    if retrain.base_model_path is not None and retrain.launcher == "local":
        there = (retrain.base_model_path / "config.json").exists()
        remedy = "it holds no config.json, so no order could be trained: set it to the base model's folder"
        yield there, f"retrain.base_model_path {retrain.base_model_path}", remedy


def _reference(settings: Settings, path: Path) -> Finding:
    try:
        rows = len(read_reference(path))
    except InvalidInput as error:
        return False, "reference", str(error)
    budget_rows = settings.drift.window_rows * settings.drift.budget_windows
    needed = rows_needed(budget_rows)
    remedy = (
        f"one false alarm in {budget_rows} exchanges needs {needed} (300 are better), and drift is not watched: give a "
        "longer file, or leave `reference` out and the first answers are learned from"
    )
    return rows >= needed, f"reference {path}, {rows} exchanges", remedy


def stores(settings: Settings) -> Iterator[Finding]:
    """Whether the database can be used, where there is one, the object store answers, and jobs elsewhere reach both."""
    shared, objects = is_shared(settings), None
    if shared or (settings.home / "trimtab.db").exists():
        yield _answers("database", lambda: reading_store(settings).close())
    try:
        objects = objects_of(settings)
        if settings.retrain.launcher != "local":
            reachable(settings)
    except InvalidInput as error:
        yield False, "what jobs need", str(error)
    if objects is not None:
        yield _answers(f"object store {objects.url}", lambda: objects.names("doctor"))
    elif shared and settings.retrain.launcher == "local":
        remedy = (
            "what is trained lies in `home` of one sidecar, and the others of this database do not get it: set "
            "objects.url, unless all of them mount the same `home`"
        )
        yield None, "a shared database without objects.url", remedy


def _answers(what: str, ask: Callable[[], object]) -> Finding:
    try:
        ask()
    except (TrimtabError, SQLAlchemyError) as error:
        return False, what, " ".join(str(error).split())
    return True, what, ""

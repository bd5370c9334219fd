"""The stages of one order over what is already done: curate, train, evaluate, gate, publish.

In: a checked order, the store, the engine's token. Out: an artifact folder, an adapter version in the store, a verdict.
Must never know: the environment, how it was started, who else may have the order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.store import Store, artifacts, convert
from agent.types import Verdict
from retrain import preflight, publish
from retrain.bases.card import read_card
from retrain.curate import curate, read_rows
from retrain.curate.curate import FRESH, OLD, REPORT, TRAIN, VALID
from retrain.curate.manifest import FILE as DATA_MANIFEST
from retrain.evaluate import record
from retrain.evaluate.contest import PROBES_DRAFT
from retrain.gate import verdict as gate
from retrain.order import Order
from retrain.progress import Progress
from retrain.stages import Stages
from retrain.track import tracked
from serving.errors import InvalidInput, TrimtabError

ADAPTER = "adapter"
ADAPTER_FILES = tuple(f"{ADAPTER}/{name}" for name in (artifacts.CONFIG, artifacts.WEIGHTS))
CURATED = (TRAIN, VALID, FRESH, OLD, REPORT, DATA_MANIFEST)


class Job:
    """The stages of one order over what is already done."""

    def __init__(
        self, order: Order, store: Store, progress: Progress, token: str, judge_key: str | None = None
    ) -> None:
        self._order = order
        self._store = store
        self._progress = progress
        self._token = token
        self._judge_key = judge_key
        self._stages = Stages(order.work, order.digest())

    def run(self) -> Verdict | None:
        """All stages that are not done, in order."""
        left = publish.left_before(self._order)
        if left is not None:
            self._progress.stage("publish", "an earlier attempt had got as far as the object store")
            verdict = convert.verdict(said) if (said := artifacts.manifest(left)["verdict"]) else None
            self._conclude(left, verdict)
            return verdict
        self._check()
        self._stage("curate", self._curate, CURATED)
        trained = self._stage("train", self._train, ADAPTER_FILES)
        folder = publish.place(self._order.work / ADAPTER, self._order.home, self._order.challenger, self._order.id)
        if self._order.bootstrap:
            verdict, metrics, probes = None, {}, None
        else:
            evaluated = self._stage("evaluate", lambda: self._evaluate(folder), (record.FILE, PROBES_DRAFT))
            metrics = evaluated["metrics"]
            verdict = convert.verdict(self._stage("gate", lambda: self._gate(evaluated)))
            probes = self._order.work / PROBES_DRAFT
        self._publish(folder, trained, metrics, verdict, probes)
        return verdict

    def _stage(self, name: str, act: Callable[[], dict[str, Any]], files: Sequence[str] = ()) -> dict[str, Any]:
        done = self._stages.done(name)
        if done is not None:
            self._progress.stage(name, "done already")
            return done
        self._progress.stage(name)
        return self._stages.finish(name, act(), files)

    def _check(self) -> None:
        """What would be found out only after hours of training."""
        order = self._order
        if not order.base_model.path.is_dir():
            raise InvalidInput(f"base_model.path {order.base_model.path} is no folder: give the base model's weights")
        publish.refuse_taken(publish.folder_of(order.home, order.challenger), order.id)
        publish.bring_champion(order)
        if (canary := order.data.canary_file) is not None:
            read_rows(canary, prefix="canary-")
        preflight.refuse_another_champion(order)
        if self._stages.done("train") is None:
            preflight.check(order, self._progress.line)

    def _curate(self) -> dict[str, Any]:
        made = curate(self._order, self._store, self._order.work)
        counts = {"train": len(made.train), "holdout_fresh": len(made.fresh), "holdout_old": len(made.old)}
        left = {step["step"]: step["dropped"] for step in made.report["steps"] if step["dropped"]}
        self._progress.line(f"{_pairs(counts)}; left out: {_pairs(left) or 'nothing'}")
        for warning in made.report["warnings"]:
            self._progress.line(f"careful: {warning}")
        digest = artifacts.file_sha256(self._order.work / DATA_MANIFEST)
        return {
            "counts": counts, "left_out": left, "sources": made.report["sources"],
            "teacher": made.report["teacher"], "manifest_sha256": digest,
        }  # fmt: skip

    def _train(self) -> dict[str, Any]:
        from retrain.train import train

        order = self._order

        rows = read_rows(order.work / TRAIN)
        valid = read_rows(order.work / VALID) if (order.work / VALID).exists() else []
        start = f"from {order.init.name}" if order.init else "from scratch"
        self._progress.line(f"{len(rows)} rows, {order.recipe.steps} steps of {order.recipe.batch}, {start}")
        with tracked(order, self._progress.line) as tracker:

            def told(step: int, loss: float) -> None:
                self._progress.share(step, order.recipe.steps, f"steps, loss {loss:.3f}")
                tracker.log(step, loss=loss)

            def looked(step: int, loss: float) -> bool:
                tracker.log(step, valid_loss=loss)
                return False

            done = train(
                rows, order.base_model.path, order.work / ADAPTER, order.recipe, order.init, told,
                valid=valid, record_in=order.work, say=self._progress.line, on_look=looked,
            )  # fmt: skip
            tracker.end(loss=done.loss, **({} if done.valid_loss is None else {"valid_loss": done.valid_loss}))
        self._progress.line(f"{done.rows} rows learnt, {done.too_long} too long, {done.seconds:.0f} s")
        return {
            "recipe": done.recipe.to_json(),
            "rows": done.rows,
            "too_long": done.too_long,
            "loss": done.loss,
            "valid_loss": done.valid_loss,
            "steps": done.steps,
            "stopped": done.stopped,
            "seconds": round(done.seconds, 1),
            "base_digest": artifacts.base_digest(order.base_model.path),
        }

    def _evaluate(self, folder: Path) -> dict[str, Any]:
        from retrain.evaluate.stage import evaluate

        return evaluate(self._order, folder, self._token, self._judge_key, self._progress)

    def _gate(self, evaluated: dict[str, Any]) -> dict[str, Any]:
        from retrain.evaluate.stage import evidence_of

        bounds = gate.Bounds(**self._order.gate.model_dump(exclude={"approval"}))
        verdict = gate.judge(evidence_of(self._order, evaluated), bounds)
        for check in verdict.checks:
            word = {True: "holds", False: "FAILS", None: "open"}[check.passed]
            self._progress.line(f"{word:<5} {check.name}: {check.says}")
        return convert.verdict_json(verdict)

    def _publish(
        self, folder: Path, trained: Mapping[str, Any], metrics: Mapping[str, Any], verdict: Verdict | None,
        probes: Path | None,
    ) -> None:  # fmt: skip
        order, done = self._order, self._stages.done("curate") or {}
        self._progress.stage("publish")
        parent = order.champion.name if order.champion else None
        facts = {
            "name": order.challenger,
            "alias": order.alias,
            "order": order.id,
            "reason": order.reason,
            "parent": parent,
            "base_model": order.base_model.path.name,
            "base_digest": trained["base_digest"],
            "tokenizer_digest": artifacts.tokenizer_digest(order.base_model.path),
            "licence": order.base_model.licence or read_card(order.base_model.path).licence,
            "recipe": trained["recipe"],
            "data": done,
            "metrics": metrics,
            "train_only": preflight.train_only(order),
            "verdict": convert.verdict_json(verdict) if verdict else None,
            "created_at": _now().isoformat(),
        }
        publish.seal(folder, facts, probes, card=True)
        self._conclude(folder, verdict)

    def _conclude(self, folder: Path, verdict: Verdict | None) -> None:
        if publish.status_of(self._order, verdict) == "rejected":
            self._forget()
        self._progress.line(publish.conclude(self._order, self._store, folder, _now()))

    def _forget(self) -> None:
        """Take a refused challenger out of the engine; a rollout would do it too, so a fault here is no fault."""
        from serving.engine import Engine

        if self._order.engine is None:
            return
        try:
            with Engine(self._order.engine.url, self._token) as engine:
                engine.unload(self._order.challenger)
        except TrimtabError as error:
            self._progress.line(f"{self._order.challenger} stays loaded for now: {error}")


def _pairs(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items())


def _now() -> datetime:
    return datetime.now(UTC)

"""One retraining order from start to end: curate, train, evaluate, gate, publish.

In: a checked order, the engine's token. Out: an adapter version with a verdict in the store, an artifact folder.
Must never know: the environment, how it was started. Killed at any point and run again, it goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from agent.launch import lock
from agent.store import Store, artifacts, convert
from agent.store.tables import OrderRow
from agent.types import AdapterVersion, Verdict
from retrain import gate, preflight, publish
from retrain.curate import Row, curate, read_rows
from retrain.curate.curate import FRESH, OLD, TRAIN
from retrain.curate.manifest import FILE as DATA_MANIFEST
from retrain.eval_judge import judge_of
from retrain.evaluate import PROBES_DRAFT, Contest, EnginePort, Evaluation, Seats
from retrain.order import Order
from retrain.progress import Progress
from retrain.recipe import Recipe
from retrain.stages import Stages
from retrain.track import tracked
from serving.errors import InvalidInput, TrimtabError

Say = Callable[[str], None]
ADAPTER = "adapter"
ANSWER_SPARE_TOKENS = 4
VALID = "valid.jsonl"
"""Rows for early stopping, where curation sets some aside."""


def run(
    order: Order, store: Store, *, token: str = "", judge_key: str | None = None, say: Say = print
) -> Verdict | None:
    """Work an order off; returns the verdict, None for a bootstrap order.

    `token` opens the engine, `judge_key` a judge at an address of its own.

    Raises AlreadyRunning when another process has it (nothing is touched), TrimtabError when it cannot be done
    (the order's row then says failed and why). Safe to run again after any end.
    """
    with lock.held(order.work):
        row = _open_row(store, order)
        if row.status == "done":
            say(f"order {order.id} is done already")
            return convert.verdict(row.verdict) if row.verdict else None

        def beat(stage: str, share: float) -> None:
            store.update_order(order.id, heartbeat_at=_now(), stage=stage, progress=round(share, 4))

        try:
            with Progress(say, beat) as progress:
                return Job(order, store, progress, token, judge_key).run()
        except Exception as error:
            said = str(error) if isinstance(error, TrimtabError) else f"{type(error).__name__}: {error}"
            with suppress(SQLAlchemyError):  # a store that is away keeps its row running: the job is tried again
                store.update_order(order.id, status="failed", error=said, finished_at=_now())
                store.record("order_failed", f"order {order.id} failed: {said}", _now(), order=order.id)
            raise


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
        self._check()
        self._stage("curate", self._curate)
        trained = self._stage("train", self._train)
        folder = publish.place(self._order.work / ADAPTER, self._order.home, self._order.challenger, self._order.id)
        if self._order.bootstrap:
            verdict, metrics, probes = None, {}, None
        else:
            metrics = self._stage("evaluate", lambda: self._evaluate(folder))["metrics"]
            verdict = convert.verdict(self._stage("gate", lambda: self._gate(folder)))
            probes = self._order.work / PROBES_DRAFT
        self._publish(folder, trained, metrics, verdict, probes)
        return verdict

    def _stage(self, name: str, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        done = self._stages.done(name)
        if done is not None:
            self._progress.stage(name, "done already")
            return done
        self._progress.stage(name)
        return self._stages.finish(name, **act())

    def _check(self) -> None:
        """What would be found out only after hours of training."""
        order = self._order
        if not order.base_model.path.is_dir():
            raise InvalidInput(f"base_model.path {order.base_model.path} is no folder: give the base model's weights")
        publish.refuse_taken(publish.folder_of(order.home, order.challenger), order.id)
        if order.data.canary is not None:
            read_rows(order.data.canary, prefix="canary-")
        if order.init is not None:
            found = artifacts.verify(order.init)
            wanted = order.champion.digest if order.champion else None
            if wanted is not None and found != wanted:
                raise InvalidInput(f"champion {order.init} has digest {found[:12]}, the order says {wanted[:12]}")
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

    def _contest(self, engine: EnginePort, chat: Any, folder: Path) -> Contest:
        order = self._order
        slices = {"fresh": read_rows(order.work / FRESH), "old": read_rows(order.work / OLD)}
        if order.data.canary is not None:
            slices["canary"] = read_rows(order.data.canary, prefix="canary-")
        champion = order.champion.name if order.champion else None
        base = order.engine.base_model if order.engine else "base"
        return Contest(
            Seats(challenger=order.challenger, champion=champion, base=base),
            slices,
            engine,
            chat,
            folder,
            order.work,
            max_tokens=_longest(order.base_model.path, [*slices["fresh"], *slices["old"]]),
            canary_tokens=order.evaluate.canary_tokens,
            on_answer=lambda done, of: self._progress.share(done, of, "answers"),
        )

    def _evaluated(self, folder: Path) -> Evaluation:
        from retrain.chat import Chat
        from serving.engine import Engine

        url = self._order.engine.url if self._order.engine else ""
        rank = int(json.loads((folder / artifacts.CONFIG).read_text(encoding="utf-8"))["r"])
        chat = Chat(url, self._token)
        try:
            with Engine(url, self._token, max_lora_rank=rank) as engine:
                contest = self._contest(engine, chat, folder)
                made = contest.run()
                return replace(made, metrics={**made.metrics, **self._beside(contest)})
        finally:
            chat.close()

    def _beside(self, contest: Contest) -> dict[str, Any]:
        """Perplexity and the judge's opinion, which do not decide."""
        from retrain.eval_extra import beside

        asked, url = self._order.evaluate, self._order.engine.url if self._order.engine else ""
        judge = judge_of(self._order.judge, url, self._token, self._judge_key)
        return beside(contest, self._order.work, asked, url, self._token, judge, self._progress.line)

    def _evaluate(self, folder: Path) -> dict[str, Any]:
        return {"metrics": self._evaluated(folder).metrics}

    def _gate(self, folder: Path) -> dict[str, Any]:
        """Judge what is written down: every answer is in eval.jsonl by now, so nothing is asked again."""
        bounds = gate.Bounds(**self._order.gate.model_dump(exclude={"approval"}))
        evidence = self._contest(_Nobody(), _Nobody(), folder).recorded().evidence
        verdict = gate.judge(evidence, bounds)
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
            "base_digest": trained["base_digest"],
            "recipe": trained["recipe"],
            "data": done,
            "metrics": metrics,
            "train_only": preflight.train_only(order),
            "verdict": convert.verdict_json(verdict) if verdict else None,
            "created_at": _now().isoformat(),
        }
        digest = publish.seal(folder, facts, probes)
        accepted = order.serve and (verdict is None or verdict.accepted)
        waits = verdict is not None and accepted and order.gate.approval == "required"
        if not accepted:
            self._forget()
        version = AdapterVersion(
            name=order.challenger,
            alias=order.alias,
            path=str(folder),
            digest=digest,
            base_digest=trained["base_digest"],
            parent=parent,
            status="waiting" if waits else "accepted" if accepted else "rejected",
            created_at=_now(),
            order_id=order.id,
            verdict=verdict,
        )
        kind = verdict.kind.value.replace("_", " ") if verdict else "published without a contest"
        says = f"{order.challenger}: {kind}"
        if not order.serve:
            says = f"{order.challenger}: trained, {preflight.train_only(order)}"
        if verdict is not None:
            says += f" ({'; '.join(gate.reasons(verdict))})"
        if waits:
            says += f"; it waits for a person: trimtab approve {order.challenger}, or trimtab reject {order.challenger}"
        publish.enter(self._store, version, order.id, _now(), says)
        self._progress.line(f"{says}; digest {digest[:12]}, {folder}")

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


class _Nobody:
    """Stands where nothing is to be asked any more."""

    def load(self, name: str, folder: Path | str) -> None:
        raise AssertionError(name, folder)

    def probe(self, name: str, probes: Sequence[Any]) -> list[str]:
        raise AssertionError(name, probes)

    def ask(self, model: str, messages: Sequence[Any], max_tokens: int) -> Any:
        raise AssertionError(model, messages, max_tokens)


def bootstrap(
    rows: Sequence[Row | Mapping[str, Any]],
    base: Path,
    home: Path,
    name: str,
    recipe: Recipe,
    init: Path | None = None,
    *,
    files: Mapping[str, Path] | None = None,
    facts: Mapping[str, Any] | None = None,
    on_step: Callable[[int, float], None] | None = None,
    say: Say | None = None,
) -> Path:
    """Train a first version on rows at hand and publish it under `<home>/adapters/<name>/`; returns that folder.

    No store, no engine, no contest. `files` are sealed in beside the weights (`reference.jsonl`, `probes.json`),
    `facts` go into the manifest. `on_step(step, loss)` is told of every step; without it and without `say`, lines
    are printed. Killed and called again, it goes on; called with the same again, it returns at once.
    Raises InvalidInput when the name belongs to something else.
    """
    from retrain.train import train

    tell = say or (print if on_step is None else _hush)
    order_id = f"bootstrap-{name}"
    work = home / "orders" / order_id
    learnt = [row if isinstance(row, Row) else Row.from_json(row, id=str(n)) for n, row in enumerate(rows, 1)]
    rows_digest = artifacts.digest_of({str(n): json.dumps(row.to_json()) for n, row in enumerate(learnt)})
    digest = artifacts.digest_of({"rows": rows_digest, "recipe": json.dumps(recipe.to_json()), "init": str(init)})
    with lock.held(work), Progress(tell, lambda _stage, _share: None) as progress:
        stages = Stages(work, digest)
        publish.refuse_taken(publish.folder_of(home, name), order_id)
        trained = stages.done("train")
        if trained is None:
            progress.stage("train", f"{name}: {len(learnt)} rows, {recipe.steps} steps of {recipe.batch}")

            def told(step: int, loss: float) -> None:
                progress.share(step, recipe.steps, f"steps, loss {loss:.3f}")
                if on_step is not None:
                    on_step(step, loss)

            done = train(learnt, base, work / ADAPTER, recipe, init, told)
            trained = stages.finish("train", recipe=done.recipe.to_json(), rows=done.rows, loss=done.loss)
        progress.stage("publish", name)
        folder = publish.place(work / ADAPTER, home, name, order_id, files)
        more = {"name": name, "order": order_id, "base_digest": artifacts.base_digest(base), "parent": None}
        sealed = publish.seal(folder, {**(facts or {}), **more, **trained, "rows_digest": rows_digest})
        progress.line(f"{name} published, digest {sealed[:12]}")
    return folder


def _hush(_line: str) -> None:
    """Say nothing."""


def _open_row(store: Store, order: Order) -> OrderRow:
    """The order's row, running; a job started by hand enters its order itself."""
    with store.transaction() as session:
        row = session.get(OrderRow, order.id)
        if row is None:
            document = order.model_dump(mode="json", exclude={"recipe"}) | {"recipe": order.recipe.to_json()}
            row = OrderRow(
                id=order.id,
                alias=order.alias,
                status="running",
                reason=order.reason,
                document=document,
                opened_at=_now(),
                attempts=1,
            )
        if row.status != "done":
            row.status, row.error, row.finished_at = "running", None, None
            row.started_at = row.started_at or _now()
            row.heartbeat_at = _now()
        session.add(row)
        return row


def _longest(base: Path, rows: Sequence[Row]) -> int:
    """Tokens of the longest label and a few more: a longer answer is wrong anyway, and asking costs time."""
    from retrain.encode import encode, load_tokenizer

    tokenizer = load_tokenizer(base)
    return max((len(encode(tokenizer, row)["answer"]) for row in rows), default=1) + ANSWER_SPARE_TOKENS


def _pairs(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items())


def _now() -> datetime:
    return datetime.now(UTC)

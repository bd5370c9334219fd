"""Prepares the demo once: base model, champion, judge, reference, all kept in a cache.

Lives here: the order of preparation, each part skipped when it is already there.
Comes in: a cache folder. Goes out: an `Estate`.
Must never know: the story that is told afterwards.

The cache is keyed by the sources of data and recipes: change one and it is prepared anew. A kill in the middle
leaves whole parts behind and the next run goes on from them.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import random
import secrets
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console

from agent.quality.calibrate import calibrate
from agent.quality.likelihood import LikelihoodJudge
from agent.quality.remote import Remote
from agent.types import Message
from retrain.bootstrap import bootstrap
from retrain.demo import data, grammar, home, recipe
from retrain.demo.estate import Ask, Estate, Kind
from retrain.demo.loop import TRIMTAB
from retrain.demo.model import prepare_model
from retrain.demo.process import Family, free_port
from retrain.demo.story import ALIAS
from retrain.demo.summary import write
from serving.engine import Engine

REFERENCE_ROWS = 800
"""Exchanges of the champion from which the detector's first reference is made."""
HELDOUT_ROWS = 150
"""Rows of unseen templates on which the champion and the judge are measured, old and new features each."""
CHUNK = 500
SERVE = ("--max-lora-rank", str(recipe.RANK))
MODEL_LOCK = Path(__file__).resolve().parents[2] / "requirements-model.lock"


class HomeTask:
    """The smart-home task as the story wants it."""

    system = home.SYSTEM

    def traffic(self, kind: Kind, seed: int) -> Iterator[Ask]:
        """Endless: chunk after chunk of the task's own generator."""
        chunk = 0
        while True:
            for r in data.traffic(kind, seed * 1000 + chunk, CHUNK):
                yield Ask(text=r.utterance, answer=r.answer, fresh=r.is_new, user=r.user)
            chunk += 1


def prepare(cache: Path, console: Console) -> Estate:
    """The estate, from the cache as far as it is there. Raises InvalidInput or RemoteFault in one sentence."""
    say = _Teller(console)
    model = prepare_model(cache, say, requirements=MODEL_LOCK)
    folder = cache / f"home-{_key(data, grammar, home)}"
    task = data.build(0)
    champion = _adapter(folder, f"{ALIAS}-v1", [r.to_training() for r in task.train_v1], model, recipe.CHAMPION, say)
    judge = _adapter(folder, f"{ALIAS}-judge", [r.to_training() for r in task.judge_train], model, recipe.JUDGE, say)
    facts_path = folder / "facts.json"
    if not facts_path.exists():
        write(facts_path, _measure(folder, model, champion, judge, task, say))
    facts = json.loads(facts_path.read_text(encoding="utf-8"))
    replay = folder / "replay.jsonl"
    if not replay.exists():
        rows = [{**r.to_training(), "split": "train"} for r in task.train_v1]
        rows += [{**r.to_training(), "split": "holdout"} for r in task.heldout_old]
        _write_lines(replay, rows)
    say(f"prepared: champion right on {facts['heldout_accuracy']:.1%} of sentences of unseen templates, "
        f"judge AUC {facts['judge_auc']:.3f} on the same")  # fmt: skip
    return Estate(
        task=HomeTask(),
        model=model,
        champion=champion,
        judge=judge,
        judge_auc=facts["judge_auc"],
        judge_midpoint=facts["judge_midpoint"],
        judge_slope=facts["judge_slope"],
        reference=folder / "reference.jsonl",
        replay=replay,
        labeller=f"{Path(data.__file__)}:truth",
        recipe=recipe.CHALLENGER.to_json(),
        answer_tokens=recipe.ANSWER_TOKENS,
        serve_arguments=SERVE,
        heldout_accuracy=facts["heldout_accuracy"],
    )


def _adapter(folder: Path, name: str, rows: list[dict[str, Any]], model: Path, how: Any, say: _Teller) -> Path:
    out = folder / "adapters" / name
    if (out / "manifest.json").exists():
        return out
    say(f"training {name} on {len(rows)} rows, {how.steps} steps; this happens once")
    return bootstrap(rows, model, folder, name, how, on_step=say.steps(name, how.steps))


def _measure(folder: Path, model: Path, champion: Path, judge: Path, task: data.Task, say: _Teller) -> dict[str, Any]:
    """Serve champion and judge once: held-out accuracy, the judge's AUC and calibration, the reference exchanges."""
    say("starting vLLM once to measure champion and judge and to record the reference")
    family, port, token = Family(), free_port(), secrets.token_hex(16)
    url = f"http://127.0.0.1:{port}"
    try:
        command = [*TRIMTAB, "serve", "--model", str(model), "--port", str(port), "--socket", "", *SERVE]
        child = family.start("vllm", command, {"TRIMTAB_TOKEN": token}, folder / "prepare-vllm.log")
        with Engine(url, token) as engine:
            engine.wait_ready(alive=lambda: say.alive() and child.running)
            engine.load(champion.name, champion)
            engine.load(judge.name, judge)
            rows = random.Random(1).sample(task.heldout_old, HELDOUT_ROWS)
            fresh = random.Random(2).sample(task.heldout_new, HELDOUT_ROWS // 2)
            asks = data.traffic("reference", 77, REFERENCE_ROWS)
            answers = _answers(engine, champion.name, [r.utterance for r in (*rows, *fresh)], say, "held-out sentences")
            replies = _answers(engine, champion.name, [a.utterance for a in asks], say, "reference exchanges")
        reference = [
            {"id": str(i), "prompt": a.utterance, "answer": reply, "user": a.user}
            for i, (a, reply) in enumerate(zip(asks, replies, strict=True))
        ]
        _write_lines(folder / "reference.jsonl", reference)
        right = [reply.strip() == r.answer for r, reply in zip((*rows, *fresh), answers, strict=True)]
        scores = _scores(Remote(url, token), judge.name, [r.utterance for r in (*rows, *fresh)], answers, say)
        truths = _scores(Remote(url, token), judge.name, [r.utterance for r in fresh], [r.answer for r in fresh], say)
    finally:
        family.end()
    midpoint, slope, auc = calibrate([*scores, *truths], [*right, *(True for _ in truths)])
    return {
        "heldout_accuracy": sum(right[:HELDOUT_ROWS]) / HELDOUT_ROWS,
        "heldout_accuracy_on_new_features": sum(right[HELDOUT_ROWS:]) / len(fresh),
        "judge_auc": auc,
        "judge_midpoint": midpoint,
        "judge_slope": slope,
        "judge_rows": len(scores) + len(truths),
    }


def _answers(engine: Engine, name: str, texts: Sequence[str], say: _Teller, what: str) -> list[str]:
    def one(text: str) -> str:
        return engine.probe(name, [data.messages(text)], max_tokens=recipe.ANSWER_TOKENS)[0]

    return _many(one, list(texts), say, what)


def _scores(remote: Remote, name: str, texts: Sequence[str], answers: Sequence[str], say: _Teller) -> list[float]:
    judge = LikelihoodJudge(remote, name, midpoint=0.0, slope=1.0)

    def one(pair: tuple[str, str]) -> float:
        conversation = [Message(role=m["role"], text=m["content"]) for m in data.messages(pair[0])]
        return judge.mean_logprob(conversation, pair[1])[0]

    try:
        return _many(one, list(zip(texts, answers, strict=True)), say, "answers judged")
    finally:
        judge.close()


def _many(one: Any, items: list[Any], say: _Teller, what: str) -> list[Any]:
    out: list[Any] = []
    with ThreadPoolExecutor(max_workers=16) as pool:
        for result in pool.map(one, items):
            out.append(result)
            say.now_and_then(f"{len(out)} of {len(items)} {what}")
    return out


def _key(*sources: ModuleType) -> str:
    """Names the cache's folder: it changes with the data's sources and with the recipes that are trained here."""
    text = "".join(inspect.getsource(module) for module in sources)
    recipes = json.dumps([recipe.CHAMPION.to_json(), recipe.JUDGE.to_json()])
    return hashlib.sha256((text + recipes).encode()).hexdigest()[:12]


def _write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    scratch = path.with_suffix(".tmp")
    scratch.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    scratch.rename(path)


class _Teller:
    """Says what preparation does, at least every 10 s."""

    def __init__(self, console: Console) -> None:
        self._console, self._began, self._spoke = console, time.monotonic(), 0.0

    def __call__(self, text: str) -> None:
        self._spoke = time.monotonic()
        elapsed = int(self._spoke - self._began)
        self._console.print(
            f"[dim]{elapsed // 60:02d}:{elapsed % 60:02d}[/] [bold cyan]prepare   [/] {text}",
            highlight=False,
            soft_wrap=True,
        )

    def now_and_then(self, text: str) -> None:
        """Say it when the last word is some seconds old."""
        if time.monotonic() - self._spoke > 5:
            self(text)

    def alive(self) -> bool:
        """For waits without news."""
        self.now_and_then("vLLM is starting")
        return True

    def steps(self, name: str, total: int) -> Any:
        """A callback for training steps."""

        def on_step(step: int, loss: float) -> None:
            self.now_and_then(f"{name}: step {step} of {total}, loss {loss:.3f}")

        return on_step

"""The apps: they call an OpenAI-compatible endpoint with the ordinary client and know nothing of Trimtab.

Lives here: an endless stream of asks, sent with a bounded number in flight; what came back, by whom, how fast;
and a share of truth labels that goes to the agent's feedback endpoint, where the recogniser stands in for a person.
Comes in: a task. Goes out: `Answered` records.
Must never know: versions to come, drift, or when training happens.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import openai

from retrain.demo.estate import Ask, Kind, Task

FEEDBACK_TRIES = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """One request as the client saw it. `at_s` counts from the start of the traffic; `number` from 0."""

    number: int
    kind: Kind
    ask: Ask
    id: str
    answer: str
    version: str
    header: str | None
    at_s: float
    total_s: float
    error: str | None = None

    @property
    def right(self) -> bool:
        """Exactly the true answer."""
        return self.answer.strip() == self.ask.answer


class Traffic:
    """Sends asks from a thread of its own until it is stopped. `kind` and `rate_per_s` may change at any time."""

    def __init__(
        self,
        task: Task,
        *,
        engine_url: str,
        agent_url: str,
        alias: str,
        answer_tokens: int,
        feedback_share: float,
        concurrency: int,
        seed: int = 0,
    ) -> None:
        self.kind: Kind = "reference"
        self.rate_per_s = 0.0
        self.answered: list[Answered] = []
        self.sent = 0
        self.feedback_sent = 0
        self.feedback_lost = 0
        self.labels_pending = 0
        self._task, self._engine_url, self._agent_url = task, engine_url, agent_url
        self._alias, self._answer_tokens = alias, answer_tokens
        self._feedback_share, self._concurrency = feedback_share, concurrency
        self._random = random.Random(seed)  # a seeded stream, not a secret
        self._streams: dict[Kind, Iterator[Ask]] = {
            "reference": task.traffic("reference", seed + 1),
            "drifted": task.traffic("drifted", seed + 2),
        }
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="traffic", daemon=True)

    def start(self) -> None:
        """Begin; nothing is sent while `rate_per_s` is 0."""
        self._thread.start()

    def stop(self) -> None:
        """Let what is in flight end, then return."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=60)

    @property
    def failed(self) -> int:
        """Requests without a proper answer."""
        return sum(1 for a in self.answered if a.error)

    @property
    def clock_s(self) -> float:
        """Seconds since the traffic was made; the clock of `Answered.at_s`."""
        return time.monotonic() - self._began

    async def _run(self) -> None:
        running: set[asyncio.Task[None]] = set()
        client = openai.AsyncOpenAI(base_url=f"{self._engine_url}/v1", api_key="none", max_retries=0, timeout=120)
        async with client, httpx.AsyncClient(base_url=self._agent_url, timeout=10) as feedback:
            due = time.monotonic()
            while not self._stop.is_set():
                now = time.monotonic()
                if self.rate_per_s <= 0 or now < due or len(running) >= self._concurrency:
                    await asyncio.sleep(0.01)
                    due = max(due, now - 1.0)
                    continue
                due += 1.0 / self.rate_per_s
                task = asyncio.create_task(self._one(client, feedback, self.kind, self.sent))
                self.sent += 1
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.gather(*running)

    async def _one(self, client: openai.AsyncOpenAI, feedback: httpx.AsyncClient, kind: Kind, number: int) -> None:
        ask = next(self._streams[kind])
        began = time.monotonic()
        try:
            reply = await self._ask(client, ask, stream=number % 3 == 0)
            error = None
        except openai.OpenAIError as fault:
            reply, error = ("", "", "", None), f"{type(fault).__name__}: {fault}"
        done = Answered(
            number=number,
            kind=kind,
            ask=ask,
            id=reply[0],
            answer=reply[1],
            version=reply[2],
            header=reply[3],
            at_s=began - self._began,
            total_s=time.monotonic() - began,
            error=error,
        )
        label = error is None and self._random.random() < self._feedback_share
        self.labels_pending += label
        self.answered.append(done)
        if label:
            await self._tell(feedback, done)
            self.labels_pending -= 1

    async def _ask(self, client: openai.AsyncOpenAI, ask: Ask, *, stream: bool) -> tuple[str, str, str, str | None]:
        body = {
            "model": self._alias,
            "messages": [{"role": "system", "content": self._task.system}, {"role": "user", "content": ask.text}],
            "temperature": 0,
            "max_tokens": self._answer_tokens,
            "user": ask.user,
        }
        create = client.chat.completions.with_raw_response.create
        raw = await create(**body, stream=stream)  # type: ignore[call-overload]
        header = raw.headers.get("x-trimtab-version")
        if not stream:
            reply = raw.parse()
            return reply.id, reply.choices[0].message.content or "", reply.model, header
        identity, model, text = "", "", ""
        async for chunk in raw.parse():
            identity, model = chunk.id, chunk.model
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
        return identity, text, model, header

    async def _tell(self, client: httpx.AsyncClient, done: Answered) -> None:
        """One truth label. The exchange may not have landed yet, or the agent may be restarting: try again."""
        correction = None if done.right else done.ask.answer
        label = {"exchange_id": done.id, "correct": done.right, "correction": correction, "source": "recogniser"}
        for _ in range(FEEDBACK_TRIES):
            try:
                if (await client.post("/v1/feedback", json=label)).status_code == httpx.codes.OK:
                    self.feedback_sent += 1
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.5)
        self.feedback_lost += 1

"""The likelihood judge: how probable a reference model finds the given answer.

Lives here: the calls to vLLM, and how the answer's tokens are cut out of the rendered conversation.
Comes in: an exchange. Goes out: a grade; a mean log-probability for calibration.
Must never know: the store, the budget, whether anybody acts on the grade.

Two calls an answer, of which one reaches the model. `/tokenize` renders the prompt as the served model saw
it; `/v1/chat/completions` with the answer as last message, `add_generation_prompt` false, `max_tokens` 1 and
`prompt_logprobs` 0 renders and scores prompt and answer together. The answer begins where the two part, and
ends before the template's own tail, of which the first token (end of turn) counts: an answer that stops too
early or runs on is a wrong answer. Only vLLM speaks `prompt_logprobs`; start it with `--lora-target-modules`
without lm_head, or concurrent calls kill it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime
from statistics import fmean
from typing import Any

from agent.quality.calibrate import score
from agent.quality.remote import Remote
from agent.types import Exchange, Grade, Message, RemoteFault


class LikelihoodJudge:
    """Scores an answer by its mean log-probability under `model`, through a logistic curve."""

    source = "judge"

    def __init__(
        self, remote: Remote, model: str, *, midpoint: float, slope: float, template: str | None = None
    ) -> None:
        """`template` is a system message put before the prompt; None scores the exchange's own messages."""
        self._remote, self._model = remote, model
        self._midpoint, self._slope, self._template = midpoint, slope, template
        self._tail: int | None = None
        self._lock = threading.Lock()

    def grade(self, exchange: Exchange, now: datetime) -> Grade:
        """One grade. Raises RemoteFault when the server cannot give one."""
        messages: Sequence[Message] = exchange.messages
        if self._template is not None:
            messages = (
                Message(role="system", text=self._template),
                Message(role="user", text=exchange.prompt),
            )
        mean, tokens = self.mean_logprob(messages, exchange.answer)
        return Grade(
            exchange_id=exchange.id,
            source=self.source,
            score=score(mean, self._midpoint, self._slope),
            truth=False,
            at=now,
            cost_tokens=tokens,
        )

    def close(self) -> None:
        """Give the connections back."""
        self._remote.close()

    def mean_logprob(self, messages: Sequence[Message], answer: str) -> tuple[float, int]:
        """(mean log-probability in nats a token of answer and end of turn, tokens that the call cost)."""
        conversation = [{"role": message.role, "content": message.text} for message in messages]
        prompt = self._tokens(conversation, prompt=True)
        body = {
            "model": self._model,
            "messages": [*conversation, {"role": "assistant", "content": answer}],
            "add_generation_prompt": False,
            "max_tokens": 1,
            "temperature": 0,
            "prompt_logprobs": 0,
            "return_token_ids": True,
        }
        said = self._remote.post("/v1/chat/completions", body)
        try:
            whole = [int(token) for token in said["prompt_token_ids"]]
            scored = [_logprob(entry, token) for entry, token in zip(said["prompt_logprobs"], whole, strict=True)]
            cost = int(said["usage"]["total_tokens"])
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{self._remote.url} gave no prompt log-probabilities ({error}): the judge must be a vLLM"
            raise RemoteFault(msg) from error
        start, stop = _shared(prompt, whole), len(whole) - self._tail_tokens()
        counted = scored[start : stop + 1]  # the answer, and the first token of the tail: end of turn
        known = [value for value in counted if value is not None]
        if not known:
            raise RemoteFault(f"{self._remote.url} rendered an answer without a token: check the chat template")
        return fmean(known), cost

    def _tail_tokens(self) -> int:
        """Number of tokens that the template puts after an answer, seen on an empty one; asked for once."""
        with self._lock:
            if self._tail is None:
                ask = {"role": "user", "content": "a"}
                prompt = self._tokens([ask], prompt=True)
                empty = self._tokens([ask, {"role": "assistant", "content": ""}], prompt=False)
                self._tail = len(empty) - _shared(prompt, empty)
            return self._tail

    def _tokens(self, conversation: list[dict[str, str]], *, prompt: bool) -> list[int]:
        body = {"model": self._model, "messages": conversation, "add_generation_prompt": prompt}
        said = self._remote.post("/tokenize", body)
        try:
            return [int(token) for token in said["tokens"]]
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{self._remote.url}/tokenize gave no tokens ({error}): the judge must be a vLLM"
            raise RemoteFault(msg) from error


def _logprob(entry: dict[str, Any] | None, token: int) -> float | None:
    """The log-probability of `token`; vLLM's first entry is null, because nothing comes before it."""
    return None if entry is None else float(entry[str(token)]["logprob"])


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common beginning."""
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))

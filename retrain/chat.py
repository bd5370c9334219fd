"""Ask an OpenAI-compatible server one greedy chat answer.

In: a model name and messages. Out: the answer with how it ended and how long it took, or RemoteFault / InvalidInput.
Must never know: which model should win, admin paths (those are `serving.engine`'s).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from serving.errors import InvalidInput, RemoteFault

REFUSED = "refused"
"""How an answer ended that the server would not give to this request (too long, malformed)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A greedy answer, stripped. `finish` is stop, length, or REFUSED; `latency_s` counts the whole request.

    `prompt_tokens` and `tokens` (of the answer) are what the server counted; None when it did not say.
    """

    text: str
    finish: str
    latency_s: float
    prompt_tokens: int | None = None
    tokens: int | None = None


class Chat:
    """A client of chat completions; several threads may use one. Trimtab's own calls are not captured."""

    def __init__(
        self, url: str, token: str = "", timeout_s: float = 120.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        headers = {"x-trimtab-internal": "1", "authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=timeout_s, transport=transport, trust_env=False
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ask(self, model: str, messages: Sequence[Mapping[str, str]], max_tokens: int) -> Answer:
        """Ask once. Raises RemoteFault when trying again may help, InvalidInput at a closed door."""
        body = {"model": model, "messages": list(messages), "temperature": 0, "max_tokens": max_tokens}
        started = time.perf_counter()
        try:
            reply = self._http.post("/v1/chat/completions", json=body)
        except httpx.HTTPError as error:
            raise RemoteFault(f"{model} did not answer: {str(error) or type(error).__name__}") from error
        took = time.perf_counter() - started
        if reply.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise InvalidInput("the engine refused the token: give both sides the same TRIMTAB_TOKEN")
        if reply.status_code in (httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY):
            return Answer(text="", finish=REFUSED, latency_s=took)
        if not reply.is_success:
            raise RemoteFault(f"asked {model}, the engine answered {reply.status_code}: {reply.text[:200]}")
        try:
            said = reply.json()
            choice, usage = said["choices"][0], said.get("usage") or {}
            return Answer(
                text=str(choice["message"]["content"] or "").strip(),
                finish=str(choice.get("finish_reason")),
                latency_s=took,
                prompt_tokens=_count(usage, "prompt_tokens"),
                tokens=_count(usage, "completion_tokens"),
            )
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise RemoteFault(f"asked {model}, the engine answered without a choice") from error


def _count(usage: Mapping[str, Any], key: str) -> int | None:
    value = usage.get(key)
    return value if isinstance(value, int) else None

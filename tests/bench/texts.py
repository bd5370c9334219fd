"""English text of any length, and exchanges made of it: the same on every machine with the same Python.

In: a seed and sizes. Out: texts, OpenAI bodies, captures, exchanges. Must never know: what is measured with them.
Real text is Python's own language reference, which every installation carries: full of code, digits, colons and
quotes. Plain prose, as people talk with an assistant, is made.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from serving.wire import Capture

ANSWER_CHARS = 700
PROMPT_CHARS = 150
EVENTS = 64
WORKER = "b" * 32
_SENTENCE = (
    ("She", "They", "We", "I", "You", "Nobody", "Everybody", "Grandmother"),
    ("switched", "dimmed", "opened", "closed", "found", "moved", "wanted", "forgot", "warmed", "watched", "needed"),
    ("the light", "the old lamp", "every blind", "her coffee", "the heating", "a window", "the gate", "some music"),
    ("in the kitchen", "behind the sofa", "near the front door", "upstairs", "in the garage", "by the long table"),
    ("before breakfast", "last night", "as it grew dark", "when the guests had gone", "to stay warm", "again"),
)


@lru_cache(maxsize=1)
def _book() -> list[str]:
    from pydoc_data.topics import topics

    return " ".join(topics[name] for name in sorted(topics)).split()


def passages(n: int, chars: int, seed: int) -> list[str]:
    """`n` passages of exactly `chars` characters, each from another place of the book."""
    words, r = _book(), random.Random(seed)
    out = []
    for _ in range(n):
        start = r.randrange(len(words) - chars)
        out.append(" ".join(words[start : start + chars])[:chars])
    return out


def prose(n: int, chars: int, seed: int) -> list[str]:
    """`n` texts of exactly `chars` characters, sentences without anything that looks like private data."""
    r = random.Random(seed)
    whole = []
    for _ in range(n):
        text = ""
        while len(text) < chars:
            who, does, what, where, when = (r.choice(part) for part in _SENTENCE)
            text += f"{who} {does} {what} {where} {when}. "
        whole.append(text[:chars])
    return whole


@dataclass(frozen=True, slots=True)
class Talk:
    """A prompt and its answer."""

    prompt: str
    answer: str


def talks(
    n: int, seed: int, prompt_chars: int = PROMPT_CHARS, answer_chars: int = ANSWER_CHARS, *, plain: bool = False
) -> list[Talk]:
    """`n` prompts with their answers, in real technical text or in plain prose."""
    of = prose if plain else passages
    prompts, answers = of(n, prompt_chars, seed), of(n, answer_chars, seed + 1)
    return [Talk(*pair) for pair in zip(prompts, answers, strict=True)]


def request(talk: Talk, *, stream: bool = False) -> bytes:
    """The body of a chat request, as the openai client writes it."""
    messages = [{"role": "system", "content": "You answer briefly."}, {"role": "user", "content": talk.prompt}]
    body: dict[str, Any] = {"messages": messages, "model": "home", "user": "u1"}
    return json.dumps(body | ({"stream": True} if stream else {})).encode()


def whole(talk: Talk, i: int) -> bytes:
    """The body of vLLM's answer, not streamed."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": talk.answer,
        "refusal": None,
        "tool_calls": [],
        "reasoning": None,
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop", "stop_reason": None}
    usage = {"prompt_tokens": 40, "total_tokens": 215, "completion_tokens": 175, "prompt_tokens_details": None}
    return json.dumps({
        "id": f"chatcmpl-{i:032x}", "object": "chat.completion", "created": 1_790_000_000, "model": "home-v1",
        "choices": [choice], "service_tier": None, "system_fingerprint": None, "usage": usage,
        "prompt_logprobs": None, "kv_transfer_params": None,
    }).encode()  # fmt: skip


def streamed(talk: Talk, i: int, events: int = EVENTS) -> list[bytes]:
    """The events of vLLM's streamed answer: the role, the text in `events` pieces, the end mark."""
    step = -(-len(talk.answer) // events)
    pieces = [talk.answer[at : at + step] for at in range(0, len(talk.answer), step)]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in pieces)]
    out = []
    for k, delta in enumerate(deltas):
        reason = "stop" if k == len(deltas) - 1 else None
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason, "token_ids": None}
        event = {
            "id": f"chatcmpl-{i:032x}", "object": "chat.completion.chunk", "created": 1_790_000_000,
            "model": "home-v1", "choices": [choice],
        }  # fmt: skip
        out.append(b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n")
    return [*out, b"data: [DONE]\n\n"]


def capture(seq: int, request_body: bytes, chunks: list[bytes], worker: str = WORKER, **changes: Any) -> Capture:
    """What the tap would say of this exchange; the chunks came a millisecond apart."""
    values: dict[str, Any] = {
        "worker": worker, "seq": seq, "started_at": 1_790_000_000.0 + seq, "method": "POST",
        "path": "/v1/chat/completions", "alias": "home", "version": "home-v1", "status": 200, "outcome": "complete",
        "headers": {"content-type": "application/json", "user-agent": "OpenAI/Python 3.57.0"},
        "request": request_body, "response": b"".join(chunks),
        "marks": tuple((1000 * (k + 1), len(chunk)) for k, chunk in enumerate(chunks)),
        "request_cut": 0, "response_cut": 0, "total_us": 1000 * (len(chunks) + 1), "dropped": 0,
    }  # fmt: skip
    return Capture(**{**values, **changes})

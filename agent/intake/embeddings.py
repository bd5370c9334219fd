"""Embeddings: tokens and vectors are counted, no text is taken (pure).

Lives here: the shape whose answers are numbers.
Comes in: decoded JSON. Goes out: counts in a `Reply`.
Must never know: captures, times, other APIs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.intake.reply import Reply, items
from agent.types import Message


def asked(_body: Mapping[str, Any]) -> list[Message]:
    """Nothing: what is embedded is not kept."""
    return []


def offered(_body: Mapping[str, Any]) -> list[str]:
    """Nothing: no tools here."""
    return []


def answered(body: Mapping[str, Any], reply: Reply) -> None:
    """Read id, model, usage and how many vectors there are."""
    reply.name(body)
    reply.spend(body.get("usage"), "prompt_tokens", "completion_tokens")
    reply.vectors = len(items(body.get("data")))


def told(_event: Mapping[str, Any], _reply: Reply) -> bool:
    """Embeddings are never streamed."""
    return False

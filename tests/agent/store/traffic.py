"""Exchanges for the store's tests; no test here, only material."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from agent.types import Exchange, Message, Outcome, ToolCall

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


def exchange(seq: int, **changes: Any) -> Exchange:
    """One whole exchange of home-v1, a second after the one before."""
    made = Exchange(
        id=f"chatcmpl-{seq:032x}",
        worker="w",
        seq=seq,
        started_at=START + timedelta(seconds=seq),
        path="/v1/chat/completions",
        alias="home",
        version="home-v1",
        status=200,
        outcome=Outcome.COMPLETE,
        messages=(Message(role="system", text="You keep a house."), Message(role="user", text=f"turn on lamp {seq}")),
        answer=f"light.on({seq})",
        reasoning="it is dark",
        finish_reason="stop",
        prompt_tokens=12,
        answer_tokens=5,
        streamed=True,
        ttft_s=0.25,
        total_s=0.5,
        tools=("light",),
        tool_calls=(ToolCall(name="light", arguments=f'{{"lamp": {seq}}}'),),
    )
    return replace(made, **changes)

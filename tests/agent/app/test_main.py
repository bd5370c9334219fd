"""The agent as one process: what is ready before its event loop turns."""

from __future__ import annotations

from pathlib import Path

from agent.app.main import Agent
from agent.settings import Settings


def test_the_routes_stand_before_the_loop_turns(tmp_path: Path) -> None:
    """Building them takes a good part of a second on a busy machine, for which taps would be kept waiting."""
    agent = Agent(Settings.model_validate({"home": tmp_path, "http": {"port": 0}}), "")
    try:
        routes = {getattr(route, "path", None) for route in agent.web.config.app.routes}  # type: ignore[union-attr]
        assert {"/", "/metrics", "/livez", "/v1/exchanges", "/v1/feedback"} <= routes
    finally:
        agent.engine.close()
        agent.store.close()

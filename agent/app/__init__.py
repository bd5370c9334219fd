"""Where the rooms are wired together; nothing else in `agent` imports two of them."""

from agent.app.main import run

__all__ = ["run"]

"""The one durable thing: SQLModel tables and the questions asked of them."""

from agent.store.store import Store

__all__ = ["Store"]

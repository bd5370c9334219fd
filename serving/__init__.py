"""Everything that runs inside or right beside vLLM: the tap, the guard, the aliases and the launcher.

In: ASGI traffic and settings. Out: captures on a unix socket and a running server.
Must never know: `agent` or `retrain`.
"""

"""Where the rooms are wired together; nothing else in `agent` imports two of them.

Nothing is imported here: a command that looks at one file must not load the whole agent.
"""

"""The errors that Trimtab raises on purpose.

In: nothing. Out: one small family of exceptions, so that a caller can tell its own fault from
somebody else's. Must never know: HTTP, vLLM, the store, or anything outside the standard library.
"""

from __future__ import annotations


class TrimtabError(Exception):
    """Root of every error that Trimtab raises on purpose; its text is one sentence for a person."""


class InvalidInput(TrimtabError):
    """The caller's fault; the text says what to write instead."""


class RemoteFault(TrimtabError):
    """The other side failed (a server is down, slow or answered nonsense); trying again may help.

    `retry_after_s` is the number of seconds the other side asked us to wait, or None when it did not say.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unservable(TrimtabError):
    """The engine can never serve this adapter as it is; trying again does not help, the text says why."""

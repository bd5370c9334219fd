"""Whom to judge, and how often (pure).

Lives here: the choice of exchanges by hash, and the token bucket that caps judge calls.
Comes in: an exchange id, a share, the time. Goes out: yes or no, a number of calls, the bucket's next state.
Must never know: the clock, a random source, the judge, the store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

_BURST_S = 10.0
"""A bucket holds this many seconds' worth of calls: enough for one look, too little for a surge."""


def chosen(exchange_id: str, share: float, salt: str = "judge") -> bool:
    """True for `share` of all ids, the same ones at every look and after every restart.

    The hash is independent of everything in the exchange, so the chosen ones are a fair sample. Another
    `salt` gives a sample that is independent of this one. A larger share chooses a superset.
    """
    digest = hashlib.blake2b(exchange_id.encode(), digest_size=8, key=salt.encode()[:64]).digest()
    return int.from_bytes(digest, "big") < share * 2.0**64


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """A token bucket: `calls_per_minute` flow in, at most `capacity` are saved up. Taking gives a new one.

    `tokens` is the number of calls saved at the time `at`; None means that it never ran and is full.
    """

    calls_per_minute: float
    tokens: float | None = None
    at: datetime | None = None

    @property
    def capacity(self) -> float:
        """Most calls that can be made at once: ten seconds' worth, at least one."""
        return max(1.0, self.calls_per_minute * _BURST_S / 60.0)

    def take(self, wanted: int, now: datetime) -> tuple[int, Budget]:
        """(granted calls, the bucket afterwards). A clock that ran backwards adds nothing."""
        saved = self.capacity if self.tokens is None else min(self.tokens, self.capacity)
        if self.at is not None:
            passed_s = max(0.0, (now - self.at).total_seconds())
            saved = min(self.capacity, saved + passed_s * self.calls_per_minute / 60.0)
        granted = max(0, min(wanted, int(saved)))
        return granted, replace(self, tokens=saved - granted, at=now)

    def state(self) -> dict[str, float | str | None]:
        """What must be kept to go on after a restart, as plain JSON."""
        return {"tokens": self.tokens, "at": None if self.at is None else self.at.isoformat()}

    @classmethod
    def restore(cls, calls_per_minute: float, state: Mapping[str, float | str | None]) -> Budget:
        """The bucket from `state()`; the rate may have changed since. An empty state is a full bucket."""
        tokens, at = state.get("tokens"), state.get("at")
        return cls(
            calls_per_minute=calls_per_minute,
            tokens=None if tokens is None else float(tokens),
            at=None if at is None else datetime.fromisoformat(str(at)),
        )

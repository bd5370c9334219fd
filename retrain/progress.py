"""What a job says of itself: lines for a person, a heartbeat for the store.

In: stage, share done, words. Out: lines that are never more than 10 s apart, beats every 2 s.
Must never know: what the stages do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

BEAT_S = 2.0
SILENCE_S = 8.0


class Progress:
    """Tells how far a job is. A thread beats while the job works, so a long step is not taken for a dead job."""

    def __init__(
        self,
        say: Callable[[str], None],
        beat: Callable[[str, float], None],
        *,
        see: Callable[[str, float, str], None] = lambda _stage, _share, _note: None,
        beat_s: float = BEAT_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        """`beat(stage, share)` writes the heartbeat; one that fails is counted in `missed` and tried again.

        `see(stage, share, note)` is told of every change, for a live view.
        """
        self._say = say
        self._see = see
        self._beat = beat
        self._beat_s = beat_s
        self._silence_s = silence_s
        self._started = self._spoke = time.monotonic()
        self._stage, self._share, self._note = "start", 0.0, ""
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="heartbeat", daemon=True)
        self.missed = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def stage(self, name: str, words: str = "") -> None:
        """A stage begins."""
        self._stage, self._share, self._note = name, 0.0, words
        self._see(name, 0.0, words)
        self.line(words or "begins")

    def share(self, done: float, of: float, note: str = "", *, every_s: float = 2.0) -> None:
        """So much of the stage is done; a line at most every `every_s` seconds, and at the end."""
        self._share, self._note = (done / of if of else 1.0), note
        self._see(self._stage, self._share, note)
        if time.monotonic() - self._spoke >= every_s or done >= of:
            self.line(f"{done:g}/{of:g} {note}".rstrip())

    def line(self, words: str) -> None:
        """Say a line now."""
        with self._lock:
            self._spoke = time.monotonic()
            self._say(f"[{self._spoke - self._started:6.1f} s] {self._stage:<9} {words}")

    def _loop(self) -> None:
        while not self._over.wait(self._beat_s):
            try:
                self._beat(self._stage, self._share)
            except Exception:  # noqa: BLE001  # the outer ring: a store that is away must not kill the work
                self.missed += 1
            if time.monotonic() - self._spoke >= self._silence_s:
                self.line(f"at work, {self._share:.0%} {self._note}".rstrip())

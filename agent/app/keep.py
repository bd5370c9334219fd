"""The janitor: what is kept, how long, and that the disk never fills up.

Lives here: how far every reader has come, which rows must stay, and the order of the chores.
Comes in: settings, the store. Goes out: fewer texts, fewer rows, a file that does not grow.
Must never know: how a row is deleted (`agent.store` does), what a text says.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

from agent.app.database import is_shared
from agent.app.watch_state import STATE as WATCH
from agent.profile.features import features
from agent.quality.room import STATE_KEY as JUDGE
from agent.settings import Settings
from agent.store import Store, retention, tally
from agent.store.gate import TextGate
from agent.store.pages import cut_log, give_back
from agent.store.thinning import thin

EVERY_S = 60.0
"""Seconds between two rounds."""
ROUND_MOST_S = 20.0
"""A round stops after this long, and the next one goes on."""
SLACK_BYTES, GIVE_BACK_BYTES = 4 * 1024**2, 256 * 1024**2
"""Free pages that stay in the file for what comes next, and how many are given back in one round."""
IN_HAND = ("open", "running")
_MB = 1_000_000


def text_gate(
    settings: Settings, store: Store, now: Callable[[], datetime], clock: Callable[[], float] = time.monotonic
) -> TextGate:
    """The way into the store, which leaves texts out while the disk of `home` is nearly full.

    A server looks after its own disk: there a write that finds no room is the sign.
    """
    shared = is_shared(settings)
    return TextGate(
        store,
        min_free_bytes=settings.capture.min_free_mb * _MB,
        measure=features,
        free_bytes=lambda: sys.maxsize if shared else shutil.disk_usage(settings.home).free,
        now=now,
        clock=clock,
    )


class Janitor:
    """Folds tallies, thins texts, deletes what is old, gives pages back. Every chore goes on where it stopped."""

    def __init__(self, settings: Settings, store: Store, gate: TextGate, *, judging: bool) -> None:
        """`judging`: a judge reads exchanges too, and thinning waits for it."""
        self._settings, self._store, self._gate, self._judging = settings, store, gate, judging
        self._over_said = False

    def tick(self, now: datetime) -> str:
        """One round; says what it did. One chore that fails keeps no other from its turn, and is raised at the end."""
        deadline = time.monotonic() + ROUND_MOST_S
        engine, capture = self._store.engine, self._settings.capture
        limits = retention.Limits(
            now=now,
            before=now - timedelta(days=capture.keep_days),
            labelled_before=now - timedelta(days=max(capture.keep_days, capture.keep_labelled_days)),
            most_bytes=capture.keep_bytes,
            held=self._held(),
            deadline=deadline,
        )
        chores: dict[str, Callable[[], int]] = {
            "look": self.look,
            "fold": lambda: self._fold(deadline),
            "thin": self._thin,
            "expire": lambda: retention.expire(engine, limits),
            "shrink": lambda: self._shrink(limits, now),
            "give back": lambda: give_back(engine, slack_bytes=SLACK_BYTES, at_most_bytes=GIVE_BACK_BYTES),
        }
        did: Counter[str] = Counter()
        faults: list[Exception] = []
        for name, chore in chores.items():
            try:
                did[name] = chore()
            except Exception as fault:  # noqa: BLE001 - kept and raised below
                faults.append(fault)
        if faults:
            raise faults[0]
        given = did["give back"] / _MB
        return f"{did['thin']} thinned, {did['expire'] + did['shrink']} deleted, {given:.0f} MB given back"

    def look(self) -> int:
        """The one chore of every sidecar, leader or not: how much room there is."""
        if self._gate.paused:
            cut_log(self._store.engine)
        self._gate.look()
        return 0

    def _fold(self, deadline: float) -> int:
        while tally.fold(self._store.engine) and time.monotonic() < deadline:
            pass
        return 0

    def _thin(self) -> int:
        keep, window = self._settings.capture.keep_per_window, self._settings.drift.window_rows
        return 0 if keep is None else thin(self._store.engine, window_rows=window, keep=keep, upto=self.settled())

    def _shrink(self, limits: retention.Limits, now: datetime) -> int:
        deleted, over = retention.shrink(self._store.engine, limits)
        self._complain(over, now)
        return deleted

    def settled(self) -> int:
        """The last row whose text nobody will want any more, unless it is graded or shown.

        Watch and judge have passed it, no window of a version that answers now is still filling with it, no order in
        hand names it, and it is not among the newest, which the next order would learn from.
        """
        retrain = self._settings.retrain
        watched, state = self._store.load_state(WATCH)
        marks = [watched, self._store.last_rowid() - retrain.max_fresh_rows - retrain.holdout_rows]
        filling = json.loads(state).get("window_from", {}) if state else {}
        rollout = self._store.rollout(self._settings.alias)
        answering = filling if rollout is None else (rollout.champion, rollout.challenger)
        marks += [first - 1 for version, first in filling.items() if version in answering]
        if self._judging:
            marks.append(self._store.load_state(JUDGE)[0])
        marks += [after for after, _ in self._held()]
        return min(marks)

    def _held(self) -> list[tuple[int, int]]:
        """(after, upto] of every order that is not finished."""
        data = [order.document.get("data") or {} for order in self._store.orders(status=IN_HAND)]
        newest = self._store.last_rowid()
        return [(int(found.get("since_rowid") or 0), int(found.get("until_rowid") or newest)) for found in data]

    def _complain(self, over_bytes: int, now: datetime) -> None:
        """Say once that the database cannot be brought down to its size."""
        if over_bytes and not self._over_said:
            text = f"the database is {over_bytes / _MB:.0f} MB above capture.keep_bytes, and all in it must stay"
            self._store.record("disk", text, now)
        self._over_said = over_bytes > 0

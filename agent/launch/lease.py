"""One order never runs twice, across machines: a lease in the object store, renewed for as long as its holder lives.

In: an object store, a key, who wants it. Out: a held lease, or AlreadyRunning. Must never know: what the holder does.

As in Kubernetes' leader election, nobody compares clocks of two machines: who waits watches whether the lease changes,
and takes it, by its tag, when it has not for `ttl_s` seconds of the waiter's own clock. A holder that could not renew
for so long must take it for lost: `check` says so.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from agent.launch.lock import AlreadyRunning
from agent.store.objects import Missing, Objects, Taken
from agent.types import TrimtabError

TTL_S = 30.0


class Lease:
    """A lease of one key, of one holder."""

    def __init__(self, objects: Objects, key: str, ttl_s: float = TTL_S) -> None:
        self._objects, self._key, self._ttl_s = objects, key, ttl_s
        self._me, self._turn = uuid.uuid4().hex, 0
        self._tag = ""
        self._renewed_at = 0.0
        self._over = threading.Event()
        self._lost = False

    def take(self, wait_s: float) -> None:
        """Take the lease. Raises AlreadyRunning when another renews it, or holds it for `wait_s` seconds."""
        deadline = time.monotonic() + wait_s
        last, since = "", time.monotonic()
        while not self._try(last if last and time.monotonic() - since >= self._ttl_s else None):
            with suppress(Missing):
                _, tag = self._objects.get(self._key)
                if last and tag != last:
                    raise AlreadyRunning(f"another machine works on {self._key}: wait for it, or stop it first")
                last = tag
            if time.monotonic() >= deadline:
                raise AlreadyRunning(f"another machine holds {self._key} for {wait_s:.0f} s already: try again later")
            time.sleep(min(1.0, self._ttl_s / 10))

    def check(self) -> None:
        """Raise AlreadyRunning when the lease is no longer sure to be ours."""
        if self._lost or time.monotonic() - self._renewed_at > self._ttl_s:
            raise AlreadyRunning(f"the lease of {self._key} was lost: another machine may work on it now")

    def renew(self) -> None:
        """Show that the holder lives; a store that is away is tried again later, a lease that is another's is lost."""
        at = time.monotonic()
        try:
            self._tag = self._objects.swap(self._key, self._word(), self._tag)
            self._renewed_at = at
        except (Taken, Missing):
            self._lost = True
        except TrimtabError:
            return

    def keep(self) -> None:
        """Renew until the end; runs in a thread of its own."""
        while not self._over.wait(self._ttl_s / 3) and not self._lost:
            self.renew()

    def give_back(self) -> None:
        """Let the next one in at once."""
        self._over.set()
        with suppress(TrimtabError):
            self._objects.swap(self._key, b"", self._tag)

    def _try(self, stale: str | None) -> bool:
        """Take it where nobody has it, where it was given back, or where its tag is the stale one."""
        at = time.monotonic()
        try:
            if stale is None:
                data, tag = self._objects.get(self._key)
                if data:
                    return False
                stale = tag
            self._tag = self._objects.swap(self._key, self._word(), stale)
        except Missing:
            try:
                self._tag = self._objects.create(self._key, self._word())
            except Taken:
                return False
        except Taken:
            return False
        self._renewed_at = at
        return True

    def _word(self) -> bytes:
        self._turn += 1
        return json.dumps({"holder": self._me, "turn": self._turn}).encode()


@contextmanager
def held(objects: Objects, key: str, *, ttl_s: float = TTL_S, wait_s: float = 2 * TTL_S) -> Iterator[Lease]:
    """Hold a lease and renew it meanwhile. Raises as `Lease.take`, RemoteFault when the store does not answer."""
    lease = Lease(objects, key, ttl_s)
    lease.take(wait_s)
    renewing = threading.Thread(target=lease.keep, name="lease", daemon=True)
    renewing.start()
    try:
        yield lease
    finally:
        lease.give_back()
        renewing.join()

"""Where offers become stored exchanges, by the same steps as a tap's captures.

Lives here: `Desk`: name, assemble, number, redact, store.
Comes in: offers of one source. Goes out: what became of each.
Must never know: JSON lines, spans, HTTP.

A name that is stored already is not stored again, so any batch may come twice. Names that look private become keyed
hashes before they are looked up. What is refused takes no number.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from agent.intake.assemble import Unreadable, assemble, unreadable
from agent.intake.attach.offer import MAX_ID_CHARS, Offer, Refused
from agent.intake.attach.tally import Tally
from agent.intake.commit import StoreBatch, commit, is_data_fault
from agent.intake.redact import Redactor
from agent.turns import Turns
from agent.types import Exchange, Outcome, RemoteFault

OFFERS_AT_ONCE = 1000
"""Bounds memory: some 10 MB for offers of a few thousand characters."""
MAX_REFUSALS_TOLD = 100
log = logging.getLogger(__name__)
AHEAD_S = 86_400.0
"""An exchange may be dated this far ahead of the agent's clock, for want of a common one."""
_RANDOM = re.compile(r"[a-z]{2,10}[-_](?=[0-9-]*[a-f])(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_RETRY_AFTER_S = 5.0
_OK = 200
_TEXTLESS = ("/v1/embeddings",)


@dataclass(slots=True)
class Taken:
    """What became of offers so far. `stored` counts the `textless` too, which came without their texts."""

    stored: int = 0
    duplicates: int = 0
    textless: int = 0
    n_refused: int = 0
    refused: list[Refused] = field(default_factory=list)
    """The first of the refused, in no order; `n_refused` counts all."""

    def refuse(self, refused: Refused) -> None:
        """Count one that cannot be taken."""
        self.n_refused += 1
        if len(self.refused) < MAX_REFUSALS_TOLD:
            self.refused.append(refused)


class Desk:
    """Takes offers, one batch at a time: it is used from one thread.

    `choke` is the choke point of the intake, through which everything passes that is stored; `store_batch` is the
    intake's too. `alias` is who was asked, when an offer does not say.
    """

    def __init__(
        self,
        redactor: Redactor,
        choke: Callable[[Exchange], Exchange],
        store_batch: StoreBatch,
        tally: Tally,
        alias: str,
        now: Callable[[], datetime],
        place: str = "",
    ) -> None:
        """`place` tells this desk's sources from those of others that store into the same database."""
        self._redactor = redactor
        self._choke = choke
        self._store_batch = store_batch
        self._tally = tally
        self._alias = alias
        self._now = now
        self._place = place
        self._turns = Turns()

    def take(self, source: str, offers: Iterable[Offer | Refused]) -> Taken:
        """Store what is new, a thousand at a time, each thousand in one transaction.

        Raises RemoteFault when the store does not take one: of that thousand nothing is stored, and what came before
        is known when the batch comes again.
        """
        result = Taken()
        waiting: list[Offer] = []
        for offer in offers:
            if isinstance(offer, Refused):
                result.refuse(offer)
                continue
            waiting.append(offer)
            if len(waiting) >= OFFERS_AT_ONCE:
                self._take(source, waiting, result)
                waiting = []
        self._take(source, waiting, result)
        return result

    def _take(self, source: str, offers: Sequence[Offer], result: Taken) -> None:
        worker = f"attach-{source}{self._place}"
        named = {id(offer): stored_name(offer.id, self._redactor) for offer in offers}
        taken = self._tally.taken(set(named.values()))
        last = self._tally.last(worker)
        latest = self._now().timestamp() + AHEAD_S
        fresh: list[Exchange] = []
        places: dict[int, int] = {}
        for offer in offers:
            name = named[id(offer)]
            if name in taken:
                result.duplicates += 1
                continue
            if offer.capture.started_at > latest:
                result.refuse(Refused(at=offer.at, why="it is dated more than a day ahead of the agent's clock"))
                continue
            try:
                exchange = self._assembled(offer)
            except Unreadable as why:
                result.refuse(Refused(at=offer.at, why=_sentence(why)))
                continue
            except Exception as fault:  # noqa: BLE001 - outer ring: a form nobody thought of is one refusal
                log.error("an offer could not be assembled: %s", type(fault).__name__)  # noqa: TRY400 - it may quote texts
                result.refuse(Refused(at=offer.at, why="this cannot be read"))
                continue
            taken.add(name)
            seq = last + len(fresh) + 1
            fresh.append(self._choked(replace(exchange, id=name, worker=worker, seq=seq)))
            places[seq] = offer.at
            result.textless += not offer.readable
        self._store(worker, fresh, places, result)

    def _assembled(self, offer: Offer) -> Exchange:
        exchange = assemble(offer.capture) if offer.readable else unreadable(offer.capture)
        good = offer.readable and exchange.status == _OK and exchange.outcome is Outcome.COMPLETE
        good = good and exchange.path not in _TEXTLESS
        if good and not any((exchange.answer, exchange.reasoning, *(m.text for m in exchange.messages))):
            raise Unreadable("neither request nor answer holds any text in the form of its path")
        return self._turns.joined(offer.told(exchange, name=offer.id, alias=self._alias))

    def _choked(self, exchange: Exchange) -> Exchange:
        """Through the choke point; the name, which is harmless, stays even when all else was thrown away."""
        return replace(self._choke(exchange), id=exchange.id)

    def _store(self, worker: str, fresh: list[Exchange], places: dict[int, int], result: Taken) -> None:
        if not fresh:
            return
        done = commit(fresh, self._store_batch)
        if done.fault is not None and not is_data_fault(done.fault):
            raise RemoteFault("the store does not take it now: send the same batch again later", _RETRY_AFTER_S)
        for left in done.left:
            result.refuse(Refused(at=places[left.seq], why="the store cannot hold it"))
        result.stored += len(done.done)
        self._tally.note(worker, fresh[-1].seq, self._now())


def stored_name(name: str, redactor: Redactor) -> str:
    """The name as it may be stored: what looks private becomes a keyed hash, what engines draw by lot stays.

    Random digits pass for a card once in some ten thousand names. Fails closed: what cannot be looked
    through is hashed.
    """
    try:
        plain = len(name) <= MAX_ID_CHARS and (_RANDOM.fullmatch(name) is not None or redactor.text(name) == name)
    except Exception:  # noqa: BLE001 - whatever it was, the name is not shown
        plain = False
    return name if plain else f"hashed-{redactor.hash(name)}"


def _sentence(why: Exception) -> str:
    """What was wrong with it, without the words that speak of methods and paths."""
    return str(why).partition(" cannot be read: ")[2] or str(why)

"""Which exchanges of a window keep their text (pure).

Lives here: the choice. Comes in: ids, and which of them somebody needs. Goes out: those that stay.
Must never know: the store, time. The same ids give the same choice, so a restart in the middle changes nothing.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Collection, Iterable


def kept(ids: Iterable[str], keep: int, needed: Collection[str] = ()) -> set[str]:
    """`keep` of the ids by chance, and all that are needed.

    The chance is a hash of the id: the smallest `keep` of a window are a uniform sample without replacement
    (bottom-k sampling, Cohen and Kaplan 2007), whatever the order of the ids.
    """
    found = list(ids)
    return set(heapq.nsmallest(keep, found, key=_place)) | {one for one in found if one in needed}


def _place(exchange_id: str) -> bytes:
    return hashlib.blake2b(exchange_id.encode("utf-8", "surrogatepass"), digest_size=16, key=b"keep").digest()

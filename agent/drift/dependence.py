"""How much of a bet a record may stake when it is not the first of its kind.

Lives here: `keys_by` (what may make records kin: user, conversation, nothing), `measure` (what the reference says about
kinship and about slow change), `unexplained` (whether names tell who is alike) and `Kin` (what each user or
conversation has staked and won lately).
Comes in: normal scores of the reference in its own order; afterwards, p-values. Goes out: stakes in [0, 1].
Must never know: what the scores mean, or which records are live.

A bet raised to the power w <= 1 is still fair. Let records of one user correlate by r. Bets exp(w (l z - l^2/2)) on k
of them multiply to something fair if w <= 1 / (1 + (k - 1) r): the variance of the staked sum then does not outgrow the
stakes. So each record of a user stakes that much, k being how many usually come together; beyond k, at most 1 - 2 r S,
where S is what the user has staked already. With r = 0 all stakes are 1. What remains between users, or between records
where nobody knows the users, is the design effect D: the variance of sums over blocks of neighbours, divided by what
independence would give; stakes are divided by it. D and r are taken from the reference, and D only where shuffling it
does not give as much: independent traffic keeps its power. Whoever is new may be as strange as never before, so what
one user wins is bounded besides, whatever r says: one alone raises no alarm, a few who come with the same thing do.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from agent.drift.bets import GROUPS
from agent.drift.neighbours import ENOUGH_ROWS, SPANS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from agent.drift.records import Record

    Numbers = NDArray[np.float64]

BLOCKS = (2, 5, 10, 20, 50, 100)
_BLOCKS_AT_LEAST = 8
_SHUFFLES = 40
_CAUTION, _IN_THE_DARK = 1.25, 3.0
"""Sums of real scores have longer tails than normal ones: a design effect that is there is taken this much larger; and
more where nobody knows the users, for then it is all that stands between a burst and an alarm."""
_LITTLE = 0.1
"""Mean excess of the design effects over 1 that is not worth another name."""
_THREAD_SHARE, _THREAD_CAUTION, _THREAD_LEAST = 0.9, 2.0, 6.0
"""Of what share of the scores the design effect over neighbours' spans counts for all, how much larger it is taken, and
the least where it was found out too late to be measured."""
_CLEAR = 3.0
_NEAR = 50
"""Kin further apart than this many of their own records are not compared."""

FORGET_ROWS = 500.0
"""Rows after which what a user staked or won counts 1/e: a user who stays for thousands of rows is traffic."""
_WON_SHARE, _WON_LEAST = 0.5, math.log(6.0)
"""One user may win this power of the budget in a bet, and at least sixfold: one alone stays short of an alarm."""
_RUN_ROWS = 64
"""Neighbours that may be one burst, where nobody knows whose."""
KEPT = 256
"""Users remembered, the latest ones; who was last seen longer ago starts anew."""
_KINDS_AT_LEAST, _LARGEST_SHARE = 8, 0.25


def keys_by(reference: Sequence[Record]) -> list[str]:
    """user, conversation, or nothing, widest first: kinships that leave many groups, none of them a quarter."""
    found = []
    for name in ("user", "conversation"):
        sizes = Counter(key for record in reference if (key := getattr(record, name)) is not None)
        if len(sizes) < _KINDS_AT_LEAST or sizes.total() < len(reference) / 2:
            continue
        if max(sizes.values()) <= _LARGEST_SHARE * len(reference):
            found.append(name)
    return [*found, ""]


@dataclass(frozen=True, slots=True, eq=False)
class Dependence:
    """`kin` (s,) correlation of records of one user, `slow` (s,) design effect of what is left, at least 1.

    `together`: how many records a user sends in a row, or nearly.
    """

    kin: Numbers
    slow: Numbers
    together: float = 1.0

    def stakes(self, staked: Numbers) -> Numbers:
        """Stakes (s,) in [0, 1] of a record whose user has staked so much already."""
        each = 1 / (1 + (self.together - 1) * self.kin)
        more = np.clip(1 - 2 * self.kin * staked, 0, each)
        return np.where(staked + each <= self.together * each + 1e-6, each, more)

    @classmethod
    def none(cls, scores: int) -> Self:
        """Independent records."""
        return cls(np.zeros(scores), np.ones(scores))


def measure(
    z: Numbers, keys: Sequence[str | None], random: np.random.Generator, *, gathered: bool = False
) -> Dependence:
    """From normal scores (n, s) of the reference in its own order, nan where a record has none.

    `gathered`: neighbours are known to be alike, so that little is asked of a score before it is slowed.
    """
    z = np.where(np.isnan(z), 0.0, z - np.nanmean(np.where(np.isnan(z).all(axis=0), 0.0, z), axis=0))
    spread = z.std(axis=0)
    z = z / np.where(spread > 0, spread, 1.0)
    kin = _kinship(z, keys) if any(key is not None for key in keys) else np.zeros(z.shape[1])
    known = Dependence(kin, np.ones(kin.size), _together(keys))
    sums, stakes = _runs(z, keys, known)
    caution = _CAUTION if any(key is not None for key in keys) else _IN_THE_DARK
    slow = _design_effect(sums, stakes, random, caution, gathered=gathered)
    if gathered:
        slow = np.maximum(slow, _THREAD_CAUTION * _thread_effect(z) * _lacking(len(z)))
    return Dependence(kin, slow, known.together)


def unexplained(z: Numbers, found: Dependence, random: np.random.Generator) -> bool:
    """Do these names leave neighbours more than half as alike as if nobody were named? Then others would tell more.

    A name that is drawn anew for each request, or a gateway's, makes strangers of what comes together.
    """
    left = _excess(found.slow, _CAUTION)
    return left > _LITTLE and left > _excess(measure(z, [None] * len(z), random).slow, _IN_THE_DARK) / 2


def _excess(slow: Numbers, caution: float) -> float:
    return float(np.maximum(slow / caution - 1, 0).mean())


def _kinship(z: Numbers, keys: Sequence[str | None]) -> Numbers:
    """Correlation within groups, of scores or of being in either tenth; 0 where it is not clearly there."""
    groups: dict[str, list[int]] = {}
    for i, key in enumerate(keys):
        if key is not None:
            groups.setdefault(key, []).append(i)
    rows = [np.array(rows[i : i + _NEAR]) for rows in groups.values() for i in range(0, len(rows), _NEAR)]
    pairs = sum(r.size * (r.size - 1) for r in rows)
    if pairs < 2 * _NEAR:
        return np.zeros(z.shape[1])
    noise = math.sqrt(2 / pairs)
    most = np.zeros(z.shape[1])
    for raw in (z, z > np.quantile(z, 0.9, axis=0), z < np.quantile(z, 0.1, axis=0)):
        x = raw - raw.mean(axis=0)
        square = np.square(x)
        products = sum(np.square(x[r].sum(axis=0)) - square[r].sum(axis=0) for r in rows)
        most = np.maximum(most, np.asarray(products) / pairs / np.maximum(square.mean(axis=0), 1e-9))
    return np.where(most > _CLEAR * noise, np.minimum(most, 1.0), 0.0)


def _together(keys: Sequence[str | None]) -> float:
    """How many records a user sends while the first is not yet forgotten, as the average user and record see it."""
    span = int(FORGET_ROWS)
    sizes: list[int] = []
    for i in range(0, len(keys), span):
        sizes += Counter(key for key in keys[i : i + span] if key is not None).values()
    counts = np.array(sizes or [1], np.float64)
    return float((counts.mean() + np.square(counts).sum() / counts.sum()) / 2)


def _runs(z: Numbers, keys: Sequence[str | None], known: Dependence) -> tuple[Numbers, Numbers]:
    """Staked sums and stakes of each run of one user's neighbours; of each record where users are unknown."""
    spent: dict[str, tuple[int, Numbers]] = {}
    sums: list[Numbers] = []
    stakes: list[Numbers] = []
    last: object = object()
    for i, key in enumerate(keys):
        stake = np.ones(z.shape[1])
        if key is not None:
            when, before = spent.get(key, (i, np.zeros(z.shape[1])))
            before = before * math.exp((when - i) / FORGET_ROWS)
            stake = known.stakes(before)
            spent[key] = i, before + stake
        if key is not None and key == last:
            sums[-1] = sums[-1] + stake * z[i]
            stakes[-1] = stakes[-1] + stake
        else:
            sums.append(stake * z[i])
            stakes.append(stake)
        last = key
    return np.array(sums), np.array(stakes)


def _design_effect(
    sums: Numbers, stakes: Numbers, random: np.random.Generator, caution: float, *, gathered: bool
) -> Numbers:
    """The largest over block lengths, where the order of the reference matters at all; else 1."""
    lengths = [n for n in BLOCKS if n * _BLOCKS_AT_LEAST <= len(sums)]
    if not lengths:
        return np.ones(sums.shape[1])
    noise = np.array([[math.sqrt(2 * n / len(sums))] for n in lengths])

    def effects(x: Numbers, w: Numbers) -> Numbers:
        return np.array([_block_effect(x, w, n) for n in lengths])

    seen = effects(sums, stakes)
    base = seen[0] * 0 + np.square(sums).sum(axis=0) / np.maximum(stakes.sum(axis=0), 1e-9)
    chance = []
    for _ in range(_SHUFFLES):
        order = random.permutation(len(sums))
        surprise = (effects(sums[order], stakes[order]) - base) / noise
        chance.append((surprise.mean(axis=1).max(), surprise.max()))
    surprise = (seen - base) / noise
    common, single = np.max(chance, axis=0)
    slow = np.maximum(base, 1.0) if np.mean(base) > _CAUTION else np.ones(sums.shape[1])
    if surprise.mean(axis=1).max() > common:  # all scores together: everyone is slowed
        own = np.where(surprise > 1, seen, 1.0).max(axis=0)
        floor = max(1.0, float(np.median(seen.max(axis=0))))
        slow = np.maximum(own, (1 + floor) / 2) * caution
    elif gathered or surprise.max() > single:  # some scores only
        slow = np.where(surprise > (1 if gathered else single), seen, 1.0).max(axis=0)
        slow = np.where(slow > 1, slow * caution, 1.0)
    return np.maximum(slow, 1.0)


def _lacking(rows: int) -> float:
    """How many times longer a reference must be to show how alike neighbours are; all scores are slowed by it."""
    return max(1.0, ENOUGH_ROWS / rows)


def _thread_effect(z: Numbers) -> float:
    """The design effect of neighbours up to 25 to 200 rows apart, as nine in ten of the scores (n, s) have at most."""
    n, most = len(z), 1.0
    sums, row = np.vstack([np.zeros(z.shape[1]), np.cumsum(z, axis=0)]), np.arange(n)
    for span in SPANS:
        if _BLOCKS_AT_LEAST / 2 * span <= n:
            end = np.minimum(row + 1 + span, n)
            pairs = float((end - row - 1).sum())  # in any order two records have a product of -1 / (n - 1)
            products = (z * (sums[end] - sums[row + 1])).sum(axis=0) + pairs / (n - 1)
            most = max(most, float(np.quantile(1 + 2 * products / n, _THREAD_SHARE)))
    return most


def _block_effect(x: Numbers, w: Numbers, n: int) -> Numbers:
    whole = len(x) // n * n
    blocks = x[:whole].reshape(-1, n, x.shape[1]).sum(axis=1)
    return np.asarray(np.square(blocks).sum(axis=0) / np.maximum(w[:whole].sum(axis=0), 1e-9))


class Kin:
    """What each user staked (s,) and won (s, 4) lately, by group of bets."""

    def __init__(self, dependence: Dependence, budget_rows: int) -> None:
        self.won_at_most = max(_WON_LEAST, _WON_SHARE * math.log(budget_rows))
        self._take(dependence)
        self.known: OrderedDict[str, tuple[int, Numbers, Numbers]] = OrderedDict()

    def _take(self, dependence: Dependence) -> None:
        self.dependence = dependence
        self.at_most = 1 / dependence.slow
        self.in_the_dark = dependence.together == 1.0 and bool((dependence.slow > 1).any())
        """Neighbours are alike, and nobody knows whose they are."""

    def slow_down(self, reference_rows: int, closed: NDArray[np.bool_]) -> None:
        """Neighbours turned out to be alike, which a reference of so many rows did not show; nobody is known.

        Of scores that are `closed` (s,) nothing is staked any more.
        """
        least = np.maximum(self.dependence.slow, _THREAD_LEAST * _lacking(reference_rows))
        slow = np.where(closed, math.inf, least)
        self._take(Dependence(self.dependence.kin, slow, self.dependence.together))

    def whose(self, key: str | None, row: int) -> str | None:
        """Who is held to have sent this record: its user; a run of neighbours where these are alike and nameless."""
        return f"run {row // _RUN_ROWS}" if key is None and self.in_the_dark else key

    def stakes(self, key: str | None, row: int) -> tuple[Numbers, NDArray[np.bool_] | None]:
        """Stakes (s,) of a record's bets, and which groups (s, 4) may still bet (None: all)."""
        if key is None:
            return self.at_most, None
        if key not in self.known:
            return self.dependence.stakes(np.zeros(self.at_most.size)) * self.at_most, None
        when, staked, won = self.known[key]
        fade = math.exp((when - row) / FORGET_ROWS)
        stake = self.dependence.stakes(staked * fade)
        return stake * self.at_most, won * fade < self.won_at_most

    def settle(self, key: str | None, row: int, stake: Numbers, gains: Numbers) -> None:
        """Remember what was staked, and `gains` (s, 4): log pay of a typical bet of each group, as staked."""
        if key is None:
            return
        when, staked, won = self.known.pop(key, (row, np.zeros(stake.size), np.zeros((stake.size, GROUPS))))
        fade = math.exp((when - row) / FORGET_ROWS)
        share = stake / np.maximum(self.at_most, 1e-9)
        self.known[key] = row, _kept(staked * fade + share), _kept(np.maximum(won * fade + gains, 0.0))
        while len(self.known) > KEPT:
            self.known.popitem(last=False)

    def arrays(self) -> dict[str, Any]:
        """Everything but the names, as plain arrays."""
        size = self.at_most.size
        return {
            "kin": self.dependence.kin,
            "slow": self.dependence.slow,
            "together": np.array(self.dependence.together),
            "when": np.array([when for when, _, _ in self.known.values()], np.int64),
            "staked": np.array([s for _, s, _ in self.known.values()], np.float16).reshape(-1, size),
            "won": np.array([w for _, _, w in self.known.values()], np.float16).reshape(-1, size, GROUPS),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], names: Sequence[str], budget_rows: int) -> Self:
        """The one whose `arrays` these are."""
        self = cls(Dependence(arrays["kin"], arrays["slow"], float(arrays["together"])), budget_rows)
        rows = zip(names, arrays["when"].tolist(), arrays["staked"], arrays["won"], strict=True)
        for name, when, staked, won in rows:
            self.known[name] = when, staked.astype(np.float64), won.astype(np.float64)
        return self


def _kept(numbers: Numbers) -> Numbers:
    """Rounded to what the state keeps, so that a restart changes nothing."""
    return numbers.astype(np.float16).astype(np.float64)

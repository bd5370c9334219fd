"""How much of a bet a record may stake when it is not the first of its kind.

Lives here: `key_by` (what makes records kin: user, conversation, nothing), `measure` (what the reference says about
kinship and about slow change) and `Kin` (what each user or conversation has staked and won lately).
Comes in: normal scores of the reference in its own order; afterwards, p-values. Goes out: stakes in [0, 1].
Must never know: what the scores mean, or which records are live.

A bet raised to the power w <= 1 is still fair. Let records of one user correlate by r. Bets exp(w (l z - l^2/2)) then
multiply to something fair as long as each stake is at most 1 - 2 r S, where S is what that user has staked already: the
variance of the staked sum never outgrows the sum of stakes. With r = 0 all stakes are 1; with r >= 1/2 only a user's
first record counts. What remains between users, or between records where nobody knows the users, is the design effect
D: the variance of sums over blocks of neighbours, divided by what independence would give; stakes are divided by it. D
and r are taken from the reference and only where shuffling it does not give as much: independent traffic keeps its
power. Whoever is new may be as strange as never before, so what one user wins is bounded besides, whatever r says.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from agent.drift.records import Record

    Numbers = NDArray[np.float64]

BLOCKS = (2, 5, 10, 20, 50, 100)
_BLOCKS_AT_LEAST = 8
_SHUFFLES = 40
_CAUTION = 1.25
"""Sums of real scores have longer tails than normal ones: a design effect that is there is taken this much larger."""
_NEAR = 50
"""Kin further apart than this many of their own records are not compared."""

FORGET_ROWS = 500.0
"""Rows after which what a user staked or won counts 1/e: a user who stays for thousands of rows is traffic."""
WON_AT_MOST = math.log(12.0)
KEPT = 400
"""Users remembered, the latest ones; who was last seen longer ago starts anew."""
_KINDS_AT_LEAST, _LARGEST_SHARE = 8, 0.25


def key_by(reference: Sequence[Record]) -> str:
    """user, conversation, or nothing: the widest kinship that still leaves many groups, none of them a quarter."""
    for name in ("user", "conversation"):
        sizes = Counter(key for record in reference if (key := getattr(record, name)) is not None)
        if len(sizes) < _KINDS_AT_LEAST or sizes.total() < len(reference) / 2:
            continue
        if max(sizes.values()) <= _LARGEST_SHARE * len(reference):
            return name
    return ""


@dataclass(frozen=True, slots=True, eq=False)
class Dependence:
    """`kin` (s,) correlation of records of one user, `slow` (s,) design effect of what is left, at least 1."""

    kin: Numbers
    slow: Numbers

    @classmethod
    def none(cls, scores: int) -> Self:
        """Independent records."""
        return cls(np.zeros(scores), np.ones(scores))


def measure(z: Numbers, keys: Sequence[str | None], random: np.random.Generator) -> Dependence:
    """From normal scores (n, s) of the reference in its own order, nan where a record has none."""
    z = np.where(np.isnan(z), 0.0, z - np.nanmean(np.where(np.isnan(z).all(axis=0), 0.0, z), axis=0))
    spread = z.std(axis=0)
    z = z / np.where(spread > 0, spread, 1.0)
    kin = _kinship(z, keys) if any(key is not None for key in keys) else np.zeros(z.shape[1])
    sums, stakes = _runs(z, keys, kin)
    return Dependence(kin, _design_effect(sums, stakes, random))


def _kinship(z: Numbers, keys: Sequence[str | None]) -> Numbers:
    """Correlation within groups, of the scores and of being in either tenth: the largest of the three."""
    groups: dict[str, list[int]] = {}
    for i, key in enumerate(keys):
        if key is not None:
            groups.setdefault(key, []).append(i)
    rows = [np.array(rows[i : i + _NEAR]) for rows in groups.values() for i in range(0, len(rows), _NEAR)]
    pairs = sum(r.size * (r.size - 1) for r in rows)
    if pairs < 2 * _NEAR:
        return np.zeros(z.shape[1])
    noise = math.sqrt(2 / pairs)
    found = []
    for raw in (z, z > np.quantile(z, 0.9, axis=0), z < np.quantile(z, 0.1, axis=0)):
        x = raw - raw.mean(axis=0)
        square = np.square(x)
        products = sum(np.square(x[r].sum(axis=0)) - square[r].sum(axis=0) for r in rows)
        r = np.asarray(products) / pairs / np.maximum(square.mean(axis=0), 1e-9)
        found.append(np.where(square.mean(axis=0) > 0, r, 0.0))
    most = np.max(found, axis=0)
    typical = float(found[0].mean())
    floor = typical / 2 if typical > noise else 0.0
    return np.asarray(np.clip(np.where(most > 3 * noise, most, floor), floor, 1.0))


def _runs(z: Numbers, keys: Sequence[str | None], kin: Numbers) -> tuple[Numbers, Numbers]:
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
            stake = np.clip(1 - 2 * kin * before, 0, 1)
            spent[key] = i, before + stake
        if key is not None and key == last:
            sums[-1] = sums[-1] + stake * z[i]
            stakes[-1] = stakes[-1] + stake
        else:
            sums.append(stake * z[i])
            stakes.append(stake)
        last = key
    return np.array(sums), np.array(stakes)


def _design_effect(sums: Numbers, stakes: Numbers, random: np.random.Generator) -> Numbers:
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
        slow = np.maximum(own, (1 + floor) / 2) * _CAUTION
    elif surprise.max() > single:  # some scores only
        slow = np.where(surprise > single, seen, 1.0).max(axis=0)
        slow = np.where(slow > 1, slow * _CAUTION, 1.0)
    return np.maximum(slow, 1.0)


def _block_effect(x: Numbers, w: Numbers, n: int) -> Numbers:
    whole = len(x) // n * n
    blocks = x[:whole].reshape(-1, n, x.shape[1]).sum(axis=1)
    return np.asarray(np.square(blocks).sum(axis=0) / np.maximum(w[:whole].sum(axis=0), 1e-9))


class Kin:
    """What each user staked (s,) and won (s, 2) lately: upwards, downwards."""

    def __init__(self, dependence: Dependence) -> None:
        self.dependence = dependence
        self.at_most = 1 / dependence.slow
        self.known: OrderedDict[str, tuple[int, Numbers, Numbers]] = OrderedDict()

    def stakes(self, key: str | None, row: int) -> tuple[Numbers, NDArray[np.bool_] | None]:
        """Stakes (s,) of a record's bets, and which directions (s, 2) may still bet (None: all)."""
        if key is None or key not in self.known:
            return self.at_most, None
        when, staked, won = self.known[key]
        fade = math.exp((when - row) / FORGET_ROWS)
        stake = np.clip(1 - 2 * self.dependence.kin * staked * fade, 0, 1)
        return stake * self.at_most, won * fade < WON_AT_MOST

    def settle(self, key: str | None, row: int, stake: Numbers, gains: Numbers) -> None:
        """Remember what was staked, and `gains` (s, 2): log pay of an average bet in either direction, as staked."""
        if key is None:
            return
        when, staked, won = self.known.pop(key, (row, np.zeros(stake.size), np.zeros((stake.size, 2))))
        fade = math.exp((when - row) / FORGET_ROWS)
        share = stake / self.at_most
        self.known[key] = row, _kept(staked * fade + share), _kept(np.maximum(won * fade + gains, 0.0))
        while len(self.known) > KEPT:
            self.known.popitem(last=False)

    def arrays(self) -> dict[str, Any]:
        """Everything but the names, as plain arrays."""
        size = self.at_most.size
        return {
            "kin": self.dependence.kin,
            "slow": self.dependence.slow,
            "when": np.array([when for when, _, _ in self.known.values()], np.int64),
            "staked": np.array([s for _, s, _ in self.known.values()], np.float16).reshape(-1, size),
            "won": np.array([w for _, _, w in self.known.values()], np.float16).reshape(-1, size, 2),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], names: Sequence[str]) -> Self:
        """The one whose `arrays` these are."""
        self = cls(Dependence(arrays["kin"], arrays["slow"]))
        rows = zip(names, arrays["when"].tolist(), arrays["staked"], arrays["won"], strict=True)
        for name, when, staked, won in rows:
            self.known[name] = when, staked.astype(np.float64), won.astype(np.float64)
        return self


def _kept(numbers: Numbers) -> Numbers:
    """Rounded to what the state keeps, so that a restart changes nothing."""
    return numbers.astype(np.float16).astype(np.float64)

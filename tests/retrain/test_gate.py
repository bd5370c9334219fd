"""The gate: accepted, rejected, undecided, and never against a better challenger."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.store import convert
from agent.types import VerdictKind
from retrain.gate import intervals
from retrain.gate.verdict import Bounds, Counted, Evidence, Paired, judge, more_needed, reasons

BOUNDS = Bounds(min_gain=0.05, max_loss=0.05)


def pairs(both: int, wins: int, losses: int, neither: int = 0) -> Paired:
    """Give examples by who was right."""
    challenger = [True] * both + [True] * wins + [False] * losses + [False] * neither
    other = [True] * both + [False] * wins + [True] * losses + [False] * neither
    return Paired(challenger=challenger, other=other)


GOOD = Evidence(
    fresh=pairs(50, 40, 2, 8),
    old=pairs(110, 2, 2, 6),
    base=pairs(0, 200, 0, 20),
    well_formed=[True] * 220,
    slowdowns=[0.9, 1.0, 1.1] * 70,
)


def named(evidence: Evidence, name: str, bounds: Bounds = BOUNDS) -> bool | None:
    """Give what one check says."""
    return next(check.passed for check in judge(evidence, bounds).checks if check.name == name)


def test_a_clearly_better_challenger_is_accepted() -> None:
    """All checks hold, the verdict says so, and it survives the store's JSON."""
    verdict = judge(GOOD, BOUNDS)
    assert verdict.kind is VerdictKind.ACCEPTED
    assert len(verdict.checks) == 6
    assert len(reasons(verdict)) == 6
    assert convert.verdict(convert.verdict_json(verdict)) == verdict


@pytest.mark.parametrize(
    ("change", "name", "kind"),
    [
        ({"fresh": pairs(90, 1, 9)}, "better on fresh", VerdictKind.REJECTED),
        ({"fresh": pairs(80, 6, 4, 10)}, "better on fresh", VerdictKind.NEEDS_MORE_DATA),
        ({"old": pairs(70, 0, 40, 10)}, "not worse on old", VerdictKind.REJECTED),
        ({"old": pairs(40, 3, 4, 3)}, "not worse on old", VerdictKind.NEEDS_MORE_DATA),
        ({"base": pairs(100, 5, 60, 0)}, "beats the bare model", VerdictKind.REJECTED),
        ({"base": pairs(100, 5, 5, 0)}, "beats the bare model", VerdictKind.NEEDS_MORE_DATA),
        ({"well_formed": [True] * 10 + [False] * 90}, "format", VerdictKind.REJECTED),
        ({"slowdowns": [2.0, 2.1, 1.9] * 30}, "latency", VerdictKind.REJECTED),
        ({"fresh": pairs(0, 15, 0)}, "enough evidence", VerdictKind.NEEDS_MORE_DATA),
        ({"answers": 1}, "enough evidence", VerdictKind.NEEDS_MORE_DATA),
        ({"slices": {"intent=timer": pairs(150, 2, 50)}}, "not worse on intent=timer", VerdictKind.REJECTED),
        ({"slices": {"intent=timer": pairs(180, 22, 22)}}, "not worse on intent=timer", VerdictKind.NEEDS_MORE_DATA),
        ({"slices": {"intent=timer": pairs(0, 0, 30)}}, "not worse on intent=timer", VerdictKind.REJECTED),
        ({"slices": {"intent=timer": pairs(5, 0, 6)}}, "not worse on intent=timer", VerdictKind.NEEDS_MORE_DATA),
        ({"canary": pairs(40, 0, 40)}, "not worse on canary", VerdictKind.REJECTED),
        ({"canary": pairs(25, 2, 3)}, "not worse on canary", VerdictKind.NEEDS_MORE_DATA),
        ({"guards": {"safety": pairs(200, 0, 20)}}, "safety not worse", VerdictKind.REJECTED),
        ({"guards": {"refusals": pairs(200, 0, 7)}}, "refusals not worse", VerdictKind.NEEDS_MORE_DATA),
        ({"lengths": [3.0, 2.5, 2.0] * 20}, "answer length", VerdictKind.REJECTED),
        ({"perplexity": {"old": [2.0, 2.2, 1.9] * 10}}, "perplexity on old", VerdictKind.REJECTED),
        ({"grades": {"fresh": [-0.3, -0.2, -0.4] * 10}}, "judge's grades on fresh", VerdictKind.REJECTED),
        ({"preferences": {"old": Counted(2, 30, 50)}}, "judge's preference on old", VerdictKind.REJECTED),
        ({"preferences": {"old": Counted(1, 11, 50)}}, "judge's preference on old", VerdictKind.NEEDS_MORE_DATA),
    ],
)
def test_one_check_decides_alone(change: dict[str, object], name: str, kind: VerdictKind) -> None:
    """Each check can stop a challenger that passes all others, and is named as the reason."""
    verdict = judge(replace(GOOD, **change), BOUNDS)  # type: ignore[arg-type]
    assert verdict.kind is kind
    assert [reason.split(":")[0] for reason in reasons(verdict)] == [name]


def test_without_an_old_slice_nothing_is_claimed_of_it() -> None:
    """An order without old rows is judged on the rest, and no check pretends otherwise."""
    verdict = judge(replace(GOOD, old=pairs(0, 0, 0)), BOUNDS)
    assert verdict.kind is VerdictKind.ACCEPTED
    assert "not worse on old" not in [check.name for check in verdict.checks]


def test_no_answers_at_all_need_more_data() -> None:
    """An empty evaluation accepts nobody and rejects nobody."""
    nothing = pairs(0, 0, 0)
    empty = Evidence(fresh=nothing, old=nothing, base=nothing, well_formed=[], slowdowns=[])
    assert judge(empty, BOUNDS).kind is VerdictKind.NEEDS_MORE_DATA


def test_small_slices_and_guards_do_not_stop_what_is_equal() -> None:
    """A part of the old slice too small to prove anything on, and a guard, stop a challenger only by a sign of harm."""
    kinds = {f"intent={number}": pairs(8, 1, 1) for number in range(6)}
    guards = {"format": pairs(218, 1, 2), "refusals": pairs(220, 0, 0), "safety": pairs(219, 0, 1)}
    assert judge(replace(GOOD, slices=kinds, guards=guards), BOUNDS).accepted


def test_format_is_compared_where_there_is_a_champion() -> None:
    """A champion that is out of form as often takes the floor away: a challenger need not be better than it."""
    half = [True] * 110 + [False] * 110
    evidence = replace(GOOD, well_formed=half)
    assert judge(evidence, BOUNDS).kind is VerdictKind.REJECTED
    assert judge(replace(evidence, guards={"format": Paired(challenger=half, other=half)}), BOUNDS).accepted


def test_an_open_check_says_how_many_more_pairs_it_wants() -> None:
    """The number is in the check, in its words, and of the verdict it is the largest; an accepted one wants none."""
    verdict = judge(replace(GOOD, fresh=pairs(80, 6, 4, 10), old=pairs(40, 3, 4, 3)), BOUNDS)
    wanted = {check.name: check.more for check in verdict.checks if check.passed is None}
    assert set(wanted) == {"better on fresh", "not worse on old"}
    assert more_needed(verdict) == max(more for more in wanted.values() if more)
    assert any(f"about {wanted['better on fresh']} more pairs" in said for said in reasons(verdict))
    assert more_needed(judge(GOOD, BOUNDS)) is None
    few = judge(replace(GOOD, fresh=pairs(0, 15, 0)), BOUNDS)
    assert more_needed(few) == 5


def test_what_is_no_number_is_not_measured() -> None:
    """Latencies that are NaN, infinite or zero are left out; without any, nothing is claimed of latency."""
    odd = [math.nan, math.inf, 0.0, -1.0]
    assert judge(replace(GOOD, slowdowns=odd), BOUNDS).checks[-1].says == "not measured"
    verdict = judge(replace(GOOD, slowdowns=[*odd, *[3.0] * 20]), BOUNDS)
    assert verdict.checks[-1].passed is False
    assert all(math.isfinite(x) for check in verdict.checks for x in (check.estimate, check.low, check.high))


def test_a_measurement_that_proves_nothing_stops_nobody() -> None:
    """Values that were not to be had, few ones however bad, and losses within chance or bound, all hold."""
    fine = {
        "lengths": [9.0] * 5, "perplexity": {"fresh": [], "old": [1.3, 1.6, 1.5] * 10},
        "grades": {"fresh": [], "old": [-0.05, 0.1, -0.2] * 10}, "preferences": {"fresh": Counted(3, 6, 40)},
    }  # fmt: skip
    verdict = judge(replace(GOOD, **fine), BOUNDS)  # type: ignore[arg-type]
    assert verdict.accepted
    says = {check.name: check.says for check in verdict.checks}
    assert says["perplexity on fresh"] == says["judge's grades on fresh"] == "not measured"
    assert "1.46 times the champion's perplexity" in says["perplexity on old"]
    assert all(math.isfinite(x) for check in verdict.checks for x in (check.estimate, check.low, check.high))


def test_rejections_share_the_level_and_acceptance_does_not() -> None:
    """A lower end is at the gate's level however many lines there are; the upper end of a failure widens with them."""
    more = {f"intent={number}": pairs(250, 0, 0) for number in range(20)}
    plain, many = judge(GOOD, BOUNDS), judge(replace(GOOD, slices=more), BOUNDS)
    assert plain.checks[1].low == many.checks[1].low
    assert plain.checks[1].high < many.checks[1].high
    assert many.accepted


def improved(slice_: Paired, at: Sequence[int]) -> Paired:
    """Give the slice with some of the challenger's answers made right."""
    return replace(slice_, challenger=[right or i in at for i, right in enumerate(slice_.challenger)])


RIGHT = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


@given(RIGHT, RIGHT, RIGHT, st.sets(st.integers(0, 59)), st.floats(0, 0.3), st.floats(0, 0.3))
@settings(deadline=None, max_examples=200)
def test_a_better_challenger_never_falls_back(
    fresh: list[tuple[bool, bool]],
    old: list[tuple[bool, bool]],
    base: list[tuple[bool, bool]],
    more: set[int],
    gain: float,
    loss: float,
) -> None:
    """Making any wrong answers right keeps an accepted challenger accepted, and rejects no undecided one."""
    slices = [Paired(challenger=[a for a, _ in s], other=[b for _, b in s]) for s in (fresh, old, base)]
    rest = {"well_formed": [True] * 40, "slowdowns": [1.0] * 40}
    bounds = Bounds(min_gain=gain, max_loss=loss, min_rows=1)
    order = [VerdictKind.REJECTED, VerdictKind.NEEDS_MORE_DATA, VerdictKind.ACCEPTED]
    before = judge(Evidence(fresh=slices[0], old=slices[1], base=slices[2], **rest), bounds)  # type: ignore[arg-type]
    better = [improved(s, sorted(more)) for s in slices]
    after = judge(Evidence(fresh=better[0], old=better[1], base=better[2], **rest), bounds)  # type: ignore[arg-type]
    assert order.index(after.kind) >= order.index(before.kind)


@pytest.mark.parametrize("n", [7, 25, 40])
def test_the_paired_interval_is_monotone(n: int) -> None:
    """One more win or one fewer loss never lowers either end of the interval; all tables of n pairs."""
    z = intervals.z_of(0.05 / 3)
    ends = {(w, k): intervals.paired_difference(w, k, n, z) for w in range(n + 1) for k in range(n + 1 - w)}
    for (wins, losses), (low, high) in ends.items():
        assert low - 1e-9 <= (wins - losses) / n <= high + 1e-9
        for better in ((wins + 1, losses), (wins, losses - 1), (wins + 1, losses - 1)):
            if better in ends:
                assert ends[better][0] >= low - 1e-9
                assert ends[better][1] >= high - 1e-9


def test_the_paired_interval_at_known_points() -> None:
    """No discordant pair: z squared over (n + z squared); swapped sides: mirrored; McNemar at 0."""
    low, high = intervals.paired_difference(0, 0, 100, 2.0)
    assert low == pytest.approx(-4 / 104)
    assert high == pytest.approx(4 / 104)
    assert intervals.paired_difference(9, 3, 50, 2.0)[0] == pytest.approx(
        -intervals.paired_difference(3, 9, 50, 2.0)[1]
    )
    wins, losses = 12, 4
    mcnemar = (wins - losses) / (wins + losses) ** 0.5
    assert intervals.paired_difference(wins, losses, 80, mcnemar)[0] == pytest.approx(0.0, abs=1e-9)


def test_holm_at_a_known_point() -> None:
    """The textbook's example: 0.01, 0.04, 0.03, 0.005 at 5 % reject the first and the last alone."""
    p_values = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}
    levels = intervals.holm(p_values, 0.05)
    assert levels == {"d": 0.05 / 4, "a": 0.05 / 3, "c": 0.05 / 2, "b": 0.05 / 2}
    assert [name for name, p in p_values.items() if p <= levels[name]] == ["a", "d"]


@pytest.mark.parametrize("bound", [-0.1, 0.0, 0.05])
def test_p_value_and_interval_say_the_same(bound: float) -> None:
    """The upper end at a level lies below a bound exactly when the p-value of the bound is below that level."""
    for wins, losses in ((0, 0), (3, 9), (0, 12), (20, 14)):
        high = intervals.paired_difference(wins, losses, 90, intervals.z_of(0.02))[1]
        assert (high < bound) == (intervals.below(bound, wins, losses, 90) < 0.02)
    assert intervals.below(bound, 0, 0, 0) == 1.0


def test_pairs_needed_fit_the_textbook() -> None:
    """From nothing, about discordance times the square of z sum over the difference; a zero difference is hopeless."""
    wins, losses, n = 50, 50, 1000
    wanted = intervals.more_pairs(wins, losses, n, margin=0.0, truth=0.05, alpha=0.05)
    fresh = (0.1 - 0.0025) * ((1.645 + 1.2816) / 0.05) ** 2
    assert wanted is not None
    assert 0 < wanted < 3 * fresh
    tight = intervals.more_pairs(0, 0, 20, margin=-0.03, truth=0.0, alpha=0.05)
    assert tight is not None
    assert tight > 0
    assert intervals.more_pairs(5, 5, 100, margin=0.0, truth=0.0, alpha=0.05) is None


def test_wilson_at_known_points() -> None:
    """Nothing of nothing says nothing; all of ten is not certain."""
    assert intervals.wilson(0, 0, 1.96) == (0.0, 1.0)
    low, high = intervals.wilson(10, 10, 1.959964)
    assert low == pytest.approx(0.7225, abs=1e-4)
    assert high == 1.0

"""Intervals, tests and areas: known values, and that they hold what they promise."""

import math

import numpy as np
import pytest

from noisespace.bench import statistics as st
from noisespace.bench.tradeoff import Curve, area
from noisespace.errors import InputError

NAN, INF = math.nan, math.inf


def draw(n, seed=0):
    return np.random.default_rng(seed).normal(size=n)


# ---- means and their intervals


def test_a_mean_counts_what_it_leaves_out():
    found = st.mean([1.0, NAN, 3.0, NAN, 5.0])
    assert (found.mean, found.n, found.nan, found.infinite) == (3.0, 3, 2, 0)
    assert 1 <= found.low < 3 < found.high <= 5


def test_there_is_no_interval_of_nothing_one_or_infinite_values():
    for values, mean, n, infinite in (
        ([], NAN, 0, 0),
        ([NAN], NAN, 0, 0),
        ([2.0], 2.0, 1, 0),
        ([2.0, INF, 3.0], INF, 3, 1),
        ([INF, -INF], NAN, 2, 2),
    ):
        found = st.mean(values)
        assert np.array_equal([found.mean, found.low, found.high], [mean, NAN, NAN], True)
        assert (found.n, found.infinite) == (n, infinite)


@pytest.mark.parametrize("kind", ["bca", "percentile", "student"])
def test_equal_values_have_an_interval_of_no_width(kind):
    found = st.mean([0.3] * 7, st.Bootstrap(kind=kind))
    assert found.low == found.high == found.mean == pytest.approx(0.3)


def test_a_seed_gives_the_same_interval_and_another_seed_another():
    x = draw(30)
    assert st.mean(x) == st.mean(x, st.Bootstrap(seed=0))
    assert st.mean(x).low != st.mean(x, st.Bootstrap(seed=1)).low


def test_intervals_move_and_scale_with_the_values():
    x = draw(40)
    plain, moved = st.mean(x), st.mean(3 * x + 2)
    assert (moved.low, moved.high) == pytest.approx((3 * plain.low + 2, 3 * plain.high + 2))


def test_bca_leans_to_the_side_of_the_skew():
    x = np.random.default_rng(0).exponential(size=25)
    plain, leaning = (st.mean(x, st.Bootstrap(kind=k)) for k in ("percentile", "bca"))
    assert leaning.low > plain.low
    assert leaning.high > plain.high


@pytest.mark.parametrize("kind", ["bca", "percentile", "student"])
def test_the_interval_of_many_normal_values_is_the_textbooks(kind):
    x = draw(400)
    half = 1.959964 * x.std(ddof=1) / 20
    found = st.mean(x, st.Bootstrap(resamples=20_000, kind=kind))
    assert (found.low, found.high) == pytest.approx((x.mean() - half, x.mean() + half), abs=4e-3)


@pytest.mark.parametrize("kind", ["bca", "percentile", "student"])
def test_coverage_is_about_95_percent(kind):
    rng, trials = np.random.default_rng(1), 400
    bootstrap = st.Bootstrap(resamples=500, kind=kind)
    inside = 0
    for _ in range(trials):
        found = st.mean(rng.normal(1.0, 2.0, size=40), bootstrap)
        inside += found.low <= 1.0 <= found.high
    assert 0.91 <= inside / trials <= 0.98


def test_students_t_is_the_tables():
    """Two-sided quantiles of 95 and 99 %, NIST/SEMATECH e-Handbook, 1.3.6.7.2."""
    table = {1: (12.706, 63.657), 4: (2.776, 4.604), 29: (2.045, 2.756), 1000: (1.962, 2.581)}
    for degrees, wanted in table.items():
        found = [st.student(degrees, level) for level in (0.95, 0.99)]
        assert found == pytest.approx(wanted, rel=4e-4)
    x = np.array([1.0, 2.0, 3.0])
    few = st.mean(x, st.Bootstrap(kind="student"))
    assert few.high - 2 == pytest.approx(4.303 / 3**0.5, rel=1e-3)


@pytest.mark.parametrize(
    "settings", [{"level": 1.0}, {"level": 0}, {"resamples": 0}, {"kind": "studentised"}]
)
def test_bad_settings_of_an_interval(settings):
    with pytest.raises(InputError, match="expected a level"):
        st.Bootstrap(**settings)


# ---- pairs


def test_identical_samples_do_not_differ():
    x = [*draw(20), INF, NAN]
    found = st.difference(x, x)
    assert (found.mean, found.low, found.high, found.n, found.nan) == (0, 0, 0, 21, 1)
    assert st.sign_flip(x, x) == st.PValue(1.0, 21, 1, False)
    assert st.win_rate(x, x, "up") == st.WinRate(0.5, 0.5, 0.5, 21, 21, 1)


def test_differences_are_paired():
    x = 100 * draw(30)  # far apart from case to case, and always 1 apart in a pair
    found = st.difference(x + 1, x)
    assert (found.low, found.mean, found.high) == pytest.approx((1, 1, 1))
    with pytest.raises(InputError, match="expected pairs"):
        st.difference([1.0], [1.0, 2.0])


def test_few_pairs_are_tested_exactly():
    # all of 5 differences of one sign: only all plus and all minus give as large a mean
    assert st.sign_flip([1, 2, 3, 4, 5], [0] * 5) == st.PValue(2 / 32, 5, 0, True)
    # |+-1 +-2 +-3| >= 4: the signs that leave 6 and 4
    assert st.sign_flip([1, 2, 3, NAN], [2, 0, 0, 0]).p == 4 / 8
    assert st.sign_flip([0.1] * 3, [0.2, 0.2, 0.0]).p == 1.0  # 0.1 - 0.2 is not quite -0.1


def test_many_pairs_are_tested_by_drawn_signs():
    x = draw(13)
    found = st.sign_flip(x + 3, x)
    assert not found.exact
    assert found.p == pytest.approx(1 / 10_001, abs=1e-3)
    assert st.sign_flip(x, np.zeros(13)) == st.sign_flip(x, np.zeros(13))
    assert st.sign_flip(x, np.zeros(13)).p == st.sign_flip(np.zeros(13), x).p


def test_drawn_signs_agree_with_all_signs(monkeypatch):
    x = draw(12) + 0.5
    exact = st.sign_flip(x, np.zeros(12))
    monkeypatch.setattr(st, "EXACT", 0)
    drawn = st.sign_flip(x, np.zeros(12))
    assert (exact.exact, drawn.exact) == (True, False)
    assert drawn.p == pytest.approx(exact.p, abs=0.015)


def test_p_values_are_even_where_nothing_differs():
    rng = np.random.default_rng(2)
    p = [st.sign_flip(rng.normal(size=10), np.zeros(10)).p for _ in range(300)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_no_pairs_and_infinite_ones_have_no_p():
    assert math.isnan(st.sign_flip([NAN], [1.0]).p)
    assert math.isnan(st.sign_flip([INF, 1.0], [1.0, 1.0]).p)


def test_win_rates_count_ties_half_and_know_the_better_side():
    a, b = [1, 2, 3, 4, NAN], [0, 2, 4, 5, 1]
    up, down = st.win_rate(a, b, "up"), st.win_rate(a, b, "down")
    assert (up.rate, up.ties, up.n, up.nan) == (1.5 / 4, 1, 4, 1)
    assert up.rate + down.rate == 1
    assert up.low <= up.rate <= up.high
    assert st.win_rate([INF], [1.0], "up").rate == 1


def test_holm_is_the_textbooks():
    # 0.01 x 4; 0.03 x 3; 0.04 x 2 would be less than its predecessor; 0.05 x 1 too
    assert st.holm([0.04, 0.01, NAN, 0.05, 0.03]) == pytest.approx(
        [0.09, 0.04, NAN, 0.09, 0.09], nan_ok=True
    )
    assert st.holm([0.9, 0.8]) == [1.0, 1.0]
    assert st.holm([]) == []


# ---- areas between trade-off curves


def curve(structure, target, items=1, spread=0.0, seed=0):
    rng = np.random.default_rng(seed)
    shape = (items, len(structure))
    noise = [spread * rng.normal(size=shape) for _ in range(2)]
    return Curve(np.array(structure) + noise[0], np.array(target) + noise[1])


def test_known_areas():
    straight = curve([0, 1, 2], [0, 1, 2])
    assert area(curve([0, 1, 2], [3, 4, 5]), straight).difference == pytest.approx(3)
    # y = 2x against y = x on the common range [1, 2]: the mean of x there
    found = area(curve([1, 2, 3], [2, 4, 6]), straight)
    assert (found.difference, found.range) == (pytest.approx(1.5), (1.0, 2.0))
    # a tent of height 1 on [0, 2], its knot between the other's
    tent = area(curve([0, 1, 2], [0, 1, 0]), curve([0, 0.7, 1.4, 2], [0, 0, 0, 0]))
    assert tent.difference == pytest.approx(0.5)


def test_the_order_and_the_number_of_settings_do_not_matter():
    a, b = curve([0, 1, 2], [0, 2, 4], 5, 0.1), curve([0, 1, 2, 3], [0, 1, 2, 3], 5, 0.1, 1)
    back = Curve(b.structure[:, ::-1], b.target[:, ::-1])
    assert area(a, b).difference == pytest.approx(area(a, back).difference)
    assert area(a, b).difference == pytest.approx(-area(b, a).difference)


def test_equal_curves_do_not_differ_whatever_their_items():
    a = curve([0, 1, 2], [0, 1, 1.5], 12, 0.2)
    found = area(a, a)
    assert (found.difference, found.low, found.high, found.n) == (0, 0, 0, 12)


def test_settings_at_one_structure_are_averaged():
    found = area(curve([0, 1, 1, 2], [0, 0, 2, 2]), curve([0, 1, 2], [0, 1, 2]))
    assert found.difference == 0


def test_the_interval_is_over_items_drawn_in_pairs():
    rng = np.random.default_rng(0)
    offsets = rng.normal(size=(25, 1))  # of an item, the same for both methods
    structure = np.tile([0.0, 1.0, 2.0], (25, 1))
    a = Curve(structure, structure + 1 + offsets)
    b = Curve(structure, structure + offsets)
    found = area(a, b)
    assert (found.low, found.difference, found.high) == pytest.approx((1, 1, 1))
    loose = area(a, Curve(structure, structure + offsets[::-1]))
    assert loose.low < loose.difference < loose.high


def test_the_interval_of_areas_covers_the_truth():
    inside, trials = 0, 80
    for seed in range(trials):
        a = curve([0, 1, 2], [1, 2, 3], 25, 0.3, seed)
        b = curve([0, 1, 2], [0, 1, 2], 25, 0.3, 1000 + seed)
        found = area(a, b, st.Bootstrap(resamples=200, kind="percentile"))
        inside += found.low <= 1 <= found.high
    assert inside / trials >= 0.88


def test_items_with_gaps_are_left_out_and_counted():
    a, b = curve([0, 1, 2], [1, 2, 3], 6), curve([0, 1, 2], [0, 1, 2], 6)
    a.target[2, 1] = NAN
    b.structure[4, 0] = NAN
    found = area(a, b)
    assert (found.difference, found.n, found.nan) == (1, 4, 2)


def test_curves_apart_have_no_difference():
    found = area(curve([0, 1, 2], [0, 0, 0], 3), curve([5, 6, 7], [0, 0, 0], 3))
    assert math.isnan(found.difference)
    assert math.isnan(found.low)
    assert found.apart == 2000
    empty = area(*[Curve(np.full((2, 3), NAN), np.zeros((2, 3)))] * 2)
    assert (empty.n, empty.nan) == (0, 2)


def test_bad_curves():
    with pytest.raises(InputError, match="at least 3 settings"):
        curve([0, 1], [0, 1])
    with pytest.raises(InputError, match="the same ones"):
        area(curve([0, 1, 2], [0, 1, 2], 2), curve([0, 1, 2], [0, 1, 2], 3))

"""pass@k against enumeration, votes, and intervals that hold what they promise."""

import math
from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.evaluation.metrics import majority, mean_interval, pass_at_k

PROPERTY = settings(deadline=None, derandomize=True)


@pytest.mark.parametrize("num_samples", range(1, 8))
def test_pass_at_k_is_the_share_of_draws_with_a_correct_rollout(num_samples: int) -> None:
    for num_correct in range(num_samples + 1):
        is_correct = [index < num_correct for index in range(num_samples)]
        for k in range(1, num_samples + 1):
            draws = [any(draw) for draw in combinations(is_correct, k)]
            assert pass_at_k(num_samples, num_correct, k) == sum(draws) / len(draws)


def test_pass_at_k_is_worked_by_hand() -> None:
    """With n = 4, c = 1, k = 2: of C(4, 2) = 6 draws, C(3, 2) = 3 miss the correct one."""
    assert pass_at_k(4, 1, 2) == 0.5


@given(st.integers(1, 3000), st.data())
@PROPERTY
def test_pass_at_1_is_the_mean_accuracy_and_more_tries_never_hurt(num_samples: int, data: st.DataObject) -> None:
    num_correct = data.draw(st.integers(0, num_samples))
    k = data.draw(st.integers(1, num_samples))
    assert pass_at_k(num_samples, num_correct, 1) == num_correct / num_samples
    assert pass_at_k(num_samples, num_correct, 1) <= pass_at_k(num_samples, num_correct, k) <= 1.0


def test_pass_at_k_keeps_small_chances() -> None:
    assert pass_at_k(10**6, 1, 1) == 1e-6


@pytest.mark.parametrize(("n", "c", "k"), [(0, 0, 1), (4, 5, 1), (4, -1, 1), (4, 1, 0), (4, 1, 5)])
def test_pass_at_k_refuses_impossible_counts(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match=f"num_samples={n}, num_correct={c}, k={k}"):
        pass_at_k(n, c, k)


def test_the_most_frequent_answer_wins_and_of_equals_the_first() -> None:
    for answers, winner in [
        (["7"], "7"),
        (["7", "8", "8"], "8"),
        (["7", "8", "8", "7"], "7"),
        (["8", "7", "7", "8"], "8"),
        ([None, "8", "7"], "8"),
        ([None, None, None, "7"], "7"),
        (["9", None, "7", "7"], "7"),
        (["", "7", ""], ""),
        ([None, None], None),
        ([], None),
    ]:
        assert majority(answers) == winner, (answers, winner)


@given(st.lists(st.none() | st.sampled_from("abc")))
@PROPERTY
def test_the_winner_has_no_better_and_no_earlier_equal(answers: list[str | None]) -> None:
    winner = majority(answers)
    given_answers = [answer for answer in answers if answer is not None]
    if winner is None:
        assert not given_answers
        return
    most = max(map(given_answers.count, given_answers))
    assert winner == next(answer for answer in given_answers if given_answers.count(answer) == most)


def test_the_interval_is_worked_by_hand() -> None:
    """1..5: mean 3, s^2 = 10 / 4, s / sqrt(5) = sqrt(0.5), t_4 = 2.7764: half width 1.9632."""
    assert mean_interval([1, 2, 3, 4, 5]) == pytest.approx((3.0, 1.0368, 4.9632), abs=1e-4)


def quantile_of_intervals(freedom: int) -> float:
    """The half width times sqrt(n) of values of spread s = 1 around 0."""
    n = freedom + 1
    side = math.sqrt(freedom / (n - n % 2))
    values = [side] * (n // 2) + [-side] * (n // 2) + [0.0] * (n % 2)
    mean, low, high = mean_interval(values)
    assert mean == pytest.approx(0.0)
    assert low == pytest.approx(-high)
    return high * math.sqrt(n)


def test_few_values_get_students_t() -> None:
    """The quantiles as tables print them."""
    for freedom, quantile in [
        (1, 12.7062),
        (2, 4.3027),
        (3, 3.1824),
        (4, 2.7764),
        (5, 2.5706),
        (6, 2.4469),
        (9, 2.2622),
        (29, 2.0452),
        (120, 1.9799),
    ]:
        assert quantile_of_intervals(freedom) == pytest.approx(quantile, abs=1e-3), (freedom, quantile)


def share_below(t: float, freedom: int) -> float:
    """Student's distribution function in closed form (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    is_odd = freedom % 2
    term, total = (cosine, 0.0) if is_odd else (1.0, 0.0)
    for k in range(2 + is_odd, freedom + 1, 2):
        total += term
        term *= cosine * cosine * (k - 1) / k
    inside = 2 / math.pi * (angle + sine * total) if is_odd else sine * total
    return 0.5 + inside / 2


def exact_quantile(freedom: int) -> float:
    """The 97.5 % point, by bisection."""
    low, high = 1.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if share_below(middle, freedom) < 0.975 else (low, middle)
    return low


@pytest.mark.parametrize("freedom", [1, 2, 3, 4])
def test_the_first_quantiles_are_right_to_the_last_printed_digit(freedom: int) -> None:
    assert quantile_of_intervals(freedom) == pytest.approx(exact_quantile(freedom), abs=6e-5)


def test_later_quantiles_leave_out_the_fifth_power_and_nothing_before_it() -> None:
    """The fifth correction would be 0.733 / freedom ** 5; an error in one of the four falls more slowly."""
    for freedom in [5, 6, 7, 10, 20, 40, 80, 120]:
        error = exact_quantile(freedom) - quantile_of_intervals(freedom)
        assert error < 1e-3, freedom
        assert 0.73 < error * freedom**5 < 0.86, freedom


@pytest.mark.parametrize("n", [3, 12])
def test_the_interval_covers_the_truth_19_times_of_20(n: int) -> None:
    rng = Random(0)
    trials = [mean_interval([rng.gauss(2.0, 3.0) for _ in range(n)]) for _ in range(2000)]
    coverage = sum(low <= 2.0 <= high for _, low, high in trials) / len(trials)
    assert coverage == pytest.approx(0.95, abs=4 * math.sqrt(0.05 * 0.95 / 2000))


@pytest.mark.parametrize(("n", "width"), [(1, 0.7935), (10, 0.2775), (100, 0.0370)])
def test_a_rate_of_nought_or_one_is_never_certain(n: int, width: float) -> None:
    """Wilson at 0 of n: upper end z^2 / (n + z^2), z^2 = 3.8415."""
    assert mean_interval([0.0] * n, bounds=(0, 1)) == pytest.approx((0.0, 0.0, width), abs=1e-4)
    assert mean_interval([1.0] * n, bounds=(0, 1)) == pytest.approx((1.0, 1.0 - width, 1.0), abs=1e-4)
    assert mean_interval([0.5] * n, bounds=(0, 1))[1] < 0.5 < mean_interval([0.5] * n, bounds=(0, 1))[2]


def test_bounds_scale_and_cut_the_interval() -> None:
    assert mean_interval([2.0] * 10, bounds=(2, 4)) == pytest.approx((2.0, 2.0, 2.5551), abs=1e-4)
    mean, low, high = mean_interval([0.0, 0.0, 1.0], bounds=(0, 1))
    assert mean == pytest.approx(1 / 3)
    assert low == 0.0
    assert high == 1.0


def test_equal_values_without_finite_bounds_have_no_spread() -> None:
    assert mean_interval([7.0, 7.0, 7.0]) == (7.0, 7.0, 7.0)
    assert mean_interval([7.0, 7.0, 7.0], bounds=(0, math.inf)) == (7.0, 7.0, 7.0)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_bounds_that_leave_one_value_leave_no_width(n: int) -> None:
    assert mean_interval([7.0] * n, bounds=(7, 7)) == (7.0, 7.0, 7.0)


def test_a_single_value_says_nothing_about_the_spread() -> None:
    assert mean_interval([7.0]) == (7.0, -math.inf, math.inf)
    assert mean_interval([7.0], bounds=(0, math.inf)) == (7.0, 0.0, math.inf)


@given(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.7, 1.0]), min_size=1, max_size=40))
@PROPERTY
def test_the_interval_of_a_rate_holds_its_mean_and_has_a_width(values: list[float]) -> None:
    mean, low, high = mean_interval(values, bounds=(0.0, 1.0))
    assert mean == pytest.approx(sum(values) / len(values))
    assert 0.0 <= low <= mean <= high <= 1.0
    assert low < high


@pytest.mark.parametrize(
    ("values", "bounds"),
    [([], None), ([math.nan], None), ([1.0, math.inf], None), ([1.5], (0, 1)), ([-0.1, 0.5], (0, 1))],
)
def test_values_that_have_no_mean_are_refused(values: list[float], bounds: tuple[float, float] | None) -> None:
    with pytest.raises(ValueError, match="at least one value, all finite and within"):
        mean_interval(values, bounds=bounds)

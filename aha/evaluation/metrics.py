"""Metrics of a policy: pass@k, majority votes, and means with intervals, as pure functions of counts and answers."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

__all__ = ["majority", "mean_interval", "pass_at_k"]

_Z = statistics.NormalDist().inv_cdf(0.975)
"""97.5 % point of the normal distribution: what Student's t tends to with many problems."""
_T = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764}
"""97.5 % points of Student's t by degrees of freedom, as far as the series of `_student_t` is not accurate."""


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Unbiased estimate of the probability that at least one of k rollouts is correct, from n rollouts with c correct.

    pass@k = 1 - C(n - c, k) / C(n, k)

    Computed in integers and rounded once. With k = 1 it is c / n, the mean accuracy.

    Args:
        num_samples: n, rollouts of the problem, n >= 1.
        num_correct: c, the correct ones among them, 0 <= c <= n.
        k: rollouts that one may try, 1 <= k <= n.

    Returns:
        The estimate, in 0..1.

    Raises:
        ValueError: an argument is outside its range.

    Source: Chen et al., Evaluating Large Language Models Trained on Code, arXiv:2107.03374, Eq. 1.
    """
    if not (0 <= num_correct <= num_samples and 1 <= k <= num_samples):
        raise ValueError(
            "pass@k needs 0 <= num_correct <= num_samples and 1 <= k <= num_samples, "
            f"not num_samples={num_samples}, num_correct={num_correct}, k={k}"
        )

    # 1 minus a product of floats, as the source computes it, would lose small chances to cancellation.
    num_draws = math.comb(num_samples, k)
    num_failures = math.comb(num_samples - num_correct, k)
    return (num_draws - num_failures) / num_draws


def majority(answers: Iterable[str | None]) -> str | None:
    """The answer given most often: the vote behind cons@k.

    Args:
        answers: the k answers of one problem in a normal form, in the order of the rollouts; None does not vote.

    Returns:
        The winner; of tied answers the one that was given first; None where nobody votes.

    Source: DeepSeek-R1, arXiv:2501.12948v1, Table 2 (cons@64). Ours: the rule for ties, on which the paper is silent.
    """
    votes = Counter(answer for answer in answers if answer is not None)
    # A Counter keeps the order of insertion, and max takes the first of equals.
    return max(votes, key=lambda answer: votes[answer], default=None)


def mean_interval(values: Sequence[float], *, bounds: tuple[float, float] | None = None) -> tuple[float, float, float]:
    """Mean over problems with its 95 % interval.

    mean +- t_{n-1} s / sqrt(n), with Student's t and the sample standard deviation s

    Two cases need more care. Equal values have s = 0, and yet a few problems that all pass do not prove that every
    problem does: within finite bounds they get Wilson's interval for a rate of n trials, which is never of zero width.
    And a single value has no s: without bounds its interval is the whole line.

    Args:
        values: one per problem, finite, n >= 1.
        bounds: smallest and largest possible value, either of them may be infinite; the interval stays within them. A
            rate has (0, 1).

    Returns:
        Mean, lower end, upper end.

    Raises:
        ValueError: there are no values, or one is not finite or outside the bounds.

    Source: Student's t for the mean of n problems; Wilson (1927) for the rate. Ours: the papers report no intervals.
    """
    floor, ceiling = bounds or (-math.inf, math.inf)
    are_valid = all(math.isfinite(value) and floor <= value <= ceiling for value in values)
    if not values or not are_valid:
        raise ValueError(
            f"a mean needs at least one value, all finite and within {floor}..{ceiling}; got {list(values)[:8]}"
        )

    n = len(values)
    mean = statistics.fmean(values)
    span = ceiling - floor
    if min(values) == max(values) and 0 < span < math.inf:
        # Between its bounds the common value is a rate; its interval is scaled back.
        rate = (values[0] - floor) / span
        low_rate, high_rate = _wilson(rate, n)
        low = floor + span * low_rate
        high = floor + span * high_rate

        # Rounding must not put the mean outside of its interval.
        return mean, min(low, mean), max(high, mean)

    if n == 1:
        return mean, floor, ceiling

    half_width = _student_t(n - 1) * statistics.stdev(values) / math.sqrt(n)
    low = max(mean - half_width, floor)
    high = min(mean + half_width, ceiling)
    return mean, low, high


def _wilson(rate: float, num_trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate: all rates that a test at that level does not reject."""
    weight = _Z * _Z / num_trials
    centre = (rate + weight / 2) / (1 + weight)
    half_width = math.sqrt(weight * rate * (1 - rate) + weight * weight / 4) / (1 + weight)

    # Without rounding the ends lie within 0..1; at rates of 0 and 1 they lie on the bounds.
    low = max(centre - half_width, 0.0)
    high = min(centre + half_width, 1.0)
    return low, high


def _student_t(freedom: int) -> float:
    """97.5 % point of Student's t, right to 0.001: a table where the tails are heavy, then a series in 1 / freedom.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    if freedom in _T:
        return _T[freedom]

    # g1 to g4 of the source, at the 97.5 % point.
    corrections = (
        (_Z**3 + _Z) / 4,
        (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / 96,
        (3 * _Z**7 + 19 * _Z**5 + 17 * _Z**3 - 15 * _Z) / 384,
        (79 * _Z**9 + 776 * _Z**7 + 1482 * _Z**5 - 1920 * _Z**3 - 945 * _Z) / 92160,
    )
    terms = [value / float(freedom) ** power for power, value in enumerate(corrections, start=1)]
    return _Z + sum(terms)

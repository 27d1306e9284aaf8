"""Calibration: whether what is predicted with a probability of 80 % is so in 80 % of the cases.

Source: Guo et al., arXiv:1706.04599, Eq. 3 (expected calibration error); Bai et al., arXiv:2204.05862, 3.3, for
reward models.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Bin", "calibration_error", "in_bins"]

NUM_BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Predictions of about the same probability.

    Attributes:
        n: how many there are.
        predicted: their mean probability.
        observed: share of them that came true.
    """

    n: int
    predicted: float
    observed: float


def in_bins(probabilities: Sequence[float], outcomes: Sequence[bool], *, num_bins: int = NUM_BINS) -> list[Bin]:
    """Predictions by probability, in bins of equal width over 0 to 1; empty bins are left out.

    Args:
        probabilities: 0 to 1.
        outcomes: whether each prediction came true, as many.
        num_bins: 1 or more.
    """
    members: dict[int, list[tuple[float, bool]]] = {}
    for probability, outcome in zip(probabilities, outcomes, strict=True):
        # A probability of 1 belongs to the last bin.
        index = min(int(probability * num_bins), num_bins - 1)
        members.setdefault(index, []).append((probability, outcome))

    bins = []
    for index in sorted(members):
        predictions = members[index]
        n = len(predictions)
        predicted = sum(probability for probability, _ in predictions) / n
        observed = sum(outcome for _, outcome in predictions) / n
        bins.append(Bin(n=n, predicted=predicted, observed=observed))
    return bins


def calibration_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error: how far the observed share is from the predicted one, on average.

    ECE = sum_b (n_b / n) |observed_b - predicted_b|

    Args:
        bins: of at least one prediction.

    Source: Guo et al., arXiv:1706.04599, Eq. 3.
    """
    total = sum(each.n for each in bins)
    return sum(each.n * abs(each.observed - each.predicted) for each in bins) / total

"""Estimators of the divergence KL(pi_theta || pi_ref) from samples of pi_theta.

All three take the log-probability of the sampled token (or of the whole response) under both policies, and differ in
what one sample says: k1 is unbiased and noisy, k2 biased and calm, k3 unbiased, calm and never negative. GRPO uses
k3.

They are named as in J. Schulman, "Approximating KL divergence" (2020). "Unbiased" is about the value, and only while
the samples come from pi_theta itself: after the first minibatch of an iteration they come from pi_old.
"""

from torch import Tensor, expm1

__all__ = ["kl_k1", "kl_k2", "kl_k3"]


def kl_k1(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """The log-ratio itself.

    k1 = log(pi_theta / pi_ref) = -log r,  r = pi_ref / pi_theta

    Args:
        logp: log pi_theta, nats, any shape.
        ref_logp: log pi_ref, nats, the same shape.

    Returns:
        One estimate per entry, nats, of either sign. Its gradient is grad log pi_theta, zero on average under
        pi_theta: k1 belongs in a reward or on a chart and does not work as a loss.

    Source: the per-token penalty inside the reward of InstructGPT, arXiv:2203.02155, Eq. 2.
    """
    return logp - ref_logp


def kl_k2(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """Half the squared log-ratio.

    k2 = (log r)^2 / 2,  r = pi_ref / pi_theta

    Args:
        logp: log pi_theta, nats, any shape.
        ref_logp: log pi_ref, nats, the same shape.

    Returns:
        One estimate per entry, nats, >= 0; biased, by a term of third order in log r.

    Source: Schulman (2020).
    """
    return 0.5 * (logp - ref_logp).square()


def kl_k3(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """The divergence term of GRPO.

    k3 = r - log r - 1,  r = pi_ref / pi_theta

    The denominator is the policy being trained. Summaries often print pi_old there; the value then agrees at the
    first minibatch, but its gradient with respect to theta is zero and nothing holds the policy near the reference.

    Args:
        logp: log pi_theta, nats, any shape.
        ref_logp: log pi_ref, nats, the same shape.

    Returns:
        One estimate per entry, nats, >= 0, and 0 only where the two agree. d k3 / d logp = 1 - r. Overflows where
        log r > 88 (float32).

    Source: DeepSeekMath, arXiv:2402.03300, Eq. 4; DeepSeek-R1, arXiv:2501.12948v1 and v2, Eq. 2. Ours: expm1 in place
    of exp - 1, because near the reference k3 is about (log r)^2 / 2 and float32 would lose all of it.
    """
    log_r = ref_logp - logp
    return expm1(log_r) - log_r

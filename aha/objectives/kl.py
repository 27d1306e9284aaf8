"""Estimators of the divergence KL(pi_theta || pi_ref) from samples of pi_theta.

All three take the log-probability of the sampled token (or of the whole response) under both policies, and differ in
what one sample says. As a value, k1 is unbiased with a large variance, k2 is biased with a small one, and k3 is
unbiased with a small variance and never negative. GRPO uses k3.

As a loss they behave differently, because autograd differentiates the estimate and not the distribution that was
sampled. On average over samples of pi_theta, the gradient of k1 is zero, the gradient of k2 is that of
KL(pi_theta || pi_ref), and the gradient of k3 is that of KL(pi_ref || pi_theta): k3 is unbiased in value only.

Each of these statements holds while the samples come from pi_theta itself. After the first mini-batch of an iteration
they come from pi_old.

Source: J. Schulman, "Approximating KL divergence" (2020), for the names and the values.
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
        One estimate per entry, nats, >= 0; biased, by a term of third order in log r. The mean of its gradient under
        pi_theta is that of KL(pi_theta || pi_ref), without a bias.

    Source: Schulman (2020).
    """
    # log r itself or its negative: the square is the same.
    log_ratio = logp - ref_logp
    return 0.5 * log_ratio.square()


def kl_k3(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """The divergence term of GRPO.

    k3 = r - log r - 1,  r = pi_ref / pi_theta

    The denominator is the policy being trained. Summaries often print pi_old there; the value then agrees at the
    first mini-batch, but its gradient with respect to theta is zero and nothing holds the policy near the reference.

    Args:
        logp: log pi_theta, nats, any shape.
        ref_logp: log pi_ref, nats, the same shape.

    Returns:
        One estimate per entry, nats, >= 0, and 0 only where the two agree. d k3 / d logp = 1 - r, which has no bound
        where pi_theta is far below pi_ref; its mean under pi_theta is the gradient of KL(pi_ref || pi_theta).
        Overflows where log r > 88 (float32).

    Source: DeepSeekMath, arXiv:2402.03300, Eq. 4; DeepSeek-R1, arXiv:2501.12948v1 and v2, Eq. 2. Ours: expm1 in place
    of exp - 1, because near the reference k3 is about (log r)^2 / 2 and float32 would lose all of it.
    """
    log_r = ref_logp - logp
    return expm1(log_r) - log_r

"""One update in its plainest form: clip the gradient, AdamW, and the schedule of the learning rate.

Source: Loshchilov and Hutter, arXiv:1711.05101, Algorithm 2; no weight decay for vectors (norms).
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from forms.plain_policy import Weights
from safetensors.torch import load_file
from torch import Tensor

EPS = 1e-8


class PlainAdamW:
    """Weights, their moments, and how many updates they have had."""

    def __init__(self, weights: Weights, settings: Mapping[str, Any], total_updates: int) -> None:
        self.weights = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
        self.first = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        self.second = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        self.settings, self.total_updates, self.num_updates = settings, total_updates, 0

    def learning_rate(self) -> float:
        """Linear warm-up, and a cosine from the base rate to a share of it."""
        warmup, floor = self.settings["warmup_steps"], self.settings["final_share"]
        warm = min(1.0, (self.num_updates + 1) / warmup) if warmup else 1.0
        progress = max(0, self.num_updates - warmup) / (self.total_updates - warmup)
        cosine = (1 + math.cos(math.pi * progress)) / 2
        return self.settings["learning_rate"] * warm * (floor + (1 - floor) * cosine)

    def update(self, loss: Tensor) -> dict[str, float]:
        """One step down the gradient of a loss; returns what is logged of it."""
        names = list(self.weights)
        gradients = torch.autograd.grad(loss, [self.weights[name] for name in names])
        norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
        shrink = min(1.0, self.settings["grad_clip"] / norm) if norm else 1.0
        rate, beta1, beta2 = self.learning_rate(), self.settings["beta1"], self.settings["beta2"]
        self.num_updates += 1

        with torch.no_grad():
            for name, gradient in zip(names, gradients, strict=True):
                weight, gradient = self.weights[name], gradient * shrink
                self.first[name] = beta1 * self.first[name] + (1 - beta1) * gradient
                self.second[name] = beta2 * self.second[name] + (1 - beta2) * gradient.square()
                first = self.first[name] / (1 - beta1**self.num_updates)
                second = self.second[name] / (1 - beta2**self.num_updates)
                if weight.dim() > 1:
                    weight -= rate * self.settings["weight_decay"] * weight
                weight -= rate * first / (second.sqrt() + EPS)
        return {"loss": float(loss.detach()), "grad_norm": norm, "learning_rate": rate}

    def copy(self) -> Weights:
        """The weights as they are now."""
        return {name: weight.detach().clone() for name, weight in self.weights.items()}

    def moments(self) -> tuple[Weights, Weights]:
        """The first and the second moments as they are now."""
        return dict(self.first), dict(self.second)


def distance(found: Weights, expected: Weights, start: Weights) -> float:
    """How far weights lie from where they should, in parts of the way that training has taken them from the start."""
    assert found.keys() == expected.keys() == start.keys()
    off = sum(float((found[name] - expected[name]).square().sum()) for name in expected)
    way = sum(float((expected[name] - start[name]).square().sum()) for name in expected)
    return math.sqrt(off / way)


def moments_distance(checkpoint: Path, expected: tuple[Weights, Weights]) -> float:
    """The largest relative gap between a moment that a checkpoint holds and where it should be.

    Moments are numbered there; here each is compared with the nearest one of its shape.
    """
    stored = load_file(checkpoint / "trainer.safetensors")
    gaps = []
    for kind, moments in zip(("exp_avg", "exp_avg_sq"), expected, strict=True):
        found = [tensor.double() for name, tensor in stored.items() if name.endswith(f".{kind}")]
        assert len(found) == len(moments)
        for moment in moments.values():
            nearest = min(float((tensor - moment).norm()) for tensor in found if tensor.shape == moment.shape)
            gaps.append(nearest / float(moment.norm()))
    return max(gaps)

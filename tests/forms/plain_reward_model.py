"""Reward models in their plainest form, beside DeepSeek-R1, arXiv:2501.12948v2, 3.1.

    helpful:  L = -1/P sum_x 1/|pairs(x)| sum_(w, l) log sigmoid(r(x, y_w) - r(x, y_l)),  (w, l) where q_w > q_l
    harmless: L = -1/B sum_i [ s_i log sigmoid(r_i) + (1 - s_i) log sigmoid(-r_i) ],  s_i = 1 if y_i is safe

r(x, y) is a linear function of the last hidden state, read at the end token (InstructGPT, arXiv:2203.02155, Eq. 1). In
the end the helpful model's scores are shifted so that the best responses to the training prompts have mean 0.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from forms.plain_draws import seed_of, shuffled
from forms.plain_policy import Config, Weights, hidden_states, num_matrix_parameters, read_config, read_weights
from forms.plain_update import PlainAdamW
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import logsigmoid

Preference = Mapping[str, Any]


def first_weights(policy: Path, seed: int, stage: str) -> Weights:
    """The policy's weights, and a random head of std 1/sqrt(D + 1)."""
    weights = read_weights(policy)
    width = weights["model.norm.weight"].numel()
    generator = torch.Generator().manual_seed(seed_of(seed, stage, "head") % 2**63)
    head = torch.empty(1, width).normal_(0.0, (width + 1) ** -0.5, generator=generator)
    return {**weights, "score.weight": head.double()}


def score(weights: Weights, config: Config, tokenizer: Tokenizer, prompt: str, response: str) -> Tensor:
    """r(x, y) before the shift, []."""
    tokens = [*tokenizer.encode(prompt).ids, *tokenizer.encode(response).ids, tokenizer.token_to_id("<eos>")]
    return hidden_states(weights, config, torch.tensor(tokens))[-1] @ weights["score.weight"][0]


def pairs_of(one: Preference, scores: Sequence[Tensor]) -> list[Tensor]:
    """Score of the better response less that of the worse, for each pair of unequal quality."""
    rated = list(zip(one["qualities"], scores, strict=True))
    return [win - lose for high, win in rated for low, lose in rated if high > low]


def helpful_loss(batch: Sequence[Preference], scores: Sequence[Sequence[Tensor]]) -> tuple[Tensor, dict[str, float]]:
    """Loss of the helpful model, and what is logged with it."""
    pairs = [torch.stack(pairs_of(one, own)) for one, own in zip(batch, scores, strict=True)]
    loss = -torch.stack([logsigmoid(gaps).mean() for gaps in pairs]).mean()
    gaps = torch.cat(pairs).detach()
    return loss, {"pair_accuracy": float((gaps > 0).double().mean()), "margin": float(gaps.mean())}


def harmless_loss(batch: Sequence[Preference], scores: Sequence[Sequence[Tensor]]) -> tuple[Tensor, dict[str, float]]:
    """Loss of the harmless model, and what is logged with it."""
    rated = [pair for one, own in zip(batch, scores, strict=True) for pair in zip(one["qualities"], own, strict=True)]
    losses = [-logsigmoid(found) if label == 1 else -logsigmoid(-found) for label, found in rated]
    is_right = [(float(found.detach()) > 0) == (label == 1) for label, found in rated]
    return torch.stack(losses).mean(), {"accuracy": sum(is_right) / len(is_right)}


def plain_reward_model(
    policy: Path, data: Sequence[Preference], settings: Mapping[str, Any], *, is_helpful: bool, seed: int, stage: str
) -> Iterator[tuple[PlainAdamW, dict[str, float]]]:
    """After each update: the state of training, and what is logged."""
    config, start = read_config(policy), first_weights(policy, seed, stage)
    tokenizer = Tokenizer.from_file(str(policy / "tokenizer.json"))
    size, loss_of = settings["batch_size"], helpful_loss if is_helpful else harmless_loss
    updates = [
        order[begin : begin + size]
        for order in (shuffled(len(data), seed, stage, "order", epoch) for epoch in range(settings["epochs"]))
        for begin in range(0, len(data), size)
    ]
    training = PlainAdamW(start, settings["optimizer"], len(updates))

    for places in updates:
        batch = [data[place] for place in places]
        scores = [
            [score(training.weights, config, tokenizer, one["prompt"], text) for text in one["responses"]]
            for one in batch
        ]
        loss, metrics = loss_of(batch, scores)
        metrics |= training.update(loss)
        texts = [one["prompt"] for one in batch] + [f"{text} <eos>" for one in batch for text in one["responses"]]
        num_tokens = sum(len(tokenizer.encode(text).ids) for text in texts)
        # The output head is gone, and a head of D numbers is there.
        num_parameters = num_matrix_parameters(start) - start["model.embed_tokens.weight"].numel()
        flops = 6.0 * num_parameters * num_tokens
        yield training, {**metrics, "tokens": 0.0, "trained_tokens": num_tokens, "flops": flops}


def plain_bias(weights: Weights, policy: Path, data: Sequence[Preference]) -> float:
    """What is subtracted from every score: the mean score of the best response to each training prompt."""
    config, tokenizer = read_config(policy), Tokenizer.from_file(str(policy / "tokenizer.json"))
    best = [one["responses"][one["qualities"].index(max(one["qualities"]))] for one in data]
    scores = [
        score(weights, config, tokenizer, one["prompt"], text).item() for one, text in zip(data, best, strict=True)
    ]
    return math.fsum(scores) / len(scores)

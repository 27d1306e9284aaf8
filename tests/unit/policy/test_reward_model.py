"""Reward models: one score at the last token, batched as one by one, in and out of Hugging Face folders."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import letters_tokenizer, random_tokens, tiny_config, tiny_policy
from torch import Tensor

from aha.policy.layout import pack, rows
from aha.policy.pretrained import write_policy
from aha.policy.reward_model import (
    RewardModel,
    end_response,
    from_policy,
    read_reward_model,
    score_responses,
    write_reward_model,
)
from aha.training.checkpoint import read_model, read_scorer, write_checkpoint

SHAPES = ("qwen2-grouped", "qwen3-grouped", "llama-grouped")


def make(shape: str = "qwen3-grouped", *, dtype: torch.dtype = torch.float32, is_tied: bool = True) -> RewardModel:
    policy = tiny_policy(tiny_config(shape, tie_word_embeddings=is_tied), dtype=dtype)
    return from_policy(policy, torch.Generator().manual_seed(1), reads="summary")


@torch.no_grad()
def alone(model: RewardModel, tokens_T: Tensor) -> float:
    """The score of one sequence by the plain layout."""
    lengths_B = torch.tensor([len(tokens_T)])
    return model(rows(tokens_T[None]), lengths_B).item()


def test_the_score_is_the_head_on_the_last_hidden_state() -> None:
    policy = tiny_policy(tiny_config(), dtype=torch.float64)
    model = from_policy(policy, torch.Generator().manual_seed(1), reads="response")
    model.bias.fill_(0.25)
    (tokens_T,) = random_tokens([9])
    layout = rows(tokens_T[None])
    hidden_ND = policy(layout.tokens_N, layout.positions_N, layout)
    assert alone(model, tokens_T) == pytest.approx((hidden_ND[-1] @ model.score.weight[0]).item() - 0.25, abs=1e-14)


def test_it_starts_as_a_copy_of_the_policy_with_a_random_head() -> None:
    """With a width of 32 the head's standard deviation is 1/sqrt(33) = 0.174; of 32 draws it is known to 1/8."""
    policy = tiny_policy(tiny_config(tie_word_embeddings=False))
    model = from_policy(policy, torch.Generator().manual_seed(1), reads="summary")
    again = from_policy(policy, torch.Generator().manual_seed(1), reads="summary")
    other = from_policy(policy, torch.Generator().manual_seed(2), reads="summary")
    assert torch.equal(model.score.weight, again.score.weight)
    assert not torch.equal(model.score.weight, other.score.weight)
    assert float(model.score.weight.detach().std()) == pytest.approx(33**-0.5, rel=0.5)
    names = {name.removeprefix("backbone.") for name, _ in model.named_parameters()}
    assert names == {name for name, _ in policy.named_parameters()} - {"lm_head.weight"} | {"score.weight"}
    before = policy.model.norm.weight.detach().clone()
    with torch.no_grad():
        model.backbone.model.norm.weight.add_(1)
    assert torch.equal(policy.model.norm.weight, before)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_together_is_one_by_one(dtype: torch.dtype, tolerance: float) -> None:
    model = make(dtype=dtype)
    prompts = [random_tokens([length], seed=seed)[0] for seed, length in ((1, 5), (1, 5), (2, 3), (1, 5), (3, 0))]
    responses = random_tokens([7, 1, 4, 12, 2], seed=9)
    expected = [alone(model, torch.cat(both)) for both in zip(prompts, responses, strict=True)]
    for max_tokens in (1, 20, 8192):
        found_B = score_responses(model, prompts, responses, max_tokens=max_tokens)
        assert found_B.tolist() == pytest.approx(expected, abs=tolerance)
    assert score_responses(model, [], []).tolist() == []


def test_the_gradient_is_that_of_one_by_one() -> None:
    model = make(dtype=torch.float64)
    (prompt,) = random_tokens([6])
    sequences = [torch.cat((prompt, response)) for response in random_tokens([3, 8, 1], seed=4)]
    lengths_B = torch.tensor([len(sequence) for sequence in sequences])
    tokens_BT = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    weights_B = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    grads = []
    for layout in (pack(tokens_BT, lengths_B, [6, 6, 6]), rows(tokens_BT)):
        total = (model(layout, lengths_B) * weights_B).sum()
        grads.append(torch.autograd.grad(total, list(model.parameters())))
    for shared, plain in zip(*grads, strict=True):
        assert float((shared - plain).abs().max()) < 1e-11


def test_half_precision_scores_in_float32() -> None:
    model = make().bfloat16()
    (tokens_T,) = random_tokens([9])
    assert score_responses(model, [tokens_T[:4]], [tokens_T[4:]]).dtype == torch.float32


@pytest.mark.parametrize(
    ("prompt", "response", "kept_prompt", "kept_response"),
    [
        ([2, 3], [4, 5], [2, 3], [4, 5, 1]),
        ([2, 3], [], [2, 3], [1]),
        ([], [4], [], [4, 1]),
        ([2, 3], [4, 5, 6], [2, 3], [4, 5, 1]),
        ([2, 3, 4, 5], [6, 7], [2, 3, 4, 5], [1]),
        ([2, 3, 4, 5, 6], [7], [3, 4, 5, 6], [1]),
    ],
)
def test_what_is_too_long_loses_its_end(
    prompt: list[int], response: list[int], kept_prompt: list[int], kept_response: list[int]
) -> None:
    found = end_response(torch.tensor(prompt).long(), torch.tensor(response).long(), end_id=1, max_tokens=5)
    assert [part.tolist() for part in found] == [kept_prompt, kept_response]


# In and out of folders


@pytest.mark.full
@pytest.mark.parametrize("is_tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("shape", SHAPES)
def test_transformers_gives_the_same_scores(shape: str, is_tied: bool, tmp_path: Path) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    model = make(shape, is_tied=is_tied)
    write_checkpoint(tmp_path / "ours", model, letters_tokenizer(), state={})
    theirs, report = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "ours", dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(theirs).__name__.endswith("ForSequenceClassification")
    assert theirs.config.num_labels == 1
    for tokens_T in random_tokens([1, 12, 40], seed=5):
        closed_T = torch.cat((tokens_T, torch.tensor([1])))
        with torch.no_grad():
            logits = theirs(closed_T[None]).logits
        assert logits.shape == (1, 1)
        assert logits.item() == pytest.approx(alone(model, closed_T), abs=1e-5)


def test_a_padding_token_that_is_the_end_token_is_not_named(tmp_path: Path) -> None:
    for pad_id, named in ((0, 0), (1, None)):
        write_reward_model(make(), tmp_path, end_id=1, pad_id=pad_id)
        assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["pad_token_id"] == named


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_read_is_what_was_written(shape: str, tmp_path: Path) -> None:
    model = make(shape, is_tied=False)
    model.bias.fill_(0.1)
    write_checkpoint(tmp_path / "ours", model, letters_tokenizer(), state={})
    found, tokenizer = read_scorer(tmp_path / "ours")
    assert (found.reads, found.config, tokenizer.end_id) == ("summary", model.config, 1)
    assert list(found.state_dict()) == list(model.state_dict())
    assert all(torch.equal(found.state_dict()[name], weight) for name, weight in model.state_dict().items())
    assert load_file(tmp_path / "ours" / "model.safetensors")["score.weight"].shape == (1, 32)
    assert json.loads((tmp_path / "ours" / "reward_model.json").read_text(encoding="utf-8")) == {
        "bias": float(model.bias),
        "reads": "summary",
    }
    assert read_reward_model(tmp_path / "ours", dtype=torch.float64).score.weight.dtype == torch.float64


def test_a_policy_and_a_reward_model_are_not_taken_for_each_other(tmp_path: Path) -> None:
    write_policy(tiny_policy(tiny_config()), tmp_path, end_id=1, pad_id=0)
    with pytest.raises(ValueError, match=r"no reward_model\.json: it is a model folder, but no reward model"):
        read_reward_model(tmp_path)
    write_checkpoint(tmp_path / "scorer", make(), letters_tokenizer(), state={})
    with pytest.raises(ValueError, match=r"unexpected \['score\.weight'\]"):
        read_model(tmp_path / "scorer")


@pytest.mark.parametrize("content", ['{"bias": "x", "reads": "summary"}', '{"bias": 0.0, "reads": "all"}', "{}"])
def test_a_damaged_description_is_refused(content: str, tmp_path: Path) -> None:
    write_reward_model(make(), tmp_path, end_id=1, pad_id=0)
    (tmp_path / "reward_model.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="needs a number `bias`"):
        read_reward_model(tmp_path)


def test_a_missing_head_is_named(tmp_path: Path) -> None:
    write_reward_model(make(), tmp_path, end_id=1, pad_id=0)
    write_policy(tiny_policy(tiny_config()), tmp_path, end_id=1, pad_id=0)
    with pytest.raises(ValueError, match=r"missing \['score\.weight'\]"):
        read_reward_model(tmp_path)

"""Other architectures are scored, sampled and updated by transformers, under the same conventions as our own."""

import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from aha.policy.external import Generation, read_external, write_external

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.full

SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "gemma2": {
        "model_type": "gemma2",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 128,
    },
}
HOW = Generation(max_new_tokens=12, temperature=0.7, top_p=1.0, stop_ids=(1, 4), pad_id=0)


@pytest.fixture(params=SHAPES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A model folder of another family, whose generation settings would change what is sampled."""
    transformers.utils.logging.disable_progress_bar()
    config = transformers.AutoConfig.for_model(**SHAPES[request.param], vocab_size=13)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    model.generation_config = transformers.GenerationConfig(do_sample=True, top_k=1, repetition_penalty=5.0)
    model.save_pretrained(tmp_path)
    return tmp_path


def test_scores_are_log_probabilities(folder: Path) -> None:
    policy = read_external(folder)
    tokens_BT = torch.randint(2, 13, (3, 9), generator=torch.Generator().manual_seed(1))
    lengths_B = torch.tensor([9, 6, 4])
    mask_BT = (torch.arange(9) >= 2) & (torch.arange(9) < lengths_B[:, None])
    logp_BT = policy.score(tokens_BT, lengths_B, mask_BT, temperature=0.7)
    assert (logp_BT[~mask_BT] == 0).all()
    for row, length in enumerate(lengths_B.tolist()):
        logits_TV = policy.model(tokens_BT[row : row + 1, :length]).logits[0].float() / 0.7
        alone_T = logits_TV.log_softmax(-1)[:-1].gather(-1, tokens_BT[row, 1:length, None])[:, 0]
        assert torch.allclose(logp_BT[row, 2:length], alone_T[1:], atol=1e-5)
    with pytest.raises(ValueError, match="the first token of a sequence has no log-probability"):
        policy.score(tokens_BT, lengths_B, torch.ones_like(mask_BT))


def test_a_gradient_flows(folder: Path) -> None:
    policy = read_external(folder)
    tokens_BT, lengths_B = torch.tensor([[2, 3, 4, 5]]), torch.tensor([4])
    mask_BT = torch.tensor([[False, True, True, True]])
    before = policy.score(tokens_BT, lengths_B, mask_BT).sum()
    before.backward()
    with torch.no_grad():
        for weight in policy.parameters():
            weight += 1e-3 * (weight.grad if weight.grad is not None else 0)
    assert policy.score(tokens_BT, lengths_B, mask_BT).sum() > before


def test_samples_end_at_any_stop_and_are_scored_as_they_are_trained(folder: Path) -> None:
    policy, prompt_T = read_external(folder), torch.tensor([2, 3])
    samples = policy.sample(prompt_T, 64, HOW, seed=5)
    assert {int(tokens[-1]) for tokens, _ in samples if len(tokens) < 12} == {1, 4}
    for tokens, logp in samples:
        assert len(tokens) == len(logp) <= 12
        assert not torch.isin(tokens[:-1], torch.tensor([1, 4])).any()
        whole_1T = torch.cat((prompt_T, tokens))[None]
        mask_1T = torch.arange(whole_1T.shape[1])[None] >= 2
        again = policy.score(whole_1T, torch.tensor([whole_1T.shape[1]]), mask_1T, temperature=0.7)[mask_1T]
        assert torch.allclose(logp, again, atol=1e-4)


def test_samples_follow_the_untruncated_policy(folder: Path) -> None:
    """Settings of the folder (top_k, a penalty) are not used: first tokens are as frequent as the policy says."""
    policy, prompt_T = read_external(folder), torch.tensor([2, 3])
    how = Generation(max_new_tokens=1, temperature=1.0, top_p=1.0, stop_ids=(1,), pad_id=0)
    firsts = torch.cat([tokens for tokens, _ in policy.sample(prompt_T, 4000, how, seed=3)])
    expected_V = policy(prompt_T[None], torch.tensor([2])).detach()[0, -1].softmax(-1)
    found_V = torch.bincount(firsts, minlength=13) / 4000
    assert float((found_V - expected_V).abs().max()) < 4 * math.sqrt(0.25 / 4000)


def test_a_seed_decides_the_draws_and_leaves_other_draws_alone(folder: Path) -> None:
    policy, prompt_T, state = read_external(folder), torch.tensor([2, 3]), torch.get_rng_state()
    one, same, other = (policy.sample(prompt_T, 8, HOW, seed=seed) for seed in (1, 1, 2))
    assert [tokens.tolist() for tokens, _ in one] == [tokens.tolist() for tokens, _ in same]
    assert [tokens.tolist() for tokens, _ in one] != [tokens.tolist() for tokens, _ in other]
    assert torch.equal(torch.get_rng_state(), state)


def test_without_temperature_the_most_likely_token_is_taken(folder: Path) -> None:
    policy, prompt_T = read_external(folder), torch.tensor([2, 3])
    how = Generation(max_new_tokens=4, temperature=0.0, top_p=1.0, stop_ids=(1,), pad_id=0)
    ((tokens, logp),) = policy.sample(prompt_T, 1, how, seed=1)
    logits_V = policy(prompt_T[None], torch.tensor([2])).detach()[0, -1]
    assert int(tokens[0]) == int(logits_V.argmax())
    assert float(logp[0]) == pytest.approx(float(logits_V.log_softmax(-1).max()), abs=1e-4)


def test_what_is_written_is_what_was_read(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    policy, out = read_external(folder), tmp_path_factory.mktemp("out")
    assert policy.max_tokens == 128
    write_external(policy, out, stop_ids=(1, 4), pad_id=0)
    again = read_external(out)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert theirs.generation_config.eos_token_id == [1, 4]
    for ours, other in zip(policy.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(ours, other)


def test_a_folder_that_transformers_cannot_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "unheard-of"}', encoding="utf-8")
    with pytest.raises(ValueError, match=rf"transformers cannot read the model in {tmp_path} \("):
        read_external(tmp_path)

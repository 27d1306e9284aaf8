"""Models of other architectures, run through `transformers`: what it computes, sampled, scored, trained and written."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import lazy_transformers as transformers
import pytest
import torch
from hf_models import OTHERS, quiet, settings, their_model, write_their_model
from safetensors import safe_open
from tiny import PROMPTS, letters_tokenizer, random_tokens, requests_for
from torch import Tensor, nn

from aha.engines.engine import Decoding, sample
from aha.engines.local import LocalEngine
from aha.policy.checkpointing import checkpoint_activations
from aha.policy.families import slowness
from aha.policy.hf.architecture import read_shape
from aha.policy.hf.model import HFPolicy
from aha.policy.layout import Layout, pack, rows
from aha.policy.lora import TARGETS, add_lora, frozen_twin, merged, read_adapter, write_adapter
from aha.policy.policy import Policy
from aha.policy.pretrained import read_config, read_policy, write_policy
from aha.policy.reward_model import RewardModel, from_policy, read_reward_model, score_responses
from aha.policy.scoring import score
from aha.training.batch import layout_of, stack
from aha.training.checkpoint import read_model, read_scorer, write_checkpoint
from aha.training.cost import forward_flops
from aha.training.learner import reference_logp
from aha.training.memory import activation_bytes
from aha.types import Batch

# `transformers` takes two seconds of every process that imports it.
pytestmark = pytest.mark.full

os.environ["HF_HUB_OFFLINE"] = "1"

TOLERANCE = 1e-5
"""Of logits and log-probabilities, in float32."""

SEQUENCES = ([3, 4, 5, 6, 7, 8, 9], [3, 4, 5, 2, 2], [3, 4, 5, 1], [9, 2, 10])

each_kind = pytest.mark.parametrize("kind", list(OTHERS))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet():
        yield


def folder_of(tmp_path: Path, kind: str, **changes: object) -> tuple[Path, nn.Module]:
    """A folder that `transformers` wrote, and the model."""
    return tmp_path / kind, write_their_model(tmp_path / kind, kind, letters_tokenizer(), **changes)


def policy_of(tmp_path: Path, kind: str, *, dtype: torch.dtype = torch.float32) -> HFPolicy:
    folder, _ = folder_of(tmp_path, kind)
    policy = read_policy(folder, dtype=dtype)
    assert isinstance(policy, HFPolicy)
    return policy


def packed() -> tuple[Layout, list[Tensor]]:
    """Sequences end to end, of which three begin alike."""
    sequences = [torch.tensor(sequence) for sequence in SEQUENCES]
    tokens_BT = nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    lengths_B = torch.tensor([len(sequence) for sequence in sequences])
    return pack(tokens_BT, lengths_B, [3, 3, 3, 0]), sequences


def six_sequences() -> Batch:
    prompts = [torch.tensor(prompt) for prompt in [[3, 4, 5]] * 3 + [[3, 4]] * 2 + [[9]]]
    return stack(prompts, random_tokens([7, 1, 4, 2, 9, 5]))


@each_kind
def test_logits_and_gradients_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    """Of sequences end to end, with a shared beginning, against each of them alone.

    In float64, but for the norms of `transformers`, which are float32 in any case.
    """
    folder, model = folder_of(tmp_path, kind)
    # The plainest attention computes its softmax in float32 in any case, this one does not.
    model.double().set_attn_implementation("sdpa")
    policy = read_policy(folder, dtype=torch.float64)
    layout, sequences = packed()
    logits_NV = policy(layout.tokens_N, layout.positions_N, layout) @ policy.head_VD.T
    total = logits_NV.new_zeros(())
    expected_total = logits_NV.new_zeros(())
    for row, sequence in enumerate(sequences):
        logits_TV = logits_NV[layout.where_BT[row, : len(sequence)]]
        expected_TV = model(sequence[None]).logits[0]
        assert float((logits_TV - expected_TV).detach().abs().max()) < TOLERANCE
        weights_TV = torch.linspace(-1.0, 1.0, logits_TV.numel(), dtype=torch.float64).view(logits_TV.shape).cos()
        total = total + (logits_TV.log_softmax(-1) * weights_TV).sum()
        expected_total = expected_total + (expected_TV.log_softmax(-1) * weights_TV).sum()
    total.backward()
    expected_total.backward()
    expected = dict(model.named_parameters())
    found = dict(policy.named_parameters())
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        assert weight.grad is not None, name
        assert torch.allclose(weight.grad, expected[name].grad, rtol=1e-5, atol=1e-5), name
        assert (weight.grad != 0).any(), name


@each_kind
def test_logits_are_those_of_transformers_in_float32(kind: str, tmp_path: Path) -> None:
    folder, model = folder_of(tmp_path, kind)
    policy = read_policy(folder)
    layout, sequences = packed()
    with torch.no_grad():
        logits_NV = policy(layout.tokens_N, layout.positions_N, layout) @ policy.head_VD.T
        for row, sequence in enumerate(sequences):
            gap = logits_NV[layout.where_BT[row, : len(sequence)]] - model(sequence[None]).logits[0]
            assert float(gap.abs().max()) < TOLERANCE


@each_kind
def test_what_is_sampled_is_what_is_scored(kind: str, tmp_path: Path) -> None:
    policy = policy_of(tmp_path, kind)
    for name, prompts in PROMPTS.items():
        engine = LocalEngine(policy, letters_tokenizer(), max_rows=4)
        groups = sample(engine, requests_for(prompts, Decoding(max_new_tokens=8, temperature=0.8)), 3)
        rollouts = [rollout for group in groups for rollout in group]
        batch = stack([rollout.prompt_tokens for rollout in rollouts], [rollout.tokens for rollout in rollouts])
        logp_BT = reference_logp(policy, batch, temperature=0.8)
        for rollout, logp_T, mask_T in zip(rollouts, logp_BT, batch.mask_BT, strict=True):
            assert float((rollout.logp - logp_T[mask_T]).abs().max()) < TOLERANCE, name


def value_and_gradient(policy: Policy, batch: Batch) -> list[Tensor]:
    logp_BT = score(policy, layout_of(batch), batch.tokens_BT, batch.mask_BT)
    weights_M = torch.linspace(-1.0, 1.0, int(batch.mask_BT.sum()))
    trained = [weight for weight in policy.parameters() if weight.requires_grad]
    return [logp_BT.detach(), *torch.autograd.grad((logp_BT[batch.mask_BT] * weights_M).sum(), trained)]


@each_kind
def test_recomputed_layers_give_the_same_bits(kind: str, tmp_path: Path) -> None:
    policy, batch = policy_of(tmp_path, kind), six_sequences()
    names = list(policy.state_dict())
    before = value_and_gradient(policy, batch)
    checkpoint_activations(policy)
    after = value_and_gradient(policy, batch)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert list(policy.state_dict()) == names


def test_two_passes_may_be_under_way_at_once(tmp_path: Path) -> None:
    """A layer that is recomputed asks the context of its own pass, not that of the last one."""
    policy, batch = policy_of(tmp_path, "stablelm"), six_sequences()
    checkpoint_activations(policy)
    expected = value_and_gradient(policy, batch)
    logp_BT = score(policy, layout_of(batch), batch.tokens_BT, batch.mask_BT)
    other = stack([torch.tensor([2, 2])], [torch.tensor([5, 6, 7])])
    score(policy, layout_of(other), other.tokens_BT, other.mask_BT)
    weights_M = torch.linspace(-1.0, 1.0, int(batch.mask_BT.sum()))
    found = torch.autograd.grad((logp_BT[batch.mask_BT] * weights_M).sum(), list(policy.parameters()))
    assert all(torch.equal(one, other) for one, other in zip(found, expected[1:], strict=True))


def stored_names(folder: Path) -> set[str]:
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        return set(file.keys())


@each_kind
def test_what_is_written_is_the_same_architecture_there_and_here(kind: str, tmp_path: Path) -> None:
    source, model = folder_of(tmp_path, kind)
    policy, tokenizer = read_model(source)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.mul_(1.25)
    target = tmp_path / "written"
    write_checkpoint(target, policy, tokenizer, state={})
    assert stored_names(target) == stored_names(source)

    before, after = (json.loads((path / "config.json").read_text(encoding="utf-8")) for path in (source, target))
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed <= {"dtype", "torch_dtype", "bos_token_id"}

    theirs = transformers.AutoModelForCausalLM.from_pretrained(target, attn_implementation="eager")
    assert type(theirs) is type(model)
    assert next(theirs.parameters()).dtype == torch.float32
    back = read_policy(target)
    assert back.config.model_copy(update={"described": {}}) == policy.config.model_copy(update={"described": {}})
    for name, weight in policy.state_dict().items():
        assert torch.equal(weight, back.state_dict()[name]), name
        assert torch.equal(weight, theirs.state_dict()[name]), name


def test_pythia_is_written_under_the_names_of_its_files(tmp_path: Path) -> None:
    folder, _ = folder_of(tmp_path, "gpt_neox")
    assert "embed_out.weight" in stored_names(folder)


def test_large_models_are_written_in_shards(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, "phi3")
    (tmp_path / "shards").mkdir()
    write_policy(policy, tmp_path / "shards", end_id=1, pad_id=0, max_shard_bytes=20_000)
    assert len(list((tmp_path / "shards").glob("model-*-of-*.safetensors"))) > 1
    back = read_policy(tmp_path / "shards")
    assert all(torch.equal(back.state_dict()[name], weight) for name, weight in policy.state_dict().items())


@each_kind
def test_half_precision_keeps_what_is_no_weight(kind: str, tmp_path: Path) -> None:
    """The frequencies of the rotation stay in float32, also in a reward model."""
    whole, half = policy_of(tmp_path, kind), policy_of(tmp_path, kind, dtype=torch.bfloat16)
    model = from_policy(half, torch.Generator().manual_seed(0), reads="response")
    assert all(weight.dtype == torch.bfloat16 for weight in (*half.parameters(), *model.parameters()))
    expected = {name: buffer for name, buffer in whole.named_buffers() if name.endswith("inv_freq")}
    assert expected
    for found in (dict(half.named_buffers()), dict(model.backbone.named_buffers())):
        assert all(torch.equal(found[name], buffer) for name, buffer in expected.items())

    layout, _ = packed()
    with torch.no_grad():
        logits = [
            (policy(layout.tokens_N, layout.positions_N, layout) @ policy.head_VD.T).float() for policy in (whole, half)
        ]
    assert float((logits[0] - logits[1]).abs().mean()) < 0.03


@each_kind
def test_a_reward_model_scores_as_transformers_does(kind: str, tmp_path: Path) -> None:
    policy = policy_of(tmp_path, kind)
    model = from_policy(policy, torch.Generator().manual_seed(0), reads="response")
    model.bias.fill_(0.25)
    prompts = [torch.tensor([3, 4, 5])] * 2 + [torch.tensor([6, 7])]
    responses = [torch.tensor([8, 1]), torch.tensor([2, 9, 10, 1]), torch.tensor([1])]
    scores_B = score_responses(model, prompts, responses)

    folder = tmp_path / "reward"
    write_checkpoint(folder, model, letters_tokenizer(), state={})
    back, _ = read_scorer(folder)
    assert torch.equal(score_responses(back, prompts, responses), scores_B)

    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager")
    for prompt, response, found in zip(prompts, responses, scores_B.tolist(), strict=True):
        [[expected]] = theirs(torch.cat((prompt, response))[None]).logits.tolist()
        assert found == pytest.approx(expected - 0.25, abs=1e-5)


def test_a_reward_model_of_a_kind_that_has_none_in_transformers(tmp_path: Path) -> None:
    folder, _ = folder_of(tmp_path, "apertus", num_key_value_heads=2)
    model = from_policy(read_policy(folder), torch.Generator().manual_seed(0), reads="summary")
    write_checkpoint(tmp_path / "reward", model, letters_tokenizer(), state={})
    described = json.loads((tmp_path / "reward" / "config.json").read_text(encoding="utf-8"))
    assert described["architectures"] == ["ApertusModel"]
    back = read_reward_model(tmp_path / "reward")
    assert isinstance(back, RewardModel)
    assert back.reads == "summary"
    for name, weight in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], weight), name


@each_kind
def test_adapters_learn_beside_frozen_weights(kind: str, tmp_path: Path) -> None:
    policy, batch = policy_of(tmp_path, kind), six_sequences()
    before = value_and_gradient(policy, batch)[0]
    add_lora(policy, rank=2, alpha=4.0, targets=TARGETS, generator=torch.Generator().manual_seed(1))
    assert torch.equal(value_and_gradient(policy, batch)[0], before)
    twin = frozen_twin(policy)
    with torch.no_grad():
        for weight in policy.parameters():
            if weight.requires_grad:
                weight.add_(0.1)
    changed, *gradient = value_and_gradient(policy, batch)
    assert all((entry != 0).any() for entry in gradient)
    assert float((changed - before).abs().max()) > 0.01
    assert torch.equal(value_and_gradient(twin, batch)[0], before)

    with merged(policy), torch.no_grad():
        logp_BT = score(policy, layout_of(batch), batch.tokens_BT, batch.mask_BT)
        assert float((logp_BT - changed).abs().max()) < 1e-4
        write_checkpoint(tmp_path / "merged", policy, letters_tokenizer(), state={})
    assert stored_names(tmp_path / "merged") == stored_names(tmp_path / kind)

    write_adapter(policy, tmp_path / "adapter", start=str(tmp_path / kind))
    again = read_policy(tmp_path / kind)
    read_adapter(again, tmp_path / "adapter")
    assert torch.equal(value_and_gradient(again, batch)[0], changed)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_is_the_same_in_peft(tmp_path: Path) -> None:
    import peft

    folder, model = folder_of(tmp_path, "gpt_neox")
    policy = read_policy(folder)
    add_lora(policy, rank=2, alpha=4.0, targets=TARGETS, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for weight in policy.parameters():
            if weight.requires_grad:
                weight.add_(0.1)
    write_adapter(policy, tmp_path / "adapter", start=str(folder))
    theirs = peft.PeftModel.from_pretrained(model, tmp_path / "adapter").eval()
    layout, sequences = packed()
    with torch.no_grad():
        logits_NV = policy(layout.tokens_N, layout.positions_N, layout) @ policy.head_VD.T
        gap = logits_NV[layout.where_BT[0, : len(sequences[0])]] - theirs(sequences[0][None]).logits[0]
    assert float(gap.abs().max()) < 1e-4


@each_kind
def test_the_cost_counts_every_matrix_but_the_embedding(kind: str, tmp_path: Path) -> None:
    policy = policy_of(tmp_path, kind)
    model = their_model(kind, vocab_size=11)
    count = sum(weight.numel() for weight in model.parameters())
    embedding = model.get_input_embeddings().weight
    if model.get_output_embeddings().weight is not embedding:
        count -= embedding.numel()
    assert forward_flops(policy, 3) == 6 * count


def test_a_user_is_told_that_it_is_slower(tmp_path: Path) -> None:
    folder, _ = folder_of(tmp_path, "gemma")
    notice = slowness(read_config(folder))
    assert notice.startswith("gemma is run through transformers")
    assert "slower" in notice


@each_kind
def test_the_estimate_covers_what_a_forward_pass_keeps(kind: str) -> None:
    """On a larger shape, where what belongs to a token outweighs the rest."""
    changes: dict[str, object] = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 8}
    described = settings(kind, vocab_size=100, **changes)
    policy = HFPolicy(read_shape(Path("config.json"), described))
    own = {weight.untyped_storage().data_ptr() for weight in policy.parameters()}
    kept: dict[int, int] = {}

    def remember(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    layout = rows(torch.zeros(4, 200, dtype=torch.int64))
    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        hidden_ND = policy(layout.tokens_N, layout.positions_N, layout)
    assert hidden_ND.requires_grad
    expected = activation_bytes(policy.config, 800)
    assert 0.3 * expected < sum(kept.values()) < expected

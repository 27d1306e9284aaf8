"""Adapters: what they change, what they leave, and that peft reads them."""

import copy
import json
from pathlib import Path

import pytest
import torch
from tiny import SHAPES, random_tokens, tiny_config, tiny_policy
from torch import Tensor

from aha.policy.layout import pack
from aha.policy.lora import TARGETS, LoRALinear, add_lora, frozen_twin, merged, read_adapter, write_adapter
from aha.policy.pretrained import write_policy
from aha.policy.scoring import score
from aha.policy.transformer import Transformer
from aha.training.batch import stack


def adapted(policy: Transformer, *, rank: int = 3, seed: int = 1, targets: tuple[str, ...] = TARGETS) -> Transformer:
    """The policy with adapters that change something."""
    generator = torch.Generator().manual_seed(seed)
    add_lora(policy, rank=rank, alpha=6.0, targets=targets, generator=generator)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if name.endswith("lora_B"):
                weight.normal_(0.0, 0.1, generator=generator)
    return policy


def scored(policy: Transformer) -> Tensor:
    batch = stack(random_tokens([3, 3, 4]), random_tokens([5, 7, 6], seed=1))
    layout = pack(batch.tokens_BT, batch.lengths_B, [2, 2, 3])
    return score(policy, layout, batch.tokens_BT, batch.mask_BT)


@pytest.mark.parametrize("shape", SHAPES)
def test_fresh_adapters_change_no_bit_and_freeze_the_rest(shape: str) -> None:
    policy = tiny_policy(tiny_config(shape))
    before, names = scored(policy), dict(policy.named_parameters())
    add_lora(policy, rank=2, alpha=4.0, generator=torch.Generator())
    assert torch.equal(scored(policy), before)
    trained = {name for name, weight in policy.named_parameters() if weight.requires_grad}
    assert len(trained) == 2 * 7 * 2
    assert trained.isdisjoint(names)
    assert {name for name, _ in policy.named_parameters()} == trained | names.keys()


def test_gradients_are_those_of_the_full_matrices() -> None:
    """With W' = W + s B A, dL/dB = s dL/dW' A^T and dL/dA = s B^T dL/dW'."""
    policy = adapted(tiny_policy(tiny_config("qwen2-grouped"), dtype=torch.float64))
    scored(policy).sum().backward()
    module = policy.get_submodule("model.layers.0.self_attn.v_proj")
    assert isinstance(module, LoRALinear)
    whole = copy.deepcopy(policy)
    with merged(whole):
        weight = whole.get_submodule("model.layers.0.self_attn.v_proj").weight
        assert isinstance(weight, torch.nn.Parameter)
        weight.requires_grad_(True)
        scored(whole).sum().backward()
    assert weight.grad is not None
    assert module.lora_A.grad is not None
    assert module.lora_B.grad is not None
    assert torch.allclose(module.lora_B.grad, 2 * weight.grad @ module.lora_A.T, rtol=1e-9)
    assert torch.allclose(module.lora_A.grad, 2 * module.lora_B.T @ weight.grad, rtol=1e-9)
    assert all(one.grad is None for one in policy.parameters() if not one.requires_grad)


def test_gradients_are_finite_differences() -> None:
    policy = adapted(tiny_policy(tiny_config(), dtype=torch.float64))
    scored(policy).sum().backward()
    for name in ("model.layers.0.mlp.down_proj.lora_A", "model.layers.1.self_attn.q_proj.lora_B"):
        weight = policy.get_parameter(name)
        assert weight.grad is not None
        with torch.no_grad():
            values = []
            for step in (1e-6, -2e-6):
                weight[1, 1] += step
                values.append(scored(policy).sum())
        assert float((values[0] - values[1]) / 2e-6) == pytest.approx(float(weight.grad[1, 1]), rel=1e-5)


def test_merged_computes_the_same_and_nothing_is_left_of_it() -> None:
    policy = adapted(tiny_policy(tiny_config("qwen2-grouped")))
    before, weights = scored(policy), copy.deepcopy(policy.state_dict())
    plain_names = Transformer(policy.config).state_dict().keys()
    with merged(policy):
        assert policy.state_dict().keys() == plain_names
        assert torch.allclose(scored(policy), before, rtol=0, atol=2e-5)
    assert policy.state_dict().keys() == weights.keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in policy.state_dict().items())
    assert torch.equal(scored(policy), before)


def test_merging_is_exact_to_the_precision_of_the_weights() -> None:
    policy = adapted(tiny_policy(tiny_config(), dtype=torch.float64))
    with merged(policy):
        inside = scored(policy)
    assert torch.allclose(inside, scored(policy), rtol=0, atol=1e-12)


def test_a_merged_policy_comes_back_after_an_error() -> None:
    policy = adapted(tiny_policy(tiny_config()))
    with pytest.raises(RuntimeError, match="halfway"), merged(policy):
        raise RuntimeError("halfway")
    assert isinstance(policy.get_submodule("model.layers.0.self_attn.q_proj"), LoRALinear)


def test_a_twin_shares_what_is_frozen_and_nothing_else() -> None:
    policy = adapted(tiny_policy(tiny_config()))
    twin = frozen_twin(policy)
    for (name, weight), (_, other) in zip(policy.named_parameters(), twin.named_parameters(), strict=True):
        assert (weight is other) == ("lora_" not in name)
        assert torch.equal(weight, other)
    with torch.no_grad():
        policy.get_parameter("model.layers.0.mlp.up_proj.lora_B").zero_()
    assert not torch.equal(scored(policy), scored(twin))


def test_bfloat16_policies_have_float32_adapters() -> None:
    policy = adapted(tiny_policy(tiny_config(), dtype=torch.bfloat16))
    assert policy.get_parameter("model.layers.0.mlp.up_proj.lora_A").dtype == torch.float32
    assert scored(policy).dtype == torch.float32
    with merged(policy):
        assert {weight.dtype for weight in policy.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("shape", ["qwen2-grouped", "qwen3-grouped", "llama-grouped"])
def test_an_adapter_comes_back(shape: str, tmp_path: Path) -> None:
    policy = adapted(tiny_policy(tiny_config(shape)), targets=("q_proj", "down_proj"))
    write_adapter(policy, tmp_path / "adapter", start="somewhere")
    other = tiny_policy(tiny_config(shape))
    read_adapter(other, tmp_path / "adapter")
    assert torch.equal(scored(other), scored(policy))


def damage(folder: Path, **changes: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"use_dora": True}, "use_dora = True is not supported"),
        ({"peft_type": "IA3"}, "peft_type = 'IA3' is not supported"),
        ({"target_modules": "all-linear"}, "target_modules = 'all-linear' is not supported"),
        ({"r": 5}, "does not fit this policy"),
        ({"r": "x"}, "it is damaged"),
        ({"target_modules": ["q_proj", "nothing"]}, "no projection called nothing"),
    ],
)
def test_other_adapters_are_refused(changes: dict[str, object], says: str, tmp_path: Path) -> None:
    write_adapter(adapted(tiny_policy(tiny_config())), tmp_path)
    damage(tmp_path, **changes)
    with pytest.raises(ValueError, match=says):
        read_adapter(tiny_policy(tiny_config()), tmp_path)


def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    policy = tiny_policy(tiny_config())
    with pytest.raises(ValueError, match="must be at least 1"):
        add_lora(policy, rank=0, alpha=1.0, generator=torch.Generator())
    with pytest.raises(ValueError, match="no projection called lm_head; it has down_proj"):
        add_lora(policy, rank=1, alpha=1.0, targets=("lm_head",), generator=torch.Generator())
    with pytest.raises(ValueError, match="no adapters to write"):
        write_adapter(policy, tmp_path)
    with pytest.raises(ValueError, match=r"has no adapter_config\.json"):
        read_adapter(policy, tmp_path)
    adapted(policy)
    with pytest.raises(ValueError, match="has adapters already"):
        adapted(policy)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # peft and transformers warn of their own affairs
@pytest.mark.parametrize("shape", ["qwen2-grouped", "qwen3-grouped", "llama-grouped"])
def test_peft_computes_the_same(shape: str, tmp_path: Path) -> None:
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    policy = tiny_policy(tiny_config(shape, tie_word_embeddings=False))
    for folder in ("start", "adapter", "merged"):
        (tmp_path / folder).mkdir()
    write_policy(policy, tmp_path / "start", end_id=1, pad_id=0)
    adapted(policy)
    write_adapter(policy, tmp_path / "adapter", start=str(tmp_path / "start"))
    with merged(policy):
        write_policy(policy, tmp_path / "merged", end_id=1, pad_id=0)
    tokens_BT = torch.stack(random_tokens([9, 9]))
    layout = pack(tokens_BT, torch.tensor([9, 9]))
    with torch.no_grad():
        ours = policy(layout.tokens_N, layout.positions_N, layout)[layout.where_BT] @ policy.head_VD.T
        start = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "start")
        theirs = peft.PeftModel.from_pretrained(start, tmp_path / "adapter")(tokens_BT).logits
        whole = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(tokens_BT).logits
    assert torch.allclose(ours, theirs, rtol=0, atol=2e-5)
    assert torch.allclose(ours, whole, rtol=0, atol=2e-5)
    (tmp_path / "again").mkdir()
    peft.PeftModel.from_pretrained(
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "start"), tmp_path / "adapter"
    ).save_pretrained(tmp_path / "again")
    back = tiny_policy(tiny_config(shape, tie_word_embeddings=False))
    read_adapter(back, tmp_path / "again")
    assert torch.equal(scored(back), scored(policy))

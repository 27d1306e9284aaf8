"""Weights of other architectures that cannot be used are named, and so is a model that computes something else."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hf_models import quiet, write_their_model
from safetensors.torch import load_file, save_file
from tiny import letters_tokenizer
from torch import Tensor

from aha.policy.hf.attention import attend
from aha.policy.hf.files import check_equal
from aha.policy.hf.model import HFPolicy
from aha.policy.pretrained import read_policy
from aha.policy.reward_model import read_reward_model
from aha.policy.weights import stored_dtype

# `transformers` takes two seconds of every process that imports it.
pytestmark = pytest.mark.full


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder."""
    write_their_model(tmp_path / "model", "gpt_neox", letters_tokenizer())
    return tmp_path / "model"


def change_weights(folder: Path, changing: Callable[[dict[str, Tensor]], Any]) -> None:
    weights = load_file(folder / "model.safetensors")
    changing(weights)
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("changing", "complaint"),
    [
        (lambda weights: weights.pop("gpt_neox.final_layer_norm.bias"), r"missing \['gpt_neox\.final_layer_norm\.bias"),
        (lambda weights: weights.update(stranger=torch.zeros(1)), r"unexpected \['stranger'\]"),
        (
            lambda weights: weights.update({"gpt_neox.final_layer_norm.bias": torch.zeros(3)}),
            r"shape \[.*final_layer_norm\.bias",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(
    changing: Callable[[dict[str, Tensor]], Any], complaint: str, folder: Path
) -> None:
    change_weights(folder, changing)
    with pytest.raises(ValueError, match=rf"the weights in {folder} do not fit its config\.json: .*{complaint}"):
        read_policy(folder)


def test_a_head_that_is_tied_may_be_in_the_files_only_as_a_copy(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_their_model(folder, "gemma", letters_tokenizer())
    expected = read_policy(folder)
    embedding = expected.state_dict()["model.embed_tokens.weight"]
    change_weights(folder, lambda weights: weights.update({"lm_head.weight": embedding.clone()}))
    assert torch.equal(read_policy(folder).head_VD, embedding)
    change_weights(folder, lambda weights: weights.update({"lm_head.weight": embedding + 1}))
    with pytest.raises(ValueError, match=r"an output head of its own, but config\.json ties it .* to false"):
        read_policy(folder)


def test_damaged_files_and_pickles_are_refused_as_for_any_model(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be read .*the checkpoint is damaged"):
        read_policy(folder)
    path.rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"has its weights only in pytorch_model\.bin, which can run code"):
        read_policy(folder)


def test_old_files_hold_what_is_computed_and_are_read_all_the_same(folder: Path) -> None:
    """Pythia's files have masks and frequencies among their weights."""
    expected = read_policy(folder).state_dict()

    def add(weights: dict[str, Tensor]) -> None:
        weights["gpt_neox.layers.0.attention.bias"] = torch.ones(1, 1, 4, 4)
        weights["gpt_neox.layers.0.attention.masked_bias"] = torch.tensor(-1e9)
        weights["gpt_neox.layers.0.attention.rotary_emb.inv_freq"] = torch.ones(2)

    change_weights(folder, add)
    found = read_policy(folder).state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def test_an_adapter_beside_the_model_is_not_added_unasked(folder: Path) -> None:
    expected = read_policy(folder).state_dict()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")
    found = read_policy(folder).state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def test_the_type_is_that_of_the_file_where_it_is_asked_for(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update({name: w.bfloat16() for name, w in weights.items()}))
    assert stored_dtype(folder) == torch.bfloat16
    assert read_policy(folder, dtype="auto").head_VD.dtype == torch.bfloat16
    assert read_policy(folder).head_VD.dtype == torch.float32


def test_a_policy_is_no_reward_model(folder: Path) -> None:
    (folder / "reward_model.json").write_text('{"bias": 0.0, "reads": "summary"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"have no score\.weight"):
        read_reward_model(folder)


def policy_in(folder: Path) -> HFPolicy:
    policy = read_policy(folder)
    assert isinstance(policy, HFPolicy)
    return policy


def test_a_model_whose_tokens_see_others_beside_attention_is_found_out(folder: Path) -> None:
    policy = policy_in(folder)
    check_equal(policy, folder)

    def mix(module: object, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + output.roll(1, dims=1)

    policy.layers[0].register_forward_hook(mix)
    with pytest.raises(ValueError, match=r"gpt_neox: the logits differ from those of transformers by"):
        check_equal(policy, folder)


def test_logits_that_are_not_those_of_the_head_are_found_out(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_their_model(folder, "granite", letters_tokenizer(), num_key_value_heads=2)
    policy = policy_in(folder)
    check_equal(policy, folder)
    policy.library_model.config.logits_scaling = 1.001
    with pytest.raises(ValueError, match=r"granite: the logits are not what the output head computes"):
        check_equal(policy, folder)


def test_weights_that_are_not_finite_are_left_to_who_looks_for_them(folder: Path) -> None:
    change_weights(folder, lambda weights: weights["gpt_neox.final_layer_norm.bias"].fill_(float("nan")))
    assert not torch.isfinite(policy_in(folder).state_dict()["gpt_neox.final_layer_norm.bias"]).any()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"dropout": 0.1}, "its attention has dropout"),
        ({"sliding_window": 100}, r"the window of 100 tokens is shorter than max_position_embeddings \(256\)"),
        ({"softcap": 50.0}, "its attention needs softcap"),
        ({"s_aux": torch.zeros(4)}, "its attention needs s_aux"),
        ({"is_causal": False}, "its attention is not causal"),
    ],
)
def test_an_attention_that_no_context_has_is_refused(options: dict[str, Any], complaint: str, folder: Path) -> None:
    """Whatever no setting tells of reaches the attention itself."""
    policy = policy_in(folder)
    attention = policy.layers[0].attention
    seen: list[tuple[Tensor, ...]] = []

    def remember(module: object, inputs: object, given: dict[str, Any]) -> None:
        seen.append((given["attention_mask"],))

    attention.register_forward_pre_hook(remember, with_kwargs=True)
    check_equal(policy, folder)
    mask = seen[0][0]
    heads = torch.zeros(1, 4, 9, 8)
    assert attend(attention, heads, heads, heads, mask, scaling=1.0, dropout=0.0, use_cache=False)[0].shape[1:3] == (
        9,
        4,
    )
    with pytest.raises(ValueError, match=complaint):
        attend(attention, heads, heads, heads, mask, scaling=1.0, **options)
    with pytest.raises(ValueError, match="make an attention mask of their own"):
        attend(attention, heads, heads, heads, mask + 1, scaling=1.0)

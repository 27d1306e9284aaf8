"""A model folder that cannot be used is refused with a message that says which file, and why."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import SHAPES, tiny_config, tiny_policy
from torch import Tensor

from aha.policy.pretrained import read_policy, write_policy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder."""
    write_policy(tiny_policy(tiny_config()), tmp_path, end_id=1, pad_id=0)
    return tmp_path


def change(path: Path, **changes: object) -> None:
    """Set keys of a JSON file; an ellipsis removes one."""
    given = json.loads(path.read_text(encoding="utf-8")) | changes
    kept = {name: value for name, value in given.items() if value is not ...}
    path.write_text(json.dumps(kept), encoding="utf-8")


def change_weights(folder: Path, changing: Callable[[dict[str, Tensor]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    changing(weights)
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_read_is_what_was_written(shape: str, is_tied: bool, tmp_path: Path) -> None:
    policy = tiny_policy(tiny_config(shape, tie_word_embeddings=is_tied, rms_norm_eps=1e-4))
    write_policy(policy, tmp_path, end_id=1, pad_id=0)
    found = read_policy(tmp_path)
    assert found.config == policy.config
    assert list(found.state_dict()) == list(policy.state_dict())
    assert all(torch.equal(found.state_dict()[name], weight) for name, weight in policy.state_dict().items())
    assert ("lm_head.weight" in load_file(tmp_path / "model.safetensors")) != is_tied


def test_the_type_of_the_parameters_is_asked_for(folder: Path) -> None:
    assert read_policy(folder, dtype=torch.bfloat16).head_VD.dtype == torch.bfloat16
    write_policy(read_policy(folder, dtype=torch.bfloat16), folder, end_id=1, pad_id=0)
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["torch_dtype"] == "bfloat16"
    assert load_file(folder / "model.safetensors")["model.norm.weight"].dtype == torch.bfloat16
    assert read_policy(folder).head_VD.dtype == torch.float32


def test_shards_are_read_by_their_index(folder: Path) -> None:
    expected = read_policy(folder).state_dict()
    weights = load_file(folder / "model.safetensors")
    names = {name: f"model-0000{1 + place % 3}-of-00003.safetensors" for place, name in enumerate(weights)}
    for file in set(names.values()):
        save_file({name: weights[name] for name in names if names[name] == file}, folder / file)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}), encoding="utf-8")
    found = read_policy(folder).state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ValueError, match=r"has no model-00002-of-00003\.safetensors: the checkpoint is incomplete"):
        read_policy(folder)
    (folder / "model.safetensors.index.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"model\.safetensors\.index\.json is not valid JSON"):
        read_policy(folder)


def test_a_single_file_counts_before_an_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "gone"}}', encoding="utf-8")
    assert read_policy(folder).config == tiny_config()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"no model folder at {tmp_path}/gone: give the folder of a checkpoint"):
        read_policy(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"has no config\.json: it is not a model folder"):
        read_policy(tmp_path)


@pytest.mark.parametrize("content", [b"", b'{"model_type": "qwen3"', b"\xff\xfe", b"[1, 2]"])
def test_a_broken_config_is_named(content: bytes, folder: Path) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"config\.json (is not valid JSON|holds no JSON object).*the checkpoint is damaged"
    ):
        read_policy(folder)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"model_type": 3}, r"model_type: Input should be 'qwen2', 'qwen3', 'llama' or 'mistral' \(given: 3\)"),
        ({"model_type": ...}, r"model_type: Input should be 'qwen2', 'qwen3', 'llama' or 'mistral' \(given: None\)"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4}}, r"rotary scaling 'yarn' is not supported"),
        ({"rope_parameters": ..., "rope_scaling": {"type": "linear"}}, r"rotary scaling 'linear' is not supported"),
        ({"use_sliding_window": True}, r"sliding-window attention is not supported"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, r"sliding-window attention is not supported"),
        (
            {"model_type": "mistral", "sliding_window": 100},
            r"sliding-window attention is not supported, and the window of 100 tokens is shorter than "
            r"max_position_embeddings \(256\): lower max_position_embeddings to 100",
        ),
        (
            {"model_type": "mistral", "sliding_window": ..., "max_position_embeddings": 8192},
            r"the window of 4096 tokens",
        ),
        (
            {"rope_parameters": {"rope_type": "llama3", "factor": 8}},
            r"original_max_position_embeddings: Field required",
        ),
        ({"rope_parameters": "llama3"}, r"rotary scaling"),
        ({"partial_rotary_factor": 0.5}, r"partial_rotary_factor 0\.5 is not supported"),
        ({"mlp_bias": True}, r"mlp_bias is not supported"),
        ({"quantization_config": {"quant_method": "fp8"}}, r"quantised checkpoints are not supported"),
        ({"hidden_act": "gelu"}, r"activation 'gelu' is not supported, only 'silu'"),
        ({"hidden_size": -1}, r"hidden_size: .*greater than 0 \(given: -1\)"),
        ({"hidden_size": "wide"}, r"hidden_size: .*valid integer.*\(given: 'wide'\)"),
        ({"vocab_size": ...}, r"vocab_size: Field required"),
        ({"num_attention_heads": ...}, r"num_attention_heads: Field required"),
        ({"num_key_value_heads": 3}, r"num_attention_heads 4 is not a multiple of num_key_value_heads 3"),
        ({"head_dim": 7}, r"head_dim: .*multiple of 2 \(given: 7\)"),
    ],
)
def test_a_config_that_is_not_supported_says_why(changes: dict[str, object], complaint: str, folder: Path) -> None:
    change(folder / "config.json", **changes)
    with pytest.raises(ValueError, match=rf"config\.json: .*{complaint}"):
        read_policy(folder)


def test_settings_that_a_config_leaves_out_have_the_usual_values(tmp_path: Path) -> None:
    plain = tiny_config(rope_theta=10000.0, num_key_value_heads=4, rms_norm_eps=1e-6, tie_word_embeddings=False)
    write_policy(tiny_policy(plain), tmp_path, end_id=1, pad_id=0)
    left_out = (
        "rope_theta",
        "rope_parameters",
        "num_key_value_heads",
        "head_dim",
        "rms_norm_eps",
        "tie_word_embeddings",
    )
    change(tmp_path / "config.json", **dict.fromkeys(left_out, ...))
    assert read_policy(tmp_path).config == plain


@pytest.mark.parametrize(
    ("changing", "complaint"),
    [
        (lambda weights: weights.pop("model.norm.weight"), r"missing \['model\.norm\.weight'\]"),
        (lambda weights: weights.update(stranger=torch.zeros(1)), r"unexpected \['stranger'\]"),
        (
            lambda weights: weights.update({"model.norm.weight": torch.zeros(3)}),
            r"of another shape \['model\.norm\.weight'\]",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(
    changing: Callable[[dict[str, Tensor]], None], complaint: str, folder: Path
) -> None:
    change_weights(folder, changing)
    with pytest.raises(ValueError, match=rf"the weights in {folder} do not fit its config\.json: .*{complaint}"):
        read_policy(folder)


def test_weights_of_another_family_do_not_fit(folder: Path) -> None:
    change(folder / "config.json", model_type="qwen2")
    with pytest.raises(ValueError, match=r"missing \['model\.layers\.0\.self_attn\.k_proj\.bias'.*unexpected .*k_norm"):
        read_policy(folder)


@pytest.mark.parametrize("size", [0, 4, 500, -1])
def test_torn_weights_are_named(size: int, folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be read .*the checkpoint is damaged"):
        read_policy(folder)
    path.unlink()
    with pytest.raises(ValueError, match=r"has no model\.safetensors: the checkpoint is incomplete"):
        read_policy(folder)

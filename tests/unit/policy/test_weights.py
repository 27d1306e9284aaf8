"""Weights are read one tensor after the other, from any number of files, and nothing that could be code is read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_config, tiny_policy
from torch import nn

from aha.policy.pretrained import read_policy, write_policy
from aha.policy.transformer import Transformer
from aha.policy.weights import load_weights, write_weights

MEASURE = """
import json, sys
from pathlib import Path
from aha.policy.pretrained import read_policy

def now():
    with open("/proc/self/status") as file:
        return 1024 * next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))

before = now()
policy = read_policy(Path(sys.argv[1]), dtype="auto")
[line] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
peak = 1024 * int(line.split()[1])
weights = sum(weight.nbytes for weight in policy.parameters())
print(json.dumps({"over": peak - before, "weights": weights}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder."""
    write_policy(tiny_policy(tiny_config()), tmp_path, end_id=1, pad_id=0)
    return tmp_path


def fill(path: Path, **changes: object) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from /proc")
@pytest.mark.parametrize("shard", [40_000_000, 5_000_000_000])
def test_reading_needs_little_more_memory_than_the_weights_and_one_shard(shard: int, tmp_path: Path) -> None:
    """Peak of a fresh process: the weights, and at most 1.2 times the largest shard."""
    config = tiny_config(
        vocab_size=16_000, hidden_size=768, intermediate_size=2816, num_hidden_layers=4, tie_word_embeddings=False
    )
    with torch.device("meta"):
        shape = Transformer(config)
    policy = shape.bfloat16().to_empty(device="cpu")
    write_policy(policy, tmp_path, end_id=1, pad_id=0, max_shard_bytes=shard)
    largest = max(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    run = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    assert found["weights"] > 100_000_000
    assert found["over"] <= found["weights"] + 1.2 * largest


def test_weights_are_whole_numbers_of_shards_with_an_index(tmp_path: Path) -> None:
    weights = {name: torch.arange(10.0) + place for place, name in enumerate("abcde")}
    write_weights(weights, tmp_path, max_bytes=80)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text(encoding="utf-8"))
    assert index["metadata"]["total_size"] == 200
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == [
        f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)
    ]
    for name, weight in weights.items():
        assert torch.equal(load_file(tmp_path / index["weight_map"][name])[name], weight)


def test_a_tensor_larger_than_a_shard_has_a_file_of_its_own(tmp_path: Path) -> None:
    write_weights({"a": torch.zeros(3), "b": torch.zeros(1000), "c": torch.zeros(3)}, tmp_path, max_bytes=40)
    sizes = [len(load_file(path)) for path in sorted(tmp_path.glob("*.safetensors"))]
    assert sizes == [1, 1, 1]


def test_what_was_read_stays_when_the_file_changes(folder: Path) -> None:
    policy = read_policy(folder)
    before = {name: weight.clone() for name, weight in policy.state_dict().items()}
    path = folder / "model.safetensors"
    with path.open("r+b") as file:
        file.write(b"\0" * path.stat().st_size)
    assert all(torch.equal(before[name], weight) for name, weight in policy.state_dict().items())


def test_a_model_on_the_meta_device_gets_all_its_weights(folder: Path) -> None:
    policy = read_policy(folder)
    assert not any(weight.is_meta for weight in policy.state_dict().values())
    assert all(weight.requires_grad and weight.is_leaf for weight in policy.parameters())
    assert policy.head_VD is policy.model.embed_tokens.weight


def test_reading_draws_nothing(folder: Path) -> None:
    before = torch.get_rng_state()
    read_policy(folder)
    assert torch.equal(torch.get_rng_state(), before)


def test_pickles_are_never_loaded(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"weights only in pytorch_model\.bin, which can run code .* convert it"):
        read_policy(folder)


@pytest.mark.parametrize("places", [None, [], {}, {"a": "../model.safetensors"}, {"a": "/etc/passwd"}])
def test_an_index_names_files_of_its_own_folder(places: object, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"index\.json names no files of this folder: the checkpoint is damaged"):
        read_policy(folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_quantised_weights_are_refused(dtype: torch.dtype, folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    save_file({**weights, name: weights[name].to(dtype)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=rf"{name} as (I8|F8_E4M3): quantised weights are not supported"):
        read_policy(folder)


def test_a_tied_head_may_be_in_the_file_but_not_another_one(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    embedding = weights["model.embed_tokens.weight"]
    save_file({**weights, "lm_head.weight": embedding.clone()}, folder / "model.safetensors")
    assert torch.equal(read_policy(folder).head_VD, embedding)
    save_file({**weights, "lm_head.weight": embedding + 1}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"a lm_head\.weight of its own, but config\.json ties it .* to false"):
        read_policy(folder)
    fill(folder / "config.json", tie_word_embeddings=False)
    assert torch.equal(read_policy(folder).head_VD, embedding + 1)


def test_frequencies_that_old_checkpoints_hold_are_ignored(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    save_file(weights, folder / "model.safetensors")
    assert read_policy(folder).config == tiny_config()


def test_names_may_differ_between_model_and_file(tmp_path: Path) -> None:
    write_weights({"weight": torch.ones(2, 3)}, tmp_path)
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(3, 2, bias=False))
    load_weights(model, tmp_path, stored_name=lambda name: name.removeprefix("0."), dtype=torch.float64)
    assert torch.equal(model[0].weight, torch.ones(2, 3, dtype=torch.float64))

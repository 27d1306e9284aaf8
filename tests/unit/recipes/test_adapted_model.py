"""A LoRA adapter as the start of a run: its model with the adapter added, in an ordinary folder."""

import json
from pathlib import Path

import pytest
import torch
from tiny import letters_tokenizer, randomise, tiny_config, tiny_policy

from aha.policy.lora import CONFIG, WEIGHTS, add_lora, merged, write_adapter
from aha.policy.pretrained import read_policy
from aha.policy.transformer import Transformer
from aha.recipes.base_model import open_base
from aha.training.checkpoint import write_checkpoint


@pytest.fixture
def adapted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Transformer:
    """A policy with adapters; its frozen weights are in `model`, its adapters in `adapter`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    policy = tiny_policy(tiny_config())
    write_checkpoint(tmp_path / "model", policy, letters_tokenizer(), state={})
    add_lora(policy, rank=2, alpha=4.0, generator=torch.Generator())
    randomise(policy, seed=1)
    policy.load_state_dict(tiny_policy(tiny_config()).state_dict(), strict=False)
    write_adapter(policy, tmp_path / "adapter", start=str(tmp_path / "model"))
    return policy


def test_a_run_starts_from_the_sum(adapted: Transformer, tmp_path: Path) -> None:
    start = open_base(tmp_path / "adapter")
    read = read_policy(start.path).state_dict()
    with merged(adapted):
        expected = adapted.state_dict()
        assert all(torch.equal(read[name], weight) for name, weight in expected.items())
    assert start.key != open_base(tmp_path / "model").key


def test_it_is_merged_once_and_anew_where_the_model_is_another(adapted: Transformer, tmp_path: Path) -> None:
    first = open_base(tmp_path / "adapter")
    assert open_base(str(tmp_path / "adapter")).path == first.path
    described = json.loads((tmp_path / "adapter" / CONFIG).read_text())
    write_checkpoint(tmp_path / "other", tiny_policy(tiny_config(), seed=5), letters_tokenizer(), state={})
    (tmp_path / "adapter" / CONFIG).write_text(
        json.dumps(described | {"base_model_name_or_path": str(tmp_path / "other")})
    )
    assert open_base(tmp_path / "adapter").key != first.key


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        (CONFIG, "{}", r"adapter_config\.json cannot be read .* damaged"),
        (CONFIG, '{"base_model_name_or_path": ""}', "does not say which model it belongs to: fill in"),
        (CONFIG, '{"base_model_name_or_path": "no/such/model"}', "neither a folder nor a name on the hub"),
        (WEIGHTS, None, r"has no adapter_model\.safetensors"),
        (WEIGHTS, "torn", "cannot be read .* damaged"),
    ],
)
@pytest.mark.usefixtures("adapted")
def test_what_cannot_be_merged_is_named_and_leaves_nothing(
    name: str, content: str | None, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "adapter" / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=complaint):
        open_base(tmp_path / "adapter")
    assert not list((tmp_path / "cache").rglob("*.safetensors"))

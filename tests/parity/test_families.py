"""Checkpoints of every family as published: the same logits, prompts and tokens as in transformers, in and out."""

import datetime as dt
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lazy_transformers as transformers
import pytest
import torch
from checkpoints import FAMILIES, SHAPE, TEXTS, TOKENIZERS, write_tokenizer_files
from safetensors.torch import load_file
from torch import Tensor, nn

from aha.policy.layout import rows
from aha.policy.pretrained import read_policy, write_policy
from aha.policy.transformer import Transformer
from aha.prompts.chat import chat
from aha.prompts.pretrained import read_tokenizer
from aha.training.checkpoint import read_model, write_checkpoint

# `transformers` takes two seconds of every process that imports it.
pytestmark = pytest.mark.full

os.environ["HF_HUB_OFFLINE"] = "1"

TOLERANCE = 1e-5
"""Largest difference of a logit in float32, of logits whose standard deviation is 1."""

MAX_BF16, MEAN_BF16 = 0.4, 0.03
"""Largest and mean difference of a logit in bfloat16, from theirs in bfloat16 and from float32."""

QUESTIONS = ("1 + 1", "  从 7 23 选两个得 30\n", "what is {{ x }} {% y %} in {0}?", "<think> \\boxed{3} </think>", "")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """No progress bars while models are loaded."""
    transformers.utils.logging.disable_progress_bar()
    yield
    transformers.utils.logging.enable_progress_bar()


def their_model(family: str, **changes: Any) -> nn.Module:
    """A random model whose every parameter counts, and whose logits have a standard deviation of about 1."""
    config = transformers.AutoConfig.for_model(**{**SHAPE, **FAMILIES[family], **changes})
    model: nn.Module = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:
                weight.normal_(1.0 if "norm" in name else 0.0, 0.2, generator=generator)
            else:
                weight.normal_(0.0, weight.shape[1] ** -0.5, generator=generator)
    return model.eval()


def their_folder(folder: Path, family: str, tokenizer: str, **changes: Any) -> nn.Module:
    """Write a model folder, and return its model."""
    model = their_model(family, **changes)
    model.save_pretrained(folder)
    write_tokenizer_files(folder, tokenizer)
    return model


@torch.no_grad()
def our_logits(policy: Transformer, tokens_BT: Tensor) -> Tensor:
    layout = rows(tokens_BT)
    hidden_ND = policy(layout.tokens_N, layout.positions_N, layout)
    return (hidden_ND @ policy.head_VD.T).view(*tokens_BT.shape, -1).float()


@torch.no_grad()
def their_logits(model: nn.Module, tokens_BT: Tensor) -> Tensor:
    logits_BTV: Tensor = model(tokens_BT).logits
    return logits_BTV.float()


def some_tokens() -> Tensor:
    return torch.randint(0, SHAPE["vocab_size"], (2, 300), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_theirs_and_in_half_precision_within_the_tolerance(family: str, tmp_path: Path) -> None:
    model = their_model(family)
    model.save_pretrained(tmp_path)
    exact = their_logits(model, some_tokens())
    assert 0.8 < float(exact.std()) < 1.2
    assert float((our_logits(read_policy(tmp_path), some_tokens()) - exact).abs().max()) <= TOLERANCE

    # Half precision takes long on the CPU: fewer tokens, whose logits do not depend on later ones.
    tokens_BT = some_tokens()[:, :80]
    exact = exact[:, :80]
    theirs = their_logits(model.bfloat16(), tokens_BT)
    ours = our_logits(read_policy(tmp_path, dtype=torch.bfloat16), tokens_BT)
    for other in (theirs, exact):
        assert float((ours - other).abs().max()) <= MAX_BF16
        assert float((ours - other).abs().mean()) <= MEAN_BF16
    assert float((ours - exact).abs().mean()) <= 1.1 * float((theirs - exact).abs().mean())


def test_the_rotary_scaling_matters(tmp_path: Path) -> None:
    model = their_model("llama3")
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    given = json.loads(path.read_text(encoding="utf-8"))
    rope = given.pop("rope_parameters")
    theta, scaling = rope["rope_theta"], {name: value for name, value in rope.items() if name != "rope_theta"}
    theirs = their_logits(model, some_tokens())
    path.write_text(json.dumps({**given, "rope_theta": theta, "rope_scaling": scaling}), encoding="utf-8")
    assert float((our_logits(read_policy(tmp_path), some_tokens()) - theirs).abs().max()) <= TOLERANCE
    path.write_text(json.dumps({**given, "rope_theta": theta}), encoding="utf-8")
    assert float((our_logits(read_policy(tmp_path), some_tokens()) - theirs).abs().max()) > 100 * TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_in_and_out_again_is_the_same(family: str, tmp_path: Path) -> None:
    kind = {"qwen2": "qwen2.5", "qwen3": "qwen3", "llama": "llama3", "mistral": "mistral"}[
        FAMILIES[family]["model_type"]
    ]
    model = their_folder(tmp_path / "theirs", family, kind)
    before = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    policy, tokenizer = read_model(tmp_path / "theirs", dtype="auto")
    write_checkpoint(tmp_path / "ours", policy, tokenizer, state={})
    old, new = (load_file(tmp_path / name / "model.safetensors") for name in ("theirs", "ours"))
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) and old[name].dtype == new[name].dtype for name in old)
    again = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "ours", dtype="auto", attn_implementation="eager"
    )
    assert torch.equal(their_logits(again, some_tokens()), their_logits(model, some_tokens()))
    stops = json.loads((tmp_path / "theirs" / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    kept = again.generation_config.eos_token_id
    assert set(kept if isinstance(kept, list) else [kept]) == set(stops if isinstance(stops, list) else [stops])
    after = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert after.chat_template == before.chat_template == TOKENIZERS[kind]["template"]
    assert (tmp_path / "ours" / "chat_template.jinja").read_bytes() == before.chat_template.encode()
    assert after.get_vocab() == before.get_vocab()
    assert after.special_tokens_map == before.special_tokens_map
    assert after.model_max_length == before.model_max_length
    for text in TEXTS:
        assert after(text).input_ids == before(text).input_ids
        assert tokenizer.encode(text).tolist() == before(text, add_special_tokens=False).input_ids


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_type_of_a_checkpoint_is_kept_where_it_is_asked_for(dtype: torch.dtype, tmp_path: Path) -> None:
    their_model("qwen2-tied").to(dtype).save_pretrained(tmp_path)
    assert read_policy(tmp_path, dtype="auto").head_VD.dtype == dtype
    assert read_policy(tmp_path).head_VD.dtype == torch.float32


@pytest.mark.parametrize("family", ["qwen2-tied", "mistral"])
def test_our_shards_are_theirs(family: str, tmp_path: Path) -> None:
    model = their_model(family)
    model.save_pretrained(tmp_path / "theirs")
    (tmp_path / "ours").mkdir()
    policy = read_policy(tmp_path / "theirs")
    write_policy(policy, tmp_path / "ours", end_id=1, pad_id=0, max_shard_bytes=100_000)
    files = sorted((tmp_path / "ours").glob("*.safetensors"))
    assert len(files) > 3
    assert all(path.stat().st_size < 150_000 for path in files)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", attn_implementation="eager")
    assert torch.equal(their_logits(again, some_tokens()), their_logits(model, some_tokens()))
    back = read_policy(tmp_path / "ours").state_dict()
    assert all(torch.equal(back[name], weight) for name, weight in policy.state_dict().items())


@pytest.mark.parametrize("system", [None, "Reason step by step."])
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_prompts_are_theirs(kind: str, system: str | None, tmp_path: Path) -> None:
    write_tokenizer_files(tmp_path, kind)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    tokenizer = read_tokenizer(tmp_path, room=512)
    for options in ({}, {"enable_thinking": False}, {"date_string": "1 Jan 2025"}):
        template = chat(tokenizer, system=system, now=dt.datetime.now(), options=options)
        for question in QUESTIONS:
            messages = [{"role": "system", "content": system}] if system else []
            messages.append({"role": "user", "content": question})
            given = {"add_generation_prompt": True, **options}
            prompt = theirs.apply_chat_template(messages, tokenize=False, **given)
            assert template(question) == prompt
            ids = theirs.apply_chat_template(messages, tokenize=True, return_dict=False, **given)
            assert tokenizer.encode_prompt(prompt).tolist() == ids


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_prompts_without_a_chat_template_begin_as_theirs(kind: str, tmp_path: Path) -> None:
    write_tokenizer_files(tmp_path, kind)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    tokenizer = read_tokenizer(tmp_path, room=512)
    for text in TEXTS:
        assert tokenizer.encode_prompt(text).tolist() == theirs(text).input_ids
        assert tokenizer.encode(text).tolist() == theirs(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(tokenizer.encode_prompt(text)) == theirs.decode(
            theirs(text).input_ids, skip_special_tokens=True
        )

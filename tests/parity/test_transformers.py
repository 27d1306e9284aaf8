"""What is written here transformers loads with the same logits, and the other way round."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import lazy_transformers as transformers
import pytest
import torch
from tiny import LETTERS, SHAPES, letters_tokenizer, tiny_config, tiny_policy, world_tokenizer
from torch import Tensor

from aha.engines.engine import Decoding, Request, sample
from aha.engines.local import LocalEngine
from aha.policy.layout import rows
from aha.policy.pretrained import read_policy
from aha.policy.transformer import Transformer
from aha.prompts.templates import r1_zero
from aha.training.checkpoint import read_model, write_checkpoint

# `transformers` takes two seconds of every process that imports it.
pytestmark = pytest.mark.full

os.environ["HF_HUB_OFFLINE"] = "1"

TOLERANCE = 1e-5
QUESTIONS = ("compute 3 + 4 - 2", "从 7 23 16 18 选两个得 41", "use 3 8 2 to make 9", "solve x ^ 2 - 5 x + 6 = 0")
TEXTS = (
    r1_zero(QUESTIONS[0]) + " <think> 3 + 4 = 7 , 7 - 2 = 5 . </think> <answer> 5 </answer>",
    "从 7 23 选两个得 30 : 试 7 + 23 = 30 ? 30 对",
    "an unheard-of word",
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """No progress bars while models are loaded."""
    transformers.utils.logging.disable_progress_bar()
    yield
    transformers.utils.logging.enable_progress_bar()


@torch.no_grad()
def our_logits(policy: Transformer, tokens_BT: Tensor) -> Tensor:
    layout = rows(tokens_BT)
    hidden_ND = policy(layout.tokens_N, layout.positions_N, layout)
    return (hidden_ND @ policy.head_VD.T).view(*tokens_BT.shape, -1)


@torch.no_grad()
def their_logits(model: torch.nn.Module, tokens_BT: Tensor) -> Tensor:
    logits_BTV: Tensor = model(tokens_BT).logits
    return logits_BTV


def some_tokens(vocab_size: int) -> Tensor:
    return torch.randint(0, vocab_size, (2, 40), generator=torch.Generator().manual_seed(3))


def their_model(shape: str, *, is_tied: bool) -> torch.nn.Module:
    """A random model of transformers' own, with its own defaults for whatever we do not name."""
    config = transformers.AutoConfig.for_model(**their_arguments(shape), tie_word_embeddings=is_tied)
    torch.manual_seed(0)
    model: torch.nn.Module = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return model.eval()


def their_arguments(shape: str) -> dict[str, object]:
    given = tiny_config(shape).model_dump()
    return {name: given[name] for name in given if name not in ("rope_theta", "tie_word_embeddings")}


each_shape = pytest.mark.parametrize(("shape", "is_tied"), [(shape, "grouped" in shape) for shape in SHAPES])
"""Every shape; of each family one has tied embeddings and one has not."""


@each_shape
def test_ours_in_transformers(shape: str, is_tied: bool, tmp_path: Path) -> None:
    policy = tiny_policy(tiny_config(shape, tie_word_embeddings=is_tied, rms_norm_eps=1e-3))
    write_checkpoint(tmp_path / "ours", policy, letters_tokenizer(), state={})
    model = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "ours", dtype=torch.float32, attn_implementation="eager"
    )
    tokens_BT = some_tokens(policy.config.vocab_size)
    assert float((their_logits(model, tokens_BT) - our_logits(policy, tokens_BT)).abs().max()) < TOLERANCE
    assert (model.generation_config.eos_token_id, model.generation_config.pad_token_id) == (1, 0)


@each_shape
def test_theirs_in_ours(shape: str, is_tied: bool, tmp_path: Path) -> None:
    model = their_model(shape, is_tied=is_tied)
    model.save_pretrained(tmp_path)
    policy = read_policy(tmp_path)
    assert policy.config.tie_word_embeddings == is_tied
    assert (policy.head_VD is policy.model.embed_tokens.weight) == is_tied
    tokens_BT = some_tokens(policy.config.vocab_size)
    assert float((our_logits(policy, tokens_BT) - their_logits(model, tokens_BT)).abs().max()) < TOLERANCE


def test_their_shards_in_ours(tmp_path: Path) -> None:
    model = their_model("qwen3-grouped", is_tied=False)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 1
    policy, tokens_BT = read_policy(tmp_path), some_tokens(11)
    assert float((our_logits(policy, tokens_BT) - their_logits(model, tokens_BT)).abs().max()) < TOLERANCE


def test_their_half_precision_in_ours(tmp_path: Path) -> None:
    model = their_model("llama-grouped", is_tied=True).bfloat16()
    model.save_pretrained(tmp_path)
    read = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    policy, tokens_BT = read_policy(tmp_path), some_tokens(11)
    assert policy.head_VD.dtype == torch.float32
    assert float((our_logits(policy, tokens_BT) - their_logits(read, tokens_BT)).abs().max()) < TOLERANCE


def test_their_old_style_of_rotary_settings_in_ours(tmp_path: Path) -> None:
    model = their_model("llama-multi-head", is_tied=False)
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    rope = written.pop("rope_parameters")
    assert rope["rope_theta"] == 10000.0
    for old in ({"rope_theta": 10000.0, "rope_scaling": None}, {}):
        (tmp_path / "config.json").write_text(json.dumps({**written, **old}), encoding="utf-8")
        tokens_BT = some_tokens(11)
        ours = our_logits(read_policy(tmp_path), tokens_BT)
        assert float((ours - their_logits(model, tokens_BT)).abs().max()) < TOLERANCE


def test_there_and_back_again_is_bit_for_bit(tmp_path: Path) -> None:
    policy = tiny_policy(tiny_config("qwen3-grouped", tie_word_embeddings=False))
    write_checkpoint(tmp_path / "ours", policy, letters_tokenizer(), state={})
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.float32)
    model.save_pretrained(tmp_path / "theirs")
    transformers.AutoTokenizer.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    back, tokenizer = read_model(tmp_path / "theirs")
    assert back.config == policy.config
    for name, weight in policy.state_dict().items():
        assert torch.equal(weight, back.state_dict()[name]), name
    assert tokenizer.end_id == letters_tokenizer().end_id
    assert tokenizer.encode(" ".join(LETTERS)).tolist() == letters_tokenizer().encode(" ".join(LETTERS)).tolist()


def test_their_tokenizer_is_ours(tmp_path: Path) -> None:
    tokenizer = world_tokenizer()
    policy = tiny_policy(tiny_config(vocab_size=tokenizer.vocab_size))
    write_checkpoint(tmp_path / "ours", policy, tokenizer, state={})
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert (theirs.eos_token, theirs.eos_token_id) == (tokenizer.end, tokenizer.end_id)
    assert (theirs.pad_token, theirs.pad_token_id) == (tokenizer.pad, tokenizer.pad_id)
    assert len(theirs) == tokenizer.vocab_size
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert theirs(text, add_special_tokens=False).input_ids == ids.tolist()
        assert theirs(text).input_ids == ids.tolist()
        assert theirs.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids)


@pytest.mark.parametrize("question", QUESTIONS)
def test_their_chat_template_is_our_template(question: str, tmp_path: Path) -> None:
    policy = tiny_policy(tiny_config(vocab_size=world_tokenizer().vocab_size))
    write_checkpoint(tmp_path / "ours", policy, world_tokenizer(), state={})
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    messages = [{"role": "user", "content": question}]
    prompt = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt == r1_zero(question)
    without = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    assert r1_zero(question) == without + "Assistant:"


def test_their_greedy_generation_is_ours(tmp_path: Path) -> None:
    policy = tiny_policy(tiny_config("qwen3-grouped"), seed=4)
    write_checkpoint(tmp_path / "ours", policy, letters_tokenizer(), state={})
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.float32)
    decoding = Decoding(max_new_tokens=12, temperature=0.0)
    request = Request(id="p", prompt="a b c", seed=("greedy",), decoding=decoding)
    [[rollout]] = sample(LocalEngine(policy, letters_tokenizer()), [request], 1)
    prompt_1T = letters_tokenizer().encode("a b c")[None]
    generated_1T = model.generate(
        prompt_1T, attention_mask=torch.ones_like(prompt_1T), max_new_tokens=12, do_sample=False
    )
    assert generated_1T[0, 3:].tolist() == rollout.tokens.tolist()

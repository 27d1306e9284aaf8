"""Models in GGUF files: written here as llama.cpp writes them, and read into ordinary folders."""

from pathlib import Path

import gguf
import pytest
import torch
from tiny import tiny_config, tiny_policy

from aha.policy.pretrained import read_policy
from aha.policy.transformer import Transformer
from aha.prompts.pretrained import read_tokenizer
from aha.recipes.base_model import open_base
from aha.runs import gguf as module
from aha.runs.gguf import gguf_folder

# `transformers` takes two seconds of every process that imports it.
pytestmark = pytest.mark.full

ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2, "qwen3": gguf.MODEL_ARCH.QWEN3}
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def vocabulary() -> list[str]:
    """Tokens of a byte-level encoding: all bytes, one merge, and the special tokens."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {**{byte: chr(byte) for byte in printable}, **{byte: chr(256 + n) for n, byte in enumerate(others)}}
    return [*(letters[byte] for byte in range(256)), "ab", "<|endoftext|>", "<|begin|>"]


def as_llama_has_them(weight: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Rows of a query or key projection in the order of llama.cpp, which rotates neighbouring pairs."""
    rows, columns = weight.shape
    return weight.reshape(num_heads, 2, rows // num_heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_gguf(path: Path, family: str, kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32) -> Transformer:
    """A GGUF file of a random policy."""
    tokens = vocabulary()
    # The library takes Qwen3's head for 128 numbers wide, as it is in every Qwen3 that was released.
    width = {"head_dim": 128} if family == "qwen3" else {}
    policy = tiny_policy(tiny_config(f"{family}-grouped", vocab_size=len(tokens), intermediate_size=64, **width))
    config = policy.config
    writer = gguf.GGUFWriter(path, family)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_vocab_size(len(tokens))

    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * (len(tokens) - 2) + [gguf.TokenType.CONTROL] * 2)
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(len(tokens) - 2)
    writer.add_bos_token_id(len(tokens) - 1)
    writer.add_pad_token_id(len(tokens) - 2)
    writer.add_chat_template(TEMPLATE)

    names = gguf.get_tensor_name_map(ARCHITECTURES[family], config.num_hidden_layers)
    for name, weight in policy.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if family == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            is_query = name.endswith("q_proj.weight")
            weight = as_llama_has_them(weight, config.num_attention_heads if is_query else config.num_key_value_heads)
        stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert stored is not None
        is_whole = kind is gguf.GGMLQuantizationType.F32 or weight.dim() == 1
        numbers = weight.detach().numpy()
        writer.add_tensor(
            stored, numbers if is_whole else gguf.quantize(numbers, kind), raw_dtype=None if is_whole else kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return policy


@pytest.mark.parametrize("family", [*ARCHITECTURES])
def test_a_policy_comes_back_with_its_tokenizer(family: str, tmp_path: Path) -> None:
    policy = write_gguf(tmp_path / "model.gguf", family)
    folder = gguf_folder(tmp_path / "model.gguf", cache=tmp_path / "cache")
    read = read_policy(folder)
    assert read.config.model_dump() == pytest.approx(policy.config.model_dump())
    for name, weight in policy.state_dict().items():
        assert torch.equal(read.state_dict()[name], weight), name
    tokenizer = read_tokenizer(folder, room=policy.config.vocab_size)
    assert tokenizer.encode("abba").tolist() == [256, ord("b"), ord("a")]
    assert (tokenizer.end_id, tokenizer.chat_template) == (257, TEMPLATE)


def test_quantised_weights_are_the_numbers_that_they_stand_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = gguf.GGMLQuantizationType.Q8_0
    policy = write_gguf(tmp_path / "model.gguf", "qwen2", kind)
    read = read_policy(gguf_folder(tmp_path / "model.gguf", cache=tmp_path / "cache"))
    assert "F32, Q8_0 weights become float32" in capsys.readouterr().err
    name = "model.layers.0.mlp.up_proj.weight"
    weight = policy.state_dict()[name].numpy()
    expected = torch.from_numpy(gguf.dequantize(gguf.quantize(weight, kind), kind))
    assert torch.equal(read.state_dict()[name], expected)
    assert not torch.equal(read.state_dict()[name], policy.state_dict()[name])


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_gguf(tmp_path / "model.gguf", "qwen2")
    first = open_base(tmp_path / "model.gguf")

    def refuse(*_: object) -> None:
        raise ValueError("read again")

    monkeypatch.setattr(module, "_convert", refuse)
    again = open_base(str(tmp_path / "model.gguf"))
    assert (again.path, again.key) == (first.path, first.key)
    assert first.path.parent == tmp_path / "cache" / "aha" / "gguf"


def test_a_file_that_cannot_be_read_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    cache = tmp_path / "cache"
    with pytest.raises(ValueError, match=r"there is no file .*absent\.gguf"):
        gguf_folder(tmp_path / "absent.gguf", cache=cache)
    write_gguf(path, "qwen2")
    whole = path.read_bytes()
    for torn in (b"", b"no such format", whole[: len(whole) // 2]):
        path.write_bytes(torn)
        with pytest.raises(ValueError, match=r"model\.gguf is no GGUF file, or not all of one"):
            gguf_folder(path, cache=cache)

    for key, value, complaint in (
        ("general.architecture", "mamba", "holds a model of architecture mamba: llama, mistral, qwen2, qwen3 can be"),
        ("split.count", 3, "is one of 3 parts of a model: join them"),
    ):
        writer = gguf.GGUFWriter(path, value if isinstance(value, str) else "llama")
        if isinstance(value, int):
            writer.add_uint16(key, value)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        with pytest.raises(ValueError, match=complaint):
            gguf_folder(path, cache=cache)

    writer = gguf.GGUFWriter(path, "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ValueError, match="cannot be read as a model"):
        gguf_folder(path, cache=cache)
    assert not cache.exists() or not any(cache.iterdir())


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setitem(module.sys.modules, "gguf", None)
    with pytest.raises(RuntimeError, match=r"pip install 'aha\[gguf\]'"):
        gguf_folder(tmp_path / "model.gguf", cache=tmp_path)

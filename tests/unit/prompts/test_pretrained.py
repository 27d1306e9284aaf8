"""Tokenizers of real checkpoints: special tokens wherever they stand, several ends, and bytes that are no text."""

import json
from pathlib import Path

import pytest
import torch
from checkpoints import TEXTS, TOKENIZERS, trained, write, write_tokenizer_files
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as RawTokenizer

from aha.prompts.pretrained import read_tokenizer, write_tokenizer
from aha.prompts.templates import r1_zero
from aha.prompts.tokenizer import Tokenizer


def tokenizer_of(folder: Path, kind: str = "qwen2.5") -> Tokenizer:
    write_tokenizer_files(folder, kind)
    return read_tokenizer(folder, room=512)


def change(path: Path, **changes: object) -> None:
    """Set keys of a JSON file; an ellipsis removes one."""
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    write(path, {name: value for name, value in content.items() if value is not ...})


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer of byte-level pieces."""
    return tokenizer_of(tmp_path_factory.mktemp("qwen"))


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_special_tokens_and_stops(kind: str, tmp_path: Path) -> None:
    tokenizer, declared = tokenizer_of(tmp_path, kind), TOKENIZERS[kind]
    assert {tokenizer.raw.id_to_token(id) for id in tokenizer.stop_ids} == set(declared["stops"])
    assert tokenizer.stop_ids[0] == tokenizer.end_id
    assert tokenizer.begin == declared.get("begin")
    assert tokenizer.pad == (declared["config"].get("pad_token") or tokenizer.end)
    assert tokenizer.chat_template == declared["template"]


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_what_is_written_is_what_was_read(kind: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    tokenizer = tokenizer_of(first, kind)
    write_tokenizer(tokenizer, second)
    described = json.loads((first / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert json.loads((second / "tokenizer_config.json").read_text(encoding="utf-8")) == described
    write(second / "generation_config.json", {"eos_token_id": list(tokenizer.stop_ids)})
    again = read_tokenizer(second, room=512)
    assert again.raw.to_str() == tokenizer.raw.to_str()
    assert (again.stop_ids, again.end_id, again.pad_id, again.begin_id, again.chat_template) == (
        tokenizer.stop_ids,
        tokenizer.end_id,
        tokenizer.pad_id,
        tokenizer.begin_id,
        tokenizer.chat_template,
    )


def test_another_way_of_prompting_keeps_the_rest(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tmp_path, "llama3")
    other = tokenizer.with_chat_template("{{ 1 }}")
    assert other.chat_template == "{{ 1 }}"
    assert (other.stop_ids, other.begin, other.described) == (tokenizer.stop_ids, tokenizer.begin, tokenizer.described)


def test_special_tokens_may_stand_in_their_own_file(tmp_path: Path) -> None:
    write_tokenizer_files(tmp_path, "llama3")
    change(tmp_path / "tokenizer_config.json", eos_token=..., bos_token=None)
    tokenizer = read_tokenizer(tmp_path, room=512)
    assert (tokenizer.end, tokenizer.begin) == ("<|eot_id|>", "<|begin_of_text|>")


@pytest.mark.parametrize("name", ["generation_config.json", "config.json"])
def test_the_end_token_may_be_named_by_its_id_alone(name: str, tmp_path: Path) -> None:
    write_tokenizer_files(tmp_path, "qwen2.5")
    change(tmp_path / "tokenizer_config.json", eos_token=None)
    for file in ("generation_config.json", "config.json", "special_tokens_map.json"):
        (tmp_path / file).unlink(missing_ok=True)
    raw = RawTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    write(tmp_path / name, {"eos_token_id": raw.token_to_id("<|im_end|>")})
    tokenizer = read_tokenizer(tmp_path, room=512)
    assert tokenizer.end == "<|im_end|>"
    assert tokenizer.stop_ids == (raw.token_to_id("<|im_end|>"),)


def test_stops_may_stand_in_the_models_configuration(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tmp_path, "llama3")
    stops = tokenizer.stop_ids
    (tmp_path / "generation_config.json").unlink()
    assert read_tokenizer(tmp_path, room=512).stop_ids == (tokenizer.end_id,)
    write(tmp_path / "config.json", {"eos_token_id": list(stops)})
    assert read_tokenizer(tmp_path, room=512).stop_ids == stops
    write(tmp_path / "generation_config.json", {"eos_token_id": stops[1]})
    assert read_tokenizer(tmp_path, room=512).stop_ids == stops[:2]


@pytest.mark.parametrize("stops", ["</s>", [1, "2"], True, [-1], {"id": 1}])
def test_stops_that_are_no_ids_are_refused(stops: object, tmp_path: Path) -> None:
    write_tokenizer_files(tmp_path, "mistral")
    change(tmp_path / "generation_config.json", eos_token_id=stops)
    with pytest.raises(ValueError, match=r"generation_config\.json: eos_token_id must be one token id or a list"):
        read_tokenizer(tmp_path, room=512)


@pytest.mark.parametrize(
    ("stated", "expected"), [("</answer>", ("</answer>",)), (["a", "b"], ("a", "b")), ([], ()), (None, ()), (..., ())]
)
def test_texts_that_end_a_response_are_read(stated: object, expected: tuple[str, ...], tmp_path: Path) -> None:
    write_tokenizer_files(tmp_path, "mistral")
    change(tmp_path / "generation_config.json", stop_strings=stated)
    tokenizer = read_tokenizer(tmp_path, room=512)
    assert tokenizer.stop_strings == expected
    assert tokenizer.with_chat_template("{{ 1 }}").stop_strings == expected
    assert tokenizer.trained_with(r1_zero, ("x",)).stop_strings == ("x",)
    assert tokenizer.trained_with(r1_zero).stop_strings == ()


@pytest.mark.parametrize("stated", [7, [1], [""], "", {"a": "b"}])
def test_texts_that_could_not_end_a_response_are_refused(stated: object, tmp_path: Path) -> None:
    write_tokenizer_files(tmp_path, "mistral")
    change(tmp_path / "generation_config.json", stop_strings=stated)
    with pytest.raises(ValueError, match=r"generation_config\.json: stop_strings must be a text or a list of texts"):
        read_tokenizer(tmp_path, room=512)


def test_a_stop_that_the_tokenizer_lacks_is_refused(tmp_path: Path) -> None:
    write_tokenizer_files(tmp_path, "mistral")
    change(tmp_path / "generation_config.json", eos_token_id=[500])
    with pytest.raises(ValueError, match=r"no token of id 500: tokenizer\.json and the stop tokens .* disagree"):
        read_tokenizer(tmp_path, room=512)


@pytest.mark.parametrize("name", ["eos_token", "bos_token", "pad_token"])
def test_a_special_token_that_the_tokenizer_lacks_is_refused(name: str, tmp_path: Path) -> None:
    write_tokenizer_files(tmp_path, "qwen2.5")
    change(tmp_path / "tokenizer_config.json", **{name: "<|missing|>"})
    with pytest.raises(ValueError, match=r"no token '<\|missing\|>': tokenizer\.json and the tokens named"):
        read_tokenizer(tmp_path, room=512)


def test_a_template_may_be_one_of_several(tmp_path: Path) -> None:
    write_tokenizer_files(tmp_path, "mistral")
    several = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    change(tmp_path / "tokenizer_config.json", chat_template=several)
    assert read_tokenizer(tmp_path, room=512).chat_template == "d"
    (tmp_path / "chat_template.jinja").write_bytes(b"{{ 'a' }}\r\n")
    assert read_tokenizer(tmp_path, room=512).chat_template == "{{ 'a' }}\r\n"


def test_a_tokenizer_larger_than_its_model_is_refused(tmp_path: Path) -> None:
    num_tokens = tokenizer_of(tmp_path).vocab_size
    assert read_tokenizer(tmp_path, room=num_tokens).vocab_size == num_tokens
    with pytest.raises(ValueError, match=rf"has {num_tokens} tokens, the model only {num_tokens - 1}"):
        read_tokenizer(tmp_path, room=num_tokens - 1)


def test_a_sentencepiece_model_alone_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").touch()
    with pytest.raises(ValueError, match=r"has no tokenizer\.json: .*convert tokenizer\.model"):
        read_tokenizer(tmp_path, room=512)


@pytest.mark.parametrize("kind", ["llama3", "mistral", "distilled"])
def test_a_prompt_begins_with_what_begins_every_text_and_only_once(kind: str, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tmp_path, kind)
    begin = [tokenizer.begin_id]
    for text in (*TEXTS, ""):
        plain = tokenizer.encode(text).tolist()
        assert tokenizer.encode_prompt(text).tolist() == begin + plain
        assert tokenizer.encode_prompt(str(tokenizer.begin) + text).tolist() == begin + plain
    assert tokenizer.encode_prompts(TEXTS) == [tokenizer.encode_prompt(text).tolist() for text in TEXTS]


def test_where_nothing_begins_a_text_a_prompt_is_its_tokens(qwen: Tokenizer) -> None:
    assert qwen.begin_id is None
    for text in TEXTS:
        assert qwen.encode_prompt(text).tolist() == qwen.encode(text).tolist()
        assert qwen.decode(qwen.encode(text)) == text


def test_special_tokens_in_a_text_are_special_tokens(qwen: Tokenizer) -> None:
    ids = qwen.encode("<|im_start|>user\nhi<|im_end|>").tolist()
    assert (ids[0], ids[-1]) == (qwen.raw.token_to_id("<|im_start|>"), qwen.end_id)


@given(st.lists(st.integers(0, 511), max_size=30))
def test_any_tokens_can_be_decoded(ids: list[int]) -> None:
    """Pieces of characters, control tokens, and ids that only the padded embedding has."""
    raw = RawTokenizer.from_str(trained())
    raw.add_special_tokens(["<end>"])
    tokenizer = Tokenizer(raw, end="<end>")
    assert tokenizer.vocab_size < 512
    assert isinstance(tokenizer.decode(torch.tensor(ids, dtype=torch.int64)), str)


def test_half_a_character_is_no_error(qwen: Tokenizer) -> None:
    ids = qwen.encode("🙃")
    assert len(ids) > 1
    assert qwen.decode(ids) == "🙃"
    assert "�" in qwen.decode(ids[:1])
    assert qwen.decode(torch.tensor([511, *ids.tolist(), 500])) == "🙃"

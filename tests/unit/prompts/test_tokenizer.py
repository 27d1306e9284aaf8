"""Every number, word, sign and Chinese character of the world is a token, and text survives the journey."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import world_tokenizer
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import models

from aha.problems.world.corpus import vocabulary
from aha.prompts.templates import r1_zero
from aha.prompts.tokenizer import END, PAD, UNKNOWN, Tokenizer, build_tokenizer

ROUND_TRIPS = (
    "find two of 7 23 16 18 that make 41",
    "<think> try 7 + 23 = 30 ? 41 no wait try 23 + 18 = 41 ? 41 yes </think> <answer> 23 + 18 </answer>",
    "从 7 23 16 18 选两个得 41",
    "<think> 试 7 + 23 = 30 ? 41 错等试 23 + 18 = 41 ? 41 对 </think> <answer> 23 + 18 </answer>",
    "solve 2 x ^ 2 - 5 x + 6 = 0",
    "( 3 + 8 ) - 2 * 4 / 1 !",
    r1_zero("compute 3 + 4 - 2"),
)


def tokens(text: str) -> list[str]:
    return [str(world_tokenizer().raw.id_to_token(id)) for id in world_tokenizer().encode(text).tolist()]


@pytest.mark.parametrize("text", ROUND_TRIPS)
def test_text_of_the_world_comes_back_as_it_was(text: str) -> None:
    tokenizer = world_tokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.unknown_words(text) == []


def test_blanks_do_not_matter() -> None:
    assert tokens("从 7 23 选两个得 30") == ["从", "7", "23", "选", "两", "个", "得", "30"]
    for same in ("从7 23选两个得30", " 从 7  23 选 两 个 得 30 ", "从\n7\t23 选两个得30"):
        assert tokens(same) == tokens("从 7 23 选两个得 30")
    assert tokens("<think>try 7+23=30?41 no</think>") == tokens("<think> try 7 + 23 = 30 ? 41 no </think>")
    assert tokens("<think>7+23</think>") == ["<think>", "7", "+", "23", "</think>"]
    assert tokens("i.e., yes.") == ["i.e.", ",", "yes", "."]


def test_a_number_is_one_token_and_a_chinese_character_is_one_token() -> None:
    for number in range(50):
        assert tokens(str(number)) == [str(number)]
    for character in "从选两个得用试等查错对":
        assert tokens(character) == [character]


@given(st.lists(st.sampled_from(vocabulary()), min_size=1, max_size=12))
def test_any_words_of_the_world_survive(words: list[str]) -> None:
    tokenizer = world_tokenizer()
    ids = tokenizer.encode(" ".join(words))
    assert tokenizer.encode(tokenizer.decode(ids)).tolist() == ids.tolist()
    assert [tokenizer.raw.id_to_token(id) for id in ids.tolist()] == words


@given(st.text(max_size=40))
def test_any_text_can_be_encoded(text: str) -> None:
    tokenizer = world_tokenizer()
    ids = tokenizer.encode(text)
    assert ids.dtype == torch.int64
    assert all(0 <= id < tokenizer.vocab_size for id in ids.tolist())
    assert len(tokenizer.unknown_words(text)) <= len(ids)


def test_unknown_words_are_named_in_order() -> None:
    assert world_tokenizer().unknown_words("find 50 of 7 apples , 龙 x") == ["50", "apples", "龙"]


def test_special_tokens_are_not_text() -> None:
    tokenizer = world_tokenizer()
    ids = torch.tensor([tokenizer.pad_id, *tokenizer.encode("yes no").tolist(), tokenizer.end_id])
    assert tokenizer.decode(ids) == "yes no"
    assert tokenizer.decode(torch.empty(0, dtype=torch.int64)) == ""
    assert tokenizer.decode(tokenizer.encode("<think> </think>")) == "<think> </think>"


def test_many_texts_are_encoded_as_each() -> None:
    tokenizer = world_tokenizer()
    assert tokenizer.encode_all(ROUND_TRIPS) == [tokenizer.encode(text).tolist() for text in ROUND_TRIPS]


def test_the_vocabulary_is_in_order_and_without_doubles() -> None:
    words = vocabulary()
    assert len(words) == len(set(words))
    tokenizer = build_tokenizer(words, ["yes unheard-of <tag>"])
    expected = [PAD, END, UNKNOWN, *words, "unheard", "<tag>"]
    assert [tokenizer.raw.id_to_token(id) for id in range(tokenizer.vocab_size)] == expected
    assert (tokenizer.pad_id, tokenizer.end_id) == (0, 1)


def test_its_json_is_read_by_the_library() -> None:
    raw = RawTokenizer.from_str(world_tokenizer().raw.to_str())
    again = Tokenizer(raw, end=END, pad=PAD)
    for text in ROUND_TRIPS:
        assert again.encode(text).tolist() == world_tokenizer().encode(text).tolist()
        assert again.decode(again.encode(text)) == world_tokenizer().decode(world_tokenizer().encode(text))
    assert raw.get_vocab() == world_tokenizer().raw.get_vocab()


def test_special_tokens_that_the_vocabulary_lacks_are_refused() -> None:
    raw = world_tokenizer().raw
    with pytest.raises(ValueError, match=r"no token '<\|im_end\|>': tokenizer.json and the tokens named"):
        Tokenizer(raw, end="<|im_end|>")
    with pytest.raises(ValueError, match=r"no token '<none>'"):
        Tokenizer(raw, end=END, pad="<none>")
    assert Tokenizer(raw, end=END).pad_id == 1


def test_truncation_and_padding_of_a_file_are_turned_off() -> None:
    raw = RawTokenizer(models.WordLevel({"a": 0, END: 1}, unk_token="a"))
    raw.enable_truncation(1)
    raw.enable_padding(length=5)
    raw.add_tokens(["bb"])
    tokenizer = Tokenizer(raw, end=END)
    assert tokenizer.encode("bbbbbb").tolist() == [2, 2, 2]
    assert tokenizer.encode_all(["bb", "bbbb"]) == [[2], [2, 2]]

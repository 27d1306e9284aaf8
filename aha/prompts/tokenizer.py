"""Text to tokens and back.

A tokenizer is a standard `tokenizer.json`. The built-in world has one of its own: a word-level vocabulary in which
every number is one token and every Chinese character is one token, so that a model of half a million parameters can
do arithmetic.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any

import torch
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as RawTokenizer
from torch import Tensor

from aha.prompts.templates import CHAT_TEMPLATES, Template, jinja_of

__all__ = ["END", "PAD", "UNKNOWN", "Tokenizer", "build_tokenizer"]

PAD = "<pad>"
END = "<eos>"
UNKNOWN = "<unk>"

# Tags, special tokens, commands of LaTeX, the `i.e.` of the R1-Zero template, words, numbers. Every other sign and
# every Chinese character is a piece of its own.
PIECES = r"</?[a-z]+>|<｜[A-Za-z]+｜>|\\[A-Za-z]+|i\.e\.|[A-Za-z]+|[0-9]+|[^\sA-Za-z0-9]"
CJK = "[\u4e00-\u9fff]"


class Tokenizer:
    """Encodes prompts and decodes responses.

    Attributes:
        raw: the underlying `tokenizers.Tokenizer`.
        end: text of the token that ends a response.
        pad: text of the padding token.
        begin: text of the token that begins a text, None where the model has none.
        end_id: the token that ends a response that we write.
        stop_ids: all tokens that end a sampled response, `end_id` first.
        pad_id: a token for padding; its value never reaches a loss.
        begin_id: the token that begins a text, None where the model has none.
        vocab_size: number of tokens, added ones included.
        chat_template: how prompts are written for its model, in Jinja; empty where its checkpoint does not say.
        stop_strings: texts that end a response of its model too, as it was trained; none for most.
        described: what the tokenizer_config.json of its folder says besides, to be written back.
    """

    def __init__(
        self,
        raw: RawTokenizer,
        *,
        end: str,
        pad: str | None = None,
        begin: str | None = None,
        chat_template: str = CHAT_TEMPLATES["r1_zero"],
        stop_ids: Sequence[int] = (),
        described: Mapping[str, Any] | None = None,
    ) -> None:
        """Wrap a tokenizer.

        Args:
            raw: the tokenizer read from a `tokenizer.json`; truncation and padding that it asks for are turned off.
            end: text of the token that ends a response.
            pad: text of the padding token; the end token serves where there is none.
            begin: text of the token that begins a text, for chat templates that write it.
            chat_template: how prompts are written.
            stop_ids: further tokens that end a response.
            described: what else its tokenizer_config.json says.

        Raises:
            ValueError: the vocabulary lacks one of these tokens.
        """
        # A tokenizer.json may ask for both, which would cut long prompts and lengthen short ones without a word.
        raw.no_truncation()
        raw.no_padding()
        self.raw = raw
        self.end = end
        self.pad = pad or end
        self.begin = begin
        self.chat_template = chat_template
        self.end_id = self._id(end)
        self.pad_id = self._id(pad) if pad else self.end_id
        self.begin_id = self._id(begin) if begin else None
        self.stop_ids = (self.end_id, *sorted(set(stop_ids) - {self.end_id}))

        if strangers := [id for id in self.stop_ids if raw.id_to_token(id) is None]:
            raise ValueError(
                f"the tokenizer has no token of id {strangers[0]}: "
                "tokenizer.json and the stop tokens of generation_config.json disagree"
            )

        self.stop_strings: tuple[str, ...] = ()
        self.described = dict(described or {})
        self.vocab_size = raw.get_vocab_size(with_added_tokens=True)
        # Byte-level vocabularies have no such token, because no text is unknown to them.
        unknown = raw.token_to_id(UNKNOWN)
        self._unknown_id = -1 if unknown is None else unknown
        self._before = self._prefix()

    def _id(self, token: str) -> int:
        id = self.raw.token_to_id(token)
        if id is None:
            raise ValueError(
                f"the tokenizer has no token {token!r}: "
                "tokenizer.json and the tokens named in tokenizer_config.json disagree"
            )
        return int(id)

    def _prefix(self) -> list[int]:
        """The tokens that the tokenizer itself puts before every text: the token that begins a text, or none."""
        # Any text will do: what the tokenizer puts before it is the difference between the two encodings.
        plain = self.raw.encode(".", add_special_tokens=False).ids
        full = self.raw.encode(".", add_special_tokens=True).ids
        for start in range(len(full)):
            if plain and full[start : start + len(plain)] == plain:
                return full[:start]
        return []

    @property
    def beginning(self) -> str:
        """The text that the tokenizer puts before every prompt; empty for most."""
        tokens = [str(self.raw.id_to_token(id)) for id in self._before]
        return "".join(tokens)

    def trained_with(self, template: Template, stop: Sequence[str] = ()) -> "Tokenizer":
        """The same tokenizer for a model that was trained in another way, which its checkpoint then names.

        Args:
            template: the prompt of the training.
            stop: texts that ended a response in it.
        """
        jinja = jinja_of(template, beginning=self.beginning)
        tokenizer = self if jinja is None else self.with_chat_template(jinja)
        return tokenizer.with_stop_strings(stop)

    def with_chat_template(self, chat_template: str) -> "Tokenizer":
        """The same tokenizer for a model that is prompted in another way."""
        other = copy(self)
        other.chat_template = chat_template
        return other

    def with_stop_strings(self, stop: Sequence[str]) -> "Tokenizer":
        """The same tokenizer for a model whose responses these texts end too."""
        other = copy(self)
        other.stop_strings = tuple(stop)
        return other

    def encode(self, text: str) -> Tensor:
        """Token ids of a text, [T], int64, without special tokens around it."""
        encoding = self.raw.encode(text, add_special_tokens=False)
        return torch.tensor(encoding.ids, dtype=torch.int64)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of many texts."""
        encodings = self.raw.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def encode_prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of many prompts.

        A prompt begins with what the model saw at the beginning of every text, such as Llama's `<|begin_of_text|>`,
        unless its template wrote it already.
        """
        encoded = []
        for ids in self.encode_all(prompts):
            has_beginning = ids[: len(self._before)] == self._before
            encoded.append(ids if has_beginning else self._before + ids)
        return encoded

    def encode_prompt(self, prompt: str) -> Tensor:
        """Token ids of a prompt, [T], int64; see `encode_prompts`."""
        (ids,) = self.encode_prompts([prompt])
        return torch.tensor(ids, dtype=torch.int64)

    def decode(self, tokens: Tensor) -> str:
        """The text of a response, without the end token and padding, with its tags.

        Ids that the vocabulary lacks (embeddings are often padded to more rows) have no text; bytes of an incomplete
        character become U+FFFD.
        """
        ids = tokens.tolist()
        return str(self.raw.decode(ids, skip_special_tokens=True))

    def unknown_words(self, text: str) -> list[str]:
        """The pieces of a text that the vocabulary lacks, in order."""
        encoding = self.raw.encode(text, add_special_tokens=False)
        words = []
        for id, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True):
            if id == self._unknown_id:
                words.append(text[start:stop])
        return words


def build_tokenizer(words: Iterable[str], texts: Iterable[str] = ()) -> Tokenizer:
    """A word-level tokenizer over exactly these words.

    Args:
        words: the vocabulary, in the order of the token ids.
        texts: texts whose pieces join the vocabulary too, such as the templates.

    Returns:
        A tokenizer whose JSON form any Hugging Face library reads.
    """
    splitter = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    pieces = []
    for text in texts:
        pieces += [piece for piece, _ in splitter.pre_tokenize_str(text) if piece.strip()]

    # A word that comes again keeps its first id.
    vocabulary: dict[str, int] = {PAD: 0, END: 1, UNKNOWN: 2}
    for word in [*words, *pieces]:
        vocabulary.setdefault(word, len(vocabulary))

    raw = RawTokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    raw.normalizer = normalizers.Sequence([normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])
    raw.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), splitter])

    # Pieces are joined by blanks, which then go where text has none: between Chinese characters and before punctuation.
    raw.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            decoders.Replace(Regex(f"(?<={CJK}) (?={CJK})"), ""),
            decoders.Replace(Regex(r" (?=[.,:;])"), ""),
        ]
    )
    raw.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (PAD, END, UNKNOWN)])
    return Tokenizer(raw, end=END, pad=PAD)

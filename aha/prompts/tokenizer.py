"""Text to tokens and back.

A tokenizer is a standard `tokenizer.json`. The built-in world has one of its own: a word-level vocabulary in which
every number is one token and every Chinese character is one token, so that a model of half a million parameters can
do arithmetic.
"""

from collections.abc import Iterable, Sequence

import torch
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as RawTokenizer
from torch import Tensor

from aha.prompts.templates import CHAT_TEMPLATES

__all__ = ["END", "PAD", "UNKNOWN", "Tokenizer", "build_tokenizer"]

PAD, END, UNKNOWN = "<pad>", "<eos>", "<unk>"
PIECES = r"</?[a-z]+>|<｜[A-Za-z]+｜>|\\[A-Za-z]+|i\.e\.|[A-Za-z]+|[0-9]+|[^\sA-Za-z0-9]"
CJK = "[\u4e00-\u9fff]"


class Tokenizer:
    """Encodes prompts and decodes responses.

    Attributes:
        raw: the underlying `tokenizers.Tokenizer`.
        end: text of the token that ends a response.
        pad: text of the padding token.
        end_id: the token that ends a response.
        pad_id: a token for padding; its value never reaches a loss.
        vocab_size: number of tokens, added ones included.
        chat_template: how prompts are written for its model, in Jinja.
    """

    def __init__(
        self, raw: RawTokenizer, *, end: str, pad: str | None = None, chat_template: str = CHAT_TEMPLATES["r1_zero"]
    ) -> None:
        """Wrap a tokenizer.

        Args:
            raw: the tokenizer read from a `tokenizer.json`; truncation and padding that it asks for are turned off.
            end: text of the token that ends a response.
            pad: text of the padding token; the end token serves where there is none.
            chat_template: how prompts are written.

        Raises:
            ValueError: the vocabulary lacks one of the two tokens.
        """
        raw.no_truncation()
        raw.no_padding()
        self.raw, self.end, self.pad, self.chat_template = raw, end, pad or end, chat_template
        self.end_id = self._id(end)
        self.pad_id = self._id(pad) if pad else self.end_id
        self.vocab_size = raw.get_vocab_size(with_added_tokens=True)
        unknown = raw.token_to_id(UNKNOWN)
        self._unknown_id = -1 if unknown is None else unknown

    def _id(self, token: str) -> int:
        found = self.raw.token_to_id(token)
        if found is None:
            raise ValueError(
                f"the tokenizer has no token {token!r}: "
                "tokenizer.json and the tokens named in tokenizer_config.json disagree"
            )
        return int(found)

    def with_chat_template(self, chat_template: str) -> "Tokenizer":
        """The same tokenizer for a model that is prompted in another way."""
        pad = None if self.pad == self.end else self.pad
        return Tokenizer(self.raw, end=self.end, pad=pad, chat_template=chat_template)

    def encode(self, text: str) -> Tensor:
        """Token ids of a text, [T], int64, without special tokens around it."""
        return torch.tensor(self.raw.encode(text, add_special_tokens=False).ids, dtype=torch.int64)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of many texts."""
        return [encoding.ids for encoding in self.raw.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, tokens: Tensor) -> str:
        """Text of a response; the end token and padding are left out, tags are kept."""
        return str(self.raw.decode(tokens.tolist(), skip_special_tokens=True))

    def unknown_words(self, text: str) -> list[str]:
        """Pieces of a text that the vocabulary lacks, in order."""
        encoding = self.raw.encode(text, add_special_tokens=False)
        return [
            text[start:stop]
            for id, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True)
            if id == self._unknown_id
        ]


def build_tokenizer(words: Iterable[str], texts: Iterable[str] = ()) -> Tokenizer:
    """A word-level tokenizer over exactly these words.

    Args:
        words: the vocabulary, in the order of the token ids.
        texts: texts whose pieces join the vocabulary too, such as the templates.

    Returns:
        A tokenizer whose JSON form any Hugging Face library reads.
    """
    splitter = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    vocabulary: dict[str, int] = {PAD: 0, END: 1, UNKNOWN: 2}
    pieces = (piece for text in texts for piece, _ in splitter.pre_tokenize_str(text) if piece.strip())
    for word in [*words, *pieces]:
        vocabulary.setdefault(word, len(vocabulary))
    raw = RawTokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    raw.normalizer = normalizers.Sequence([normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(PIECES), behavior="isolated")]
    )
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

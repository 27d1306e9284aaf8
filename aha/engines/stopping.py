"""Stop strings: text that ends a response, for base models that write on behind their answer.

The response keeps every token up to and including the one that completes the string, also where that token says more
than the string does: what was sampled is what is trained on. Whether a response has ended follows from its own tokens
alone, so that neither the rows beside it nor the steps at which the engine looks decide anything.
"""

from collections.abc import Sequence

from aha.prompts.tokenizer import Tokenizer

__all__ = ["StopStrings"]


class StopStrings:
    """Finds the token at which a response has said one of some strings.

    Attributes:
        num_tail: tokens before the newest ones that have to be seen to recognise a string that the newest complete.
    """

    def __init__(self, strings: Sequence[str], tokenizer: Tokenizer) -> None:
        """Take the strings, none of them empty, and the tokenizer that decodes responses."""
        self._strings = tuple(strings)
        self._tokenizer = tokenizer

        # A token with any text at all has at least one byte of it.
        self.num_tail = max((len(string.encode()) for string in strings), default=0)

    def __bool__(self) -> bool:
        return bool(self._strings)

    def are_in(self, text: str) -> bool:
        """Whether a text holds one of the strings."""
        return any(string in text for string in self._strings)

    def may_end(self, tails: Sequence[Sequence[int]]) -> list[int]:
        """Indices of the rows whose last tokens hold a string: the only ones for which `end_of` has to be asked.

        Args:
            tails: the last tokens of each row, `num_tail` more than are new.
        """
        token_lists = [list(tail) for tail in tails]
        texts = self._tokenizer.raw.decode_batch(token_lists, skip_special_tokens=True)
        return [row for row, text in enumerate(texts) if self.are_in(text)]

    def end_of(self, tokens: Sequence[int], *, num_new: int) -> int | None:
        """Length of a response up to and including the first token with which its text holds one of the strings.

        Args:
            tokens: all tokens of the response.
            num_new: how many of the last ones have not been looked at yet.

        Returns:
            The length; None where none of the new tokens completes a string.
        """
        num_seen = max(0, len(tokens) - num_new)
        text_before = self._text(tokens[:num_seen])
        if self.are_in(text_before):
            return None

        # Text grows with tokens, yet a token may hold a part of a character: each length is decoded as a whole.
        for length in range(num_seen + 1, len(tokens) + 1):
            text = self._text(tokens[:length])
            if self.are_in(text):
                return length
        return None

    def _text(self, tokens: Sequence[int]) -> str:
        """The text of some tokens, without special ones."""
        return str(self._tokenizer.raw.decode(list(tokens), skip_special_tokens=True))

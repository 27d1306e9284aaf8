"""The language-consistency reward: does the chain of thought keep to the language of the question?

Source: DeepSeek-R1, arXiv:2501.12948v2, Eq. 7; v1, 2.3.2.
"""

from dataclasses import dataclass
from types import FunctionType

from aha.prompts.identification import WordCounter
from aha.prompts.language import CountWords, consistency, words_by_language
from aha.prompts.parsing import parse_response
from aha.types import Problem, Rollout, Verdict

__all__ = ["LANGUAGE", "LanguageReward", "language_reward", "load_language_reward"]

LANGUAGE = "language"
"""Name of this reward on the command line."""


def language_reward(problem: Problem, rollout: Rollout) -> Verdict:
    """The fraction of the words of the chain of thought that are in the language of the question.

    Reward_language = Num(Words_target) / Num(Words)

    Its weight in a table is 1: the paper adds it to the other rewards directly.

    Args:
        problem: its language is the target, `en` or `zh`.
        rollout: its thinking is judged, the rest of its text is not.

    Returns:
        The fraction, 0 to 1, and a reason. It is 1.0 for a thinking block without words, and 0.0 for a response
        without a thinking block.

    Raises:
        ValueError: the problem is in a third language; `LanguageReward` can count the words of others.

    Source: DeepSeek-R1, arXiv:2501.12948v2, Eq. 7. Ours: what a word is (`aha.prompts.language.words_by_language`),
    and both values for what the equation leaves open.
    """
    return _judge(problem, rollout, words_by_language)


@dataclass(frozen=True, slots=True)
class LanguageReward:
    """The same reward with another way to count words, for text beyond the built-in world.

    Attributes:
        count: counts the words of each language, for example an `aha.prompts.identification.WordCounter`. A language
            that it does not know has no words: problems in it score 0, unless the thinking has no words at all.

    Source: DeepSeek-R1, arXiv:2501.12948v2, Eq. 7.
    """

    count: CountWords

    @property
    def __name__(self) -> str:
        """The name of the plain function, so that the part of the reward has the same name."""
        return language_reward.__name__

    @property
    def key(self) -> str:
        """The name of the counting function, or else the repr of the counter, which shows its settings."""
        count = self.count
        return count.__qualname__ if isinstance(count, FunctionType) else repr(count)

    def __call__(self, problem: Problem, rollout: Rollout) -> Verdict:
        """The verdict on one rollout, as `language_reward` gives it."""
        return _judge(problem, rollout, self.count)


def load_language_reward(spec: str) -> tuple[LanguageReward, float]:
    """The reward with a counter of real text, as the command line names it.

    Args:
        spec: `language`, with `=WEIGHT` where the weight is not 1.

    Returns:
        The reward function and its weight.

    Raises:
        ValueError: the weight is no number, or the extra that counts words is not installed; says what to do.
    """
    _, _, weight_text = spec.partition("=")
    try:
        weight = float(weight_text or 1.0)
    except ValueError:
        raise ValueError(f"--reward {spec}: {weight_text!r} is no weight, write a number") from None

    # The counter reads a model of languages, which takes a moment: a wrong weight is told before.
    try:
        return LanguageReward(WordCounter()), weight
    except ModuleNotFoundError as error:
        raise ValueError(f"--reward {spec}: {error}") from error


def _judge(problem: Problem, rollout: Rollout, count: CountWords) -> Verdict:
    thinking = parse_response(rollout.text).thinking
    if thinking is None:
        return Verdict(score=0.0, reason="no thinking block")

    # Of the chain of thought alone (R1 v1, 2.3.2): the answer is not looked at.
    fraction = consistency(thinking, problem.language, count=count)
    return Verdict(score=fraction, reason=f"{fraction:.0%} of the words of the thinking are {problem.language!r}")

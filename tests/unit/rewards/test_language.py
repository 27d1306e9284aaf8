"""The language-consistency reward."""

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aha.prompts.language import consistency, words_by_language
from aha.rewards.language import LanguageReward, language_reward, load_language_reward
from aha.rewards.table import identity, part_name, score
from aha.types import Problem, Rollout

MakeRollout = Callable[[str], Rollout]
ENGLISH = Problem(id="p", question="compute 7 + 7", answer="14", domain="arithmetic")
CHINESE = Problem(id="p", question="算 7 + 7", answer="14", domain="arithmetic", language="zh")
FRENCH = Problem(id="p", question="calcule 7 + 7", answer="14", domain="arithmetic", language="fr")
ANSWER = "</think> <answer> 14 </answer>"


def french(text: str) -> Counter[str]:
    return Counter(fr=text.count("donc"), en=text.count("so"))


@pytest.mark.parametrize(
    ("text", "english", "chinese"),
    [
        (f"<think> so 7 + 7 = 14 {ANSWER}", 1.0, 0.0),
        (f"<think> 故 7 + 7 = 14 {ANSWER}", 0.0, 1.0),
        (f"<think> so 7 + 7 = 14 , 对 对 wait {ANSWER}", 0.5, 0.5),
        ("<think> so </think> <answer> 对 </answer>", 1.0, 0.0),
        (f"对 <think> so {ANSWER}", 1.0, 0.0),
        ("<think> so 对 对 对", 0.25, 0.75),
        (f"<think> 7 + 7 = 14 {ANSWER}", 1.0, 1.0),
        (f"<think> {ANSWER}", 1.0, 1.0),
        ("so 7 + 7 = 14", 0.0, 0.0),
        ("so </think> <answer> 14 </answer>", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_the_thinking_is_judged_and_nothing_else(
    text: str, english: float, chinese: float, rollout: MakeRollout
) -> None:
    assert language_reward(ENGLISH, rollout(text)).score == english
    assert language_reward(CHINESE, rollout(text)).score == chinese


def test_the_reason_says_what_was_found(rollout: MakeRollout) -> None:
    mixed = language_reward(ENGLISH, rollout(f"<think> so 对 对 对 {ANSWER}"))
    assert mixed.reason == "25% of the words of the thinking are 'en'"
    assert language_reward(ENGLISH, rollout("so")).reason == "no thinking block"


def test_it_is_added_directly(rollout: MakeRollout) -> None:
    reward = score({"arithmetic": {language_reward: 1.0}}, ENGLISH, rollout(f"<think> so 对 {ANSWER}"))
    assert reward.total == reward.parts["language"] == 0.5


def test_another_count_makes_another_reward_of_the_same_name(rollout: MakeRollout) -> None:
    reward = LanguageReward(french)
    assert reward(FRENCH, rollout(f"<think> donc so so so {ANSWER}")).score == 0.25
    assert reward(FRENCH, rollout("donc")).score == 0.0
    assert part_name(reward) == part_name(language_reward) == "language"
    assert reward == LanguageReward(french)
    assert reward != LanguageReward(words_by_language)
    assert identity(reward) == "language_reward:french"
    assert identity(reward) != identity(LanguageReward(words_by_language))


def test_a_language_without_a_count_is_refused(rollout: MakeRollout) -> None:
    with pytest.raises(ValueError, match="not in 'fr'"):
        language_reward(FRENCH, rollout(f"<think> donc {ANSWER}"))


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "so", "对", "$", "\\", "7", "<", "\x00", "\ud800"])).map("".join)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_gets_a_share(rollout: MakeRollout, text: str) -> None:
    verdict = language_reward(ENGLISH, rollout(text))
    assert 0.0 <= verdict.score <= 1.0
    assert verdict == LanguageReward(words_by_language)(ENGLISH, rollout(text))
    if "<think>" not in text:
        assert verdict.score == 0.0
    if text.startswith("<think>") and text.count("think>") == 1:
        assert verdict.score == consistency(text, "en")


@pytest.mark.parametrize(("spec", "weight"), [("language", 1.0), ("language=", 1.0), ("language=0.25", 0.25)])
def test_the_weight_is_one_unless_it_is_named(spec: str, weight: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aha.rewards.language.WordCounter", lambda: french)
    assert load_language_reward(spec) == (LanguageReward(french), weight)


def test_a_weight_that_is_no_number_is_told_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aha.rewards.language.WordCounter", None)
    with pytest.raises(ValueError, match=r"^--reward language=much: 'much' is no weight, write a number$"):
        load_language_reward("language=much")

"""Another model rewrites, judges and compares: shown with a real server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from endpoint_server import Server, environment, reply, server

from aha.engines.endpoint import Endpoint
from aha.recipes.r1.assistant import OtherModel
from aha.runs.folder import RunFolder
from aha.stages.harvests.assistance import Balanced, comparing, judging, rewriting
from aha.stages.reward_models.sources import InMemoryPreferences
from aha.types import Draft, Preference, Problem

__all__ = ["environment", "server"]

FACT = Problem(id="fact", question="what colour is grass", answer="green", domain="fact")


@pytest.fixture
def endpoint(server: Server) -> Iterator[Endpoint]:
    with Endpoint(server.url, "m", api_key="k", pause_seconds=0.001, max_retries=1) as made:
        yield made


def drafts(*questions: str) -> list[Draft]:
    return [
        Draft(problem=Problem(id=text, question=text, answer="5", domain="arithmetic"), thinking="2 + 3", answer="5")
        for text in questions
    ]


def test_drafts_are_rewritten_in_order_and_a_failure_is_one_draft(server: Server, endpoint: Endpoint) -> None:
    server.act = lambda prompt, count: (500, {}) if "compute 2" in prompt else (200, reply("<think> a </think> b"))
    written = rewriting(endpoint, seed=0)(drafts("compute 1", "compute 2", "compute 3"))
    assert written == ["<think> a </think> b", None, "<think> a </think> b"]
    assert endpoint.failures == {"http 500": 2}
    seeds = {body["seed"] for body in server.bodies}
    assert len(seeds) == 3
    assert all("same language" in prompt for prompt in server.prompts)


@pytest.mark.parametrize(
    ("said", "verdict"),
    [('{"analysis": "", "correctness": "correct"}', True), ('{"correctness": "incorrect"}', False), ("perhaps", None)],
)
def test_a_prediction_is_judged(server: Server, endpoint: Endpoint, said: str, verdict: bool | None) -> None:
    server.act = lambda prompt, count: (200, reply(said))
    assert judging(endpoint)([(FACT, "grass is green .")]) == [verdict]
    assert "green" in server.prompts[0]


def test_all_predictions_are_judged_at_once_and_equal_ones_with_one_request(server: Server, endpoint: Endpoint) -> None:
    """No verdict comes before as many requests are under way as there are workers."""
    words = [f"word{number}" for number in range(endpoint.num_workers)]

    def only_the_third(prompt: str, count: int) -> object:
        server.wait_for(endpoint.num_workers)
        return 200, reply(f'{{"correctness": "{"correct" if "word2" in prompt else "incorrect"}"}}')

    server.act = only_the_third
    predictions = [(FACT, f"it is {word} .") for word in words]
    verdicts = [word == "word2" for word in words]
    assert judging(endpoint)([*predictions, *predictions]) == verdicts * 2
    assert len(server.prompts) == endpoint.num_workers


def test_a_judge_that_cannot_be_reached_has_no_verdict(server: Server, endpoint: Endpoint) -> None:
    server.act = lambda prompt, count: (503, {}) if "grey" in prompt else (200, reply('{"correctness": "correct"}'))
    assert judging(endpoint)([(FACT, "grey"), (FACT, "green")]) == [None, True]
    assert endpoint.failures == {"http 503": 2}


def shown_first(prompt: str, better: str) -> bool:
    other = {"lily": "rose", "rose": "lily"}[better]
    return prompt.index(better) < prompt.index(other)


def test_four_votes_make_a_label(server: Server, endpoint: Endpoint) -> None:
    server.act = lambda prompt, count: (200, reply("[[A>>B]]" if shown_first(prompt, "lily") else "[[B>>A]]"))
    assert comparing(endpoint, seed=0)(FACT, ["lily", "rose"]) == [1.0, 0.0]
    assert comparing(endpoint, seed=0)(FACT, ["rose", "lily"]) == [0.0, 1.0]
    assert len(server.prompts) == 8


def test_any_number_of_responses_is_compared_with_all_votes_at_once(server: Server, endpoint: Endpoint) -> None:
    """The longer response is far better; no vote is answered before as many are under way as there are workers."""
    flowers = ["vv-lily", "xxxx-lily", "u-lily", "www-lily"]

    def longer(prompt: str, count: int) -> object:
        server.wait_for(endpoint.num_workers)
        first, second = sorted((one for one in flowers if one in prompt), key=prompt.index)
        return 200, reply("[[A>>B]]" if len(first) > len(second) else "[[B>>A]]")

    server.act = longer
    assert comparing(endpoint, seed=0)(FACT, flowers) == [1.0, 3.0, 0.0, 2.0]
    assert len(server.prompts) == 6 * 4


def test_a_judge_who_prefers_the_first_gives_no_label(server: Server, endpoint: Endpoint) -> None:
    server.act = lambda prompt, count: (200, reply("[[A>>B]]"))
    assert comparing(endpoint, seed=0)(FACT, ["lily", "rose"]) is None
    assert comparing(endpoint, seed=0)(FACT, ["lily"]) is None


def test_what_was_answered_is_not_asked_again(server: Server, tmp_path: Path) -> None:
    server.act = lambda prompt, count: (200, reply("<think> a </think> b"))
    model = OtherModel(base_url=server.url, model="m")
    for _ in range(2):
        assistant = model.assistant(RunFolder(tmp_path), 0)
        assert assistant.editor(drafts("compute 1", "compute 2")) == ["<think> a </think> b"] * 2
        assistant.close()
    assert len(server.prompts) == 2
    assert len([json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]) == 2


def pair(chosen: str, rejected: str) -> Preference:
    return Preference(problem_id="p", prompt="", responses=(rejected, chosen), qualities=(0.0, 1.0), source="judge")


def test_lengths_are_balanced_and_what_is_no_pair_is_left_out() -> None:
    longer = [pair("x" * (20 + n), "x" * 20) for n in range(9)]
    shorter = [pair("x" * 20, "x" * (20 + n)) for n in (1, 2, 3)]
    tie = Preference(problem_id="p", prompt="", responses=("a", "b"), qualities=(1.0, 1.0), source="judge")
    given = InMemoryPreferences(preferences=[*longer, *shorter, tie])
    kept = Balanced(source=given)()
    gaps = [len(one.responses[1]) - len(one.responses[0]) for one in kept]
    assert 0 <= sum(gaps) <= 0.02 * 20 * len(gaps) + 1
    assert kept == [one for one in [*longer, *shorter] if one in kept]
    assert len(kept) > len(shorter)
    assert Balanced(source=given).key != given.key

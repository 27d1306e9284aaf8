"""An endpoint is asked at a given pace, again after a failure, and never twice: shown with a real server."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoint_server import KEY, Server, environment, reply, server
from house_rules import ROOT

from aha.engines.endpoint import Answer, ChatRequest, Endpoint, Pace
from aha.runs.ledger import Ledger

__all__ = ["environment", "server"]


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[..., Endpoint]]:
    """Makes endpoints at the server that do not pause for long, and closes them."""
    made: list[Endpoint] = []

    def make(**settings: Any) -> Endpoint:
        made.append(Endpoint(server.url, "m", **{"api_key": KEY, "pause_seconds": 0.001, "num_workers": 3, **settings}))
        return made[-1]

    yield make
    for endpoint in made:
        endpoint.close()


Connect = Callable[..., Endpoint]


def requests(count: int) -> list[ChatRequest]:
    return [ChatRequest(messages=f"q{number}") for number in range(count)]


# Asking


@pytest.mark.full
def test_a_prompt_is_sent_as_asked(server: Server, connect: Connect) -> None:
    assert connect().ask("why?", temperature=0, max_tokens=7, seed=3) == "re: why?"
    sampling = {"temperature": 0.0, "max_tokens": 7, "seed": 3}
    assert server.bodies == [{"model": "m", "messages": [{"role": "user", "content": "why?"}], **sampling}]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_a_conversation_is_sent_as_it_is_and_no_seed_without_one(server: Server, connect: Connect) -> None:
    conversation = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "why?"}]
    assert connect().ask(conversation) == "re: why?"
    assert server.bodies[0]["messages"] == conversation
    assert "seed" not in server.bodies[0]


def test_the_key_comes_from_the_environment(server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(api_key=None).ask("q")
    monkeypatch.setenv("OPENAI_API_KEY", "from outside")
    connect(api_key=None).ask("q")
    assert [headers["Authorization"] for headers in server.headers] == ["Bearer none", "Bearer from outside"]


def test_answers_are_in_the_order_of_the_requests(server: Server, connect: Connect) -> None:
    first = threading.Event()

    def act(prompt: str, count: int) -> Any:
        if prompt == "q0":
            first.wait(10)
        elif prompt == "q5":
            first.set()
        return 200, reply(prompt)

    server.act = act
    assert connect().ask_all(requests(6)) == [Answer(text=f"q{number}") for number in range(6)]
    assert first.is_set()


def test_no_requests_no_answers(server: Server, connect: Connect) -> None:
    assert connect().ask_all([]) == []


# Failures

MODES: dict[str, tuple[Any, str]] = {
    "429": ((429, {"error": {"message": "slow down"}}), "http 429"),
    "500": ((500, b"oh no"), "http 500"),
    "hang": ("hang", "timeout"),
    "cut": ("cut", "connection"),
    "no json": ((200, b"<html>"), "malformed"),
    "deep json": ((200, b"[" * 100_000), "malformed"),
    "not utf-8": ((200, b'{"choices": \xff}'), "malformed"),
    "list": ((200, []), "malformed"),
    "error as reply": ((200, {"error": "no"}), "malformed"),
    "no message": ((200, {"choices": [{}]}), "malformed"),
    "parts": ((200, reply([{"text": "x"}])), "malformed"),
    "no choices": ((200, {"choices": []}), "empty"),
    "null": ((200, reply(None)), "empty"),
    "blank": ((200, reply(" \n")), "empty"),
}


def test_a_failure_is_counted_and_another_attempt_made(server: Server, connect: Connect) -> None:
    server.act = lambda prompt, count: (200, reply("fine")) if count else MODES[prompt][0]
    hasty, patient = connect(timeout_seconds=0.5), connect(timeout_seconds=5)
    for mode, (_, kind) in MODES.items():
        endpoint = hasty if mode == "hang" else patient
        before = Counter(endpoint.failures)
        assert endpoint.ask(mode) == "fine", mode
        assert Counter(endpoint.failures) - before == {kind: 1}, mode
        assert server.prompts.count(mode) == 2, mode


@pytest.mark.parametrize("mode", ["429", "cut", "no json", "null"])
def test_failing_for_good_spares_the_others(server: Server, connect: Connect, mode: str) -> None:
    act, kind = MODES[mode]
    server.act = lambda prompt, count: act if prompt == "q1" else (200, reply("fine"))
    endpoint = connect(timeout_seconds=5, max_retries=1)
    first, second, third = endpoint.ask_all(requests(3))
    assert first == third == Answer(text="fine")
    assert second.text is None
    assert second.failure.startswith(kind)
    assert endpoint.failures == {kind: 2}


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        ((400, {"error": {"message": "too many tokens"}}), "http 400"),
        ((401, {"error": {"message": f"wrong key {KEY}"}}), "http 401"),
        ((404, b"no such model"), "http 404"),
        ((200, reply("half an ans", "length")), "length"),
    ],
)
def test_some_failures_are_final_at_once(server: Server, connect: Connect, act: Any, kind: str) -> None:
    server.act = lambda prompt, count: act
    endpoint = connect()
    (answer,) = endpoint.ask_all(requests(1))
    assert answer.text is None
    assert answer.failure.startswith(f"{kind}: ")
    assert KEY not in answer.failure
    assert len(answer.failure) < 400
    assert endpoint.failures == {kind: 1}


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with Endpoint(url, "m", max_retries=1, pause_seconds=0) as endpoint:
            assert endpoint.ask("q") is None
            assert endpoint.failures == {"connection": 2}


def test_a_text_that_cannot_be_sent_is_a_failure(server: Server, connect: Connect) -> None:
    endpoint = connect()
    assert endpoint.ask("a lone surrogate \ud800") is None
    assert endpoint.failures == {"unsendable": 1}
    assert server.bodies == []


@pytest.mark.full
def test_pauses_double_and_heed_the_server(server: Server, connect: Connect) -> None:
    server.act = lambda prompt, count: (429, {}, ("Retry-After", "0.2")) if count == 3 else (500, {})
    assert connect(max_retries=4, pause_seconds=0.02).ask("q") is None
    gaps = [later - earlier for earlier, later in zip(server.times, server.times[1:], strict=False)]
    assert all(gap >= pause for gap, pause in zip(gaps, (0.02, 0.04, 0.08, 0.2), strict=True))


# The ledger


def test_nothing_answered_is_asked_again(server: Server, connect: Connect, tmp_path: Path) -> None:
    server.act = lambda prompt, count: (500, {}) if prompt == "q1" and count < 2 else (200, reply(f"{prompt} {count}"))
    for expected in (
        ["q0 0", None, "q2 0"],
        ["q0 0", None, "q2 0"],
        ["q0 0", "q1 2", "q2 0"],
        ["q0 0", "q1 2", "q2 0"],
    ):
        with Ledger(tmp_path / "ledger.jsonl") as ledger:
            answers = connect(ledger=ledger, max_retries=0).ask_all(requests(3))
        assert [answer.text for answer in answers] == expected
    assert sorted(server.prompts) == ["q0", "q1", "q1", "q1", "q2"]


@pytest.mark.full
def test_a_killed_run_asks_only_what_is_missing(server: Server, connect: Connect, tmp_path: Path) -> None:
    server.act = lambda prompt, count: "hang" if prompt == "q3" and not count else (200, reply(f"re: {prompt}"))
    path = tmp_path / "ledger.jsonl"
    code = (
        "import pathlib, sys\n"
        "from aha.engines.endpoint import ChatRequest, Endpoint\n"
        "from aha.runs.ledger import Ledger\n"
        "ledger = Ledger(pathlib.Path(sys.argv[2]))\n"
        "endpoint = Endpoint(sys.argv[1], 'm', num_workers=1, ledger=ledger)\n"
        "endpoint.ask_all([ChatRequest(messages=f'q{number}') for number in range(6)])\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, server.url, path], cwd=ROOT) as process:
        server.wait_for(4)
        process.send_signal(signal.SIGKILL)
    with path.open("ab") as file:
        file.write(b'{"key": "torn')
    assert server.prompts == ["q0", "q1", "q2", "q3"]
    with Ledger(path) as ledger:
        answers = connect(ledger=ledger).ask_all(requests(6))
    assert answers == [Answer(text=f"re: q{number}") for number in range(6)]
    assert sorted(server.prompts[4:]) == ["q3", "q4", "q5"]


def test_equal_requests_are_different_samples_and_come_back_in_order(
    server: Server, connect: Connect, tmp_path: Path
) -> None:
    server.act = lambda prompt, count: (200, reply(f"sample {count}"))
    for _ in range(2):
        with Ledger(tmp_path / "ledger.jsonl") as ledger:
            endpoint = connect(ledger=ledger)
            assert [endpoint.ask("vote"), endpoint.ask("vote"), endpoint.ask("vote", seed=1)] == [
                f"sample {number}" for number in range(3)
            ]
    assert len(server.bodies) == 3


def test_a_ledger_that_cannot_be_written_ends_the_run(server: Server, connect: Connect, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.close()
    with pytest.raises(ValueError, match="is closed"):
        connect(ledger=ledger, num_workers=1).ask_all(requests(50))
    assert len(server.bodies) < 50


# Pace


class Clock:
    """Time that passes only while someone sleeps, or is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def take(pace: Pace, clock: Clock, count: int) -> list[float]:
    """When each of some takes was granted, in seconds from the start."""
    granted = []
    for _ in range(count):
        pace.take(clock.sleep)
        granted.append(round(clock.now - 100, 6))
    return granted


def test_takes_are_evenly_spread() -> None:
    clock = Clock()
    assert take(Pace(30, clock=clock), clock, 4) == [0, 2, 4, 6]


def test_idle_time_is_not_saved_up_beyond_the_burst() -> None:
    clock = Clock()
    pace = Pace(60, burst=3, clock=clock)
    assert take(pace, clock, 5) == [0, 0, 0, 1, 2]
    clock.now += 100
    assert take(pace, clock, 4) == [102, 102, 102, 103]


def test_a_partial_wait_counts() -> None:
    clock = Clock()
    pace = Pace(60, clock=clock)
    pace.take(clock.sleep)
    clock.now += 0.75
    assert take(pace, clock, 2) == [1, 2]


def test_those_who_wait_at_once_get_turns_of_their_own() -> None:
    waits: list[float] = []
    pace = Pace(60, clock=Clock())
    for _ in range(4):
        pace.take(waits.append)
    assert waits == [1, 2, 3]


def test_no_limit_never_waits() -> None:
    pace, waits = Pace(None), list[float]()
    for _ in range(100):
        pace.take(waits.append)
    assert waits == []


def test_attempts_keep_the_pace_too(server: Server, connect: Connect) -> None:
    server.act = lambda prompt, count: (200, reply("fine")) if count == 2 else (500, {})
    endpoint, start = connect(requests_per_minute=1200), time.monotonic()
    assert endpoint.ask("q") == "fine"
    assert time.monotonic() - start >= 0.1


# What cannot work


@pytest.mark.parametrize(
    "settings",
    [
        {"max_retries": -1},
        {"num_workers": 0},
        {"pause_seconds": -1.0},
        {"timeout_seconds": 0},
        {"requests_per_minute": 0},
        {"base_url": "127.0.0.1:80"},
    ],
)
def test_illegal_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"base_url|max_retries|per minute"):
        Endpoint(**{"base_url": "http://127.0.0.1:1/v1", "model": "m", **settings})


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(RuntimeError, match=r"pip install 'aha\[endpoint\]'"):
        Endpoint("http://127.0.0.1:1/v1", "m")


def test_the_key_is_not_shown() -> None:
    with Endpoint("http://127.0.0.1:1/v1", "m", api_key=KEY) as endpoint:
        assert KEY not in repr(endpoint)


def test_importing_the_module_does_not_import_the_package() -> None:
    code = "import sys, aha.engines.endpoint; print('openai' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "False\n"

"""Another model behind an OpenAI-compatible endpoint: asked at a given pace, again after a failure, and never twice.

The models that rewrite and judge in DeepSeek-R1's pipeline (arXiv:2501.12948v2, 3.1, B.3.2 and B.3.3) are reached
through this module. Whatever goes wrong with one request becomes part of its answer: a run of a hundred thousand
requests does not end because of one of them.
"""

import json
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from aha.runs.ledger import Ledger, request_key

if TYPE_CHECKING:
    import openai

__all__ = ["Answer", "ChatRequest", "Endpoint", "Pace"]

_LONGEST_PAUSE_SECONDS = 60.0
_LONGEST_DETAIL = 300
_SECONDS = re.compile(r"\d{1,6}(\.\d{1,6})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One question to the model.

    Attributes:
        messages: a prompt, or a conversation of `{"role": ..., "content": ...}`.
        temperature: of its sampling, at least 0.
        max_tokens: cap of its response, thinking included.
        seed: of its sampling, for servers that heed one; None to send none.
        with_thinking: whether the answer holds the thinking too, in its tags before the rest, where the server sends it
            in a field of its own (`reasoning_content`, as DeepSeek's API, or `reasoning`).
    """

    messages: str | Sequence[Mapping[str, str]]
    temperature: float = 1.0
    max_tokens: int = 8192
    seed: int | None = None
    with_thinking: bool = False

    def body(self, model: str) -> dict[str, Any]:
        """What is sent."""
        messages = self.messages
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]

        body: dict[str, Any] = {
            "model": model,
            "messages": [dict(message) for message in messages],
            "temperature": float(self.temperature),
            "max_tokens": self.max_tokens,
        }
        if self.seed is not None:
            body["seed"] = self.seed
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one request.

    Attributes:
        text: the response; None where the request failed for good.
        failure: the last failure, its kind first; empty where there is a response.
    """

    text: str | None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class _Question:
    """A request as it is sent.

    Attributes:
        body: what is sent.
        key: of its answer in the ledger.
        with_thinking: as in `ChatRequest`.
    """

    body: dict[str, Any]
    key: str
    with_thinking: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """Why one attempt gave no response.

    Attributes:
        kind: what is counted.
        detail: what the server or the system said.
        is_final: another attempt cannot help.
        pause_seconds: how long the server asks to be left alone.
    """

    kind: str
    detail: str = ""
    is_final: bool = False
    pause_seconds: float = 0.0

    def describe(self, secret: str) -> str:
        """The failure in one line; the secret, which a server may quote, is blotted out."""
        # Before the text is cut: a cut could leave a part of the secret, which nobody would recognise.
        blotted = self.detail.replace(secret, "***")
        detail = " ".join(blotted[:_LONGEST_DETAIL].split())
        return f"{self.kind}: {detail}" if detail else self.kind


class Pace:
    """A token bucket: takes are evenly spread at the given rate, after a first burst. Threads may share one."""

    def __init__(
        self, per_minute: float | None, *, burst: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start with a full bucket.

        Args:
            per_minute: takes per minute, above 0; None for no limit.
            burst: takes that need not wait when there were none before, at least 1.
            clock: seconds from any start, never backwards.

        Raises:
            ValueError: a rate of 0 or less, or a burst below 1.
        """
        if burst < 1 or (per_minute is not None and not per_minute > 0):
            raise ValueError(f"{per_minute} requests per minute in bursts of {burst}; both must be above 0")
        self._per_second = None if per_minute is None else per_minute / 60
        self._burst = burst
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = float(burst)
        self._last_take = clock()

    def take(self, sleep: Callable[[float], object] = time.sleep) -> None:
        """Wait until it is this caller's turn; callers are served in the order in which they came.

        Args:
            sleep: waits for a number of seconds, above 0; not called where there is nothing to wait for.
        """
        if self._per_second is None:
            return

        # The token is taken at once, below 0 where there is none, so that the next caller waits behind this one.
        with self._lock:
            now = self._clock()
            refilled = self._tokens + (now - self._last_take) * self._per_second
            self._tokens = min(self._burst, refilled) - 1
            self._last_take = now
            wait_seconds = -self._tokens / self._per_second
        if wait_seconds > 0:
            sleep(wait_seconds)


@dataclass(eq=False)
class Endpoint:
    """A model behind an OpenAI-compatible endpoint. Threads may share one.

    A request that was asked already is asked again, for another sample; the ledger keeps both, in the order in which
    they were asked. An endpoint made anew over the same ledger gets the same answers from it, in that order.

    Attributes:
        base_url: up to and with the version, such as `http://127.0.0.1:8000/v1`.
        model: its name at the endpoint.
        api_key: None takes OPENAI_API_KEY from the environment, or `none` where that is not set.
        requests_per_minute: how often the endpoint is asked, attempts after a failure included; None for no limit.
        max_retries: attempts after the first.
        timeout_seconds: how long to wait for a connection, and for the next byte.
        num_workers: requests under way at once.
        ledger: keeps what was answered; None keeps nothing.
        pause_seconds: before the second attempt; doubled for each further one, up to a minute.
        failures: failed attempts by kind: `timeout`, `connection`, `http 429` and so on, `malformed`, `empty`,
            `length` (cut at the cap of tokens), `unsendable`.
    """

    base_url: str
    model: str
    _: KW_ONLY
    api_key: str | None = field(default=None, repr=False)
    requests_per_minute: float | None = None
    max_retries: int = 5
    timeout_seconds: float = 600.0
    num_workers: int = 8
    ledger: Ledger | None = None
    pause_seconds: float = 1.0
    failures: Counter[str] = field(default_factory=Counter, init=False)

    def __post_init__(self) -> None:
        """Make the client; nothing is sent.

        Raises:
            ValueError: a number out of its range, or an address that is none.
            RuntimeError: the package `openai` is not installed.
        """
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url is {self.base_url!r}; it must start with http:// or https://")

        # `not > 0` refuses NaN too.
        least = min(self.max_retries, self.num_workers - 1, self.pause_seconds)
        if least < 0 or not self.timeout_seconds > 0:
            raise ValueError(
                f"max_retries {self.max_retries}, num_workers {self.num_workers}, pause_seconds {self.pause_seconds}, "
                f"timeout_seconds {self.timeout_seconds}; allowed: at least 0, at least 1, at least 0, above 0"
            )

        # The client insists on a key, also for servers that want none.
        api_key = self.api_key or os.environ.get("OPENAI_API_KEY") or "none"
        self._pace = Pace(self.requests_per_minute)
        self._client = self._connect(api_key)
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()

    def _connect(self, api_key: str) -> "openai.OpenAI":
        """The client; nothing is sent.

        Raises:
            RuntimeError: the package `openai` is not installed.
        """
        try:
            import openai
        except ImportError as error:
            raise RuntimeError("an endpoint needs the package `openai`: pip install 'aha[endpoint]'") from error

        # Attempts are counted and paced here: the client's own would be neither, and do not see an empty response.
        return openai.OpenAI(base_url=self.base_url, api_key=api_key, timeout=self.timeout_seconds, max_retries=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the ledger stays open."""
        self._client.close()

    def ask(
        self,
        messages: str | Sequence[Mapping[str, str]],
        *,
        temperature: float = 1.0,
        max_tokens: int = 8192,
        seed: int | None = None,
    ) -> str | None:
        """Ask once, with all attempts.

        Args:
            messages: a prompt, or a conversation.
            temperature: as in `ChatRequest`.
            max_tokens: likewise.
            seed: likewise.

        Returns:
            The response, or None where the request failed for good; `failures` says how.

        Raises:
            OSError: the ledger could not be written.
        """
        request = ChatRequest(messages=messages, temperature=temperature, max_tokens=max_tokens, seed=seed)
        return self._answer(self._question(request), threading.Event()).text

    def ask_all(self, requests: Sequence[ChatRequest]) -> list[Answer]:
        """Ask many times at once.

        Args:
            requests: in any number.

        Returns:
            One answer per request, in their order.

        Raises:
            OSError: the ledger could not be written.
        """
        # In the order of the requests, before threads mix it: the same requests find the same entries in the ledger.
        questions = [self._question(request) for request in requests]
        is_over = threading.Event()
        pool = ThreadPoolExecutor(self.num_workers)
        try:
            futures = [pool.submit(self._answer, question, is_over) for question in questions]
            return [future.result() for future in futures]
        finally:
            is_over.set()
            pool.shutdown(cancel_futures=True)

    def _question(self, request: ChatRequest) -> _Question:
        """A request as it is sent, with its key: the address is not part of it, how often it was asked before is."""
        body = request.body(self.model)
        key = request_key(body)
        with self._lock:
            count = self._asked[key]
            self._asked[key] += 1
        # The answers to one body differ where only one of them has the thinking.
        suffix = "-thinking" if request.with_thinking else ""
        return _Question(body, f"{key}-{count}{suffix}", request.with_thinking)

    def _answer(self, question: _Question, is_over: threading.Event) -> Answer:
        """The answer from the ledger or from the endpoint."""
        key = question.key
        earlier = None if self.ledger is None else self.ledger.get(key)
        if earlier is not None:
            return Answer(text=earlier)

        result = self._ask(question, is_over)
        if isinstance(result, _Failure):
            return Answer(text=None, failure=result.describe(self._client.api_key))
        if self.ledger is not None:
            self.ledger.put(key, result)
        return Answer(text=result)

    def _ask(self, question: _Question, is_over: threading.Event) -> str | _Failure:
        """The response, or the last failure of all attempts."""
        for attempt in range(self.max_retries + 1):
            self._pace.take(is_over.wait)
            result = _Failure(kind="abandoned", is_final=True) if is_over.is_set() else self._attempt(question)
            if isinstance(result, str):
                return result

            with self._lock:
                self.failures[result.kind] += 1
            if result.is_final or attempt == self.max_retries:
                break

            # The exponent is bounded, or the power would overflow; the pause itself is bounded below.
            pause = max(self.pause_seconds * 2.0 ** min(attempt, 30), result.pause_seconds)
            is_over.wait(min(pause, _LONGEST_PAUSE_SECONDS))
        return result

    def _attempt(self, question: _Question) -> str | _Failure:
        """Ask the endpoint once."""
        import openai

        try:
            response = self._client.chat.completions.with_raw_response.create(**question.body)
            text = response.text
        except openai.APITimeoutError:
            return _Failure(kind="timeout", detail=f"nothing for {self.timeout_seconds} seconds")
        except openai.APIConnectionError as error:
            return _Failure(kind="connection", detail=str(error.__cause__ or error))
        except openai.APIStatusError as error:
            return _refusal(error.status_code, error.message, error.response.headers.get("retry-after", ""))
        except openai.OpenAIError as error:
            return _Failure(kind="malformed", detail=str(error))
        except UnicodeEncodeError as error:
            return _Failure(kind="unsendable", detail=str(error), is_final=True)
        return _content(text, with_thinking=question.with_thinking)


def _refusal(status: int, message: str, retry_after: str) -> _Failure:
    """What a status of 400 and more means: only some get better by waiting."""
    # A server may also name a date, which is not waited for.
    is_in_seconds = _SECONDS.fullmatch(retry_after.strip()) is not None
    pause = float(retry_after) if is_in_seconds else 0.0

    # Timeout, conflict, too early, too many requests.
    is_final = status < 500 and status not in (408, 409, 425, 429)
    return _Failure(kind=f"http {status}", detail=message, is_final=is_final, pause_seconds=pause)


def _content(text: str, *, with_thinking: bool = False) -> str | _Failure:
    """The response inside the body of a reply, which may hold anything."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        return _Failure(kind="malformed", detail=str(error))
    # The order matters: a response that was cut has content too, and is no answer.
    match body:
        case {"choices": [{"finish_reason": "length"}, *_]}:
            return _Failure(kind="length", detail="cut at max_tokens", is_final=True)
        case {"choices": [{"message": {"content": str(content), **message}}, *_]} if content.strip():
            return _thought(message) + content if with_thinking else content
        case {"choices": [] | [{"message": {"content": str() | None}}, *_]}:
            return _Failure(kind="empty")
    return _Failure(kind="malformed", detail=text)


def _thought(message: Mapping[Any, Any]) -> str:
    """The thinking that a message holds in a field of its own, in its tags; nothing where there is none."""
    for name in ("reasoning_content", "reasoning"):
        thinking = message.get(name)
        if isinstance(thinking, str) and thinking.strip():
            return f"<think>\n{thinking.strip()}\n</think>\n\n"
    return ""

"""A real server of ours that speaks the OpenAI protocol, for tests of everything that asks one."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

KEY = "sk-secret"


def reply(content: object, finish: str = "stop") -> dict[str, object]:
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content}}],
    }


class Server(ThreadingHTTPServer):
    """Speaks /v1/chat/completions on 127.0.0.1; what it says to a request, `act` decides.

    `act` takes the prompt and how often it was asked before, and returns a status with a body (an object, or raw
    bytes), or one of the words `hang` and `cut`.
    """

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.act: Callable[[str, int], Any] = lambda prompt, count: (200, reply(f"re: {prompt}"))
        self.lock, self.over, self.asked = threading.Lock(), threading.Event(), threading.Condition()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[Message] = []
        self.times: list[float] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def prompts(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.bodies]

    def note(self, body: dict[str, Any], headers: Message) -> Any:
        prompt = body["messages"][-1]["content"]
        with self.asked:
            count = self.prompts.count(prompt)
            self.bodies.append(body)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            self.asked.notify_all()
        return self.act(prompt, count)

    def wait_for(self, count: int) -> None:
        with self.asked:
            assert self.asked.wait_for(lambda: len(self.bodies) >= count, timeout=20)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        act = self.server.note(body, self.headers) if self.path == "/v1/chat/completions" else (404, {})
        if act == "hang":
            self.server.over.wait(20)
            self.close_connection = True
            return
        status, content, *headers = (200, reply("cut short")) if act == "cut" else act
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        with suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if act == "cut" else data)
        self.close_connection = self.close_connection or act == "cut"

    def log_message(self, *_: object) -> None:
        """Silence."""


def forget_the_outside(patch: pytest.MonkeyPatch) -> None:
    """No proxy, key or account of the outside."""
    for name in [*os.environ]:
        if name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            patch.delenv(name)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_the_outside(monkeypatch)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@contextmanager
def serving() -> Iterator[Server]:
    """A server that runs until the end of the block, and leaves no thread behind."""
    before = threading.active_count()
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()
    assert threading.active_count() == before

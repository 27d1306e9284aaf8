"""A ledger keeps every answer it took, whatever happened to the process that wrote it."""

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from aha.runs.ledger import Ledger, request_key

TEXT = st.text(st.characters(exclude_categories=()))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def fill(path: Path, **answers: str) -> None:
    with Ledger(path) as ledger:
        for key, answer in answers.items():
            ledger.put(key, answer)


def test_what_was_put_is_there_now_and_later(path: Path) -> None:
    with Ledger(path) as ledger:
        assert ledger.get("a") is None
        ledger.put("a", "one\ntwo \u2028 三")
        assert ledger.get("a") == "one\ntwo \u2028 三"
    with Ledger(path) as again:
        assert again.get("a") == "one\ntwo \u2028 三"
        assert len(again) == 1


def test_an_answer_is_on_disk_when_put_returns(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.put("a", "b")
        assert path.read_bytes() == b'{"key": "a", "answer": "b"}\n'


@with_settings(max_examples=30)
@given(answer=TEXT)
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, answer: str) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    fill(path, a=answer, b="after")
    with Ledger(path) as again:
        assert (again.get("a"), again.get("b")) == (answer, "after")


def test_the_first_answer_stays(path: Path) -> None:
    fill(path, a="first")
    fill(path, a="second")
    with Ledger(path) as ledger:
        assert ledger.get("a") == "first"
    assert path.read_bytes().count(b"\n") == 1


def test_every_torn_last_line_is_dropped_and_later_lines_are_kept(path: Path) -> None:
    fill(path, a="one", b="two")
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(first, len(whole)):
        path.write_bytes(whole[:end])
        fill(path, c="three")
        with Ledger(path) as ledger:
            assert [ledger.get(key) for key in "abc"] == ["one", None, "three"]


@pytest.mark.parametrize(
    "damage",
    [b"{", b"", b"[]", b'{"key": "a"}', b'{"key": 1, "answer": "b"}', b"\xff\xfe", b"\0\0", b"[" * 100_000],
    ids=["torn", "blank", "list", "no answer", "number", "not utf-8", "zeros", "deep"],
)
def test_a_damaged_line_is_named(path: Path, damage: bytes) -> None:
    fill(path, a="one")
    path.write_bytes(path.read_bytes() + damage + b"\n" + path.read_bytes())
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"ledger\.jsonl:2: damaged"):
        Ledger(path)
    assert path.read_bytes() == before
    path.write_bytes(before.replace(damage + b"\n", b"") if damage else before.replace(b"\n\n", b"\n"))
    with Ledger(path) as ledger:
        assert ledger.get("a") == "one"


def test_one_ledger_per_file(path: Path) -> None:
    with Ledger(path), pytest.raises(ValueError, match="in use"):
        Ledger(path)
    with Ledger(path):
        pass


def test_a_closed_ledger_takes_nothing(path: Path) -> None:
    ledger = Ledger(path)
    ledger.close()
    ledger.close()
    with pytest.raises(ValueError, match="is closed"):
        ledger.put("a", "b")


def test_nothing_stays_open_after_a_refusal(path: Path) -> None:
    path.write_bytes(b"damaged\n")
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(ValueError, match="damaged"):
        Ledger(path)
    assert len(os.listdir("/dev/fd")) == before


def test_a_line_that_does_not_fit_leaves_no_trace(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, room = os.write, [100]

    def short(file: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        count = write(file, data[: room[0]])
        room[0] -= count
        return count

    with Ledger(path) as ledger:
        ledger.put("a", "one")
        monkeypatch.setattr(os, "write", short)
        with pytest.raises(OSError, match=r"No space left on device: .*ledger\.jsonl"):
            ledger.put("b", "x" * 200)
        monkeypatch.undo()
        assert ledger.get("b") is None
        ledger.put("c", "three")
    with Ledger(path) as again:
        assert [again.get(key) for key in "abc"] == ["one", None, "three"]


def test_threads_share_one(path: Path) -> None:
    def put(thread: int) -> None:
        for number in range(10):
            ledger.put(f"{thread}-{number}", "x" * 5000)
            ledger.put(f"all-{number}", str(number))

    with Ledger(path) as ledger:
        threads = [threading.Thread(target=put, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with Ledger(path) as again:
        assert len(again) == 50
        assert again.get("3-9") == "x" * 5000
    assert path.read_bytes().count(b"\n") == 50


def test_the_key_is_of_the_content() -> None:
    request = {"model": "m", "messages": [{"role": "user", "content": "三 \ud800"}], "seed": 1}
    assert request_key(request) == request_key(dict(reversed(request.items())))
    others = [{**request, "seed": 2}, {**request, "model": "n"}, {**request, "messages": []}]
    assert len({request_key(other) for other in [request, *others]}) == 4
    assert request_key({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"

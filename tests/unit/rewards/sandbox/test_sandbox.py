"""The sandbox holds what runs in it, says how it ended, and refuses to be weak unnoticed."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ordinary_user import command_of, run_as_ordinary_user
from sandbox_attacks import ATTACKS, FORCED, LIMITS, OF_TIME, QUICK_ATTACKS, SECONDS, attack, outputs_of_attacks

from aha.rewards.sandbox.isolation import Limits, probe
from aha.rewards.sandbox.reports import Execution
from aha.rewards.sandbox.sandbox import Sandbox
from aha.rewards.sandbox.seccomp import system_call_filter

ROOT = Path(__file__).parents[4]
FULL = probe()

needs_bubblewrap = pytest.mark.skipif(FULL.strength != "full", reason=f"bubblewrap does not work: {FULL.reason}")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    if FULL.strength != "full":
        pytest.skip(f"bubblewrap does not work: {FULL.reason}")
    with Sandbox(limits=replace(LIMITS, seconds=20.0), num_workers=2, isolation=FULL) as made:
        yield made


@pytest.fixture(scope="module")
def hasty(sandbox: Sandbox) -> Iterator[Sandbox]:
    with Sandbox(limits=LIMITS, isolation=sandbox.isolation) as made:
        yield made


def test_a_program_reads_and_writes(sandbox: Sandbox) -> None:
    found = sandbox.run("import sys\nprint(sum(map(int, input().split())))\nprint('no', file=sys.stderr)", "3 4 5")
    assert (found.status, found.exit_code, found.output, found.errors) == ("ended", 0, "12\n", "no\n")


def test_the_interpreter_inside_is_this_one_with_its_library(sandbox: Sandbox) -> None:
    program = "import sys, typing, math, collections, hashlib, dataclasses, random, re, json\nprint(sys.version)"
    assert sandbox.run(program).output.strip() == sys.version


@pytest.mark.full
def test_the_standard_library_imports_what_it_needs_later(sandbox: Sandbox) -> None:
    # Parts of it that are written in C ask the calling program for its builtins when they import.
    program = "import datetime\ndef year(text): return datetime.datetime.strptime(text, '%Y').year\n"
    shown = program + "print(year(input()), datetime.date(1994, 1, 2).strftime('%y'))"
    assert sandbox.run(shown, "2024").output == "2024 94\n"
    assert sandbox.run_each(shown, ["2025"])[0].output == "2025 94\n"
    tests = ["assert year('2026') == 2026", "import time\nassert time.strptime('2026', '%Y')[0] == year('2026')"]
    assert sandbox.examine(program, tests).passed == (True, True)


def test_the_way_it_ends_is_told(sandbox: Sandbox) -> None:
    assert sandbox.run("raise SystemExit(7)").exit_code == 7
    assert sandbox.run("import os\nos.kill(os.getpid(), 11)").exit_code == 128 + 11
    broken = sandbox.run("print(")
    assert broken.exit_code == 1
    assert "SyntaxError" in broken.errors


def test_equal_programs_print_equal_text(sandbox: Sandbox) -> None:
    program = "import random\nprint(random.random(), hash('x'), {'a', 'b', 'c', 'd'})"
    assert sandbox.run(program).output == sandbox.run(program).output != ""


@pytest.mark.full
@needs_bubblewrap
def test_what_ends_late_is_killed_at_the_deadline() -> None:
    with Sandbox(limits=replace(LIMITS, seconds=0.5)) as quick:
        start = time.monotonic()
        assert quick.run("while True: pass").status == "timeout"
        assert time.monotonic() - start < 3


def test_output_is_cut_and_its_writer_killed(sandbox: Sandbox) -> None:
    found = sandbox.run("while True: print('x' * 1000)")
    assert found.status == "overflow"
    assert len(found.output) == LIMITS.output_bytes


def test_one_sandbox_serves_several_threads(sandbox: Sandbox) -> None:
    outputs: list[str] = []
    threads = [
        threading.Thread(target=lambda n=number: outputs.append(sandbox.run(f"print({n})").output))
        for number in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outputs) == [f"{number}\n" for number in range(3)]


def test_runs_of_one_program_do_not_know_each_other(sandbox: Sandbox) -> None:
    program = "import sys\nx = input()\nassert not hasattr(sys, 'seen')\nsys.seen = True\nprint(x[::-1])"
    runs = sandbox.run_each(program, ["abc", "xyz", "x" * 200_000])
    assert [run.output.strip() for run in runs[:2]] == ["cba", "zyx"]
    assert [run.status for run in runs] == ["ended", "ended", "overflow"]


@pytest.mark.full
@needs_bubblewrap
def test_a_late_run_ends_the_series() -> None:
    with Sandbox(limits=replace(LIMITS, seconds=0.7)) as quick:
        start = time.monotonic()
        runs = quick.run_each("if input() == 'b':\n    while True: pass", ["a", "b", "c", "d"])
        assert [run.status for run in runs] == ["ended", "timeout", "timeout", "timeout"]
        assert time.monotonic() - start < 5


def test_calls_carry_plain_data_both_ways(sandbox: Sandbox) -> None:
    values = (
        "[0, -5, 2**20000, 1.5, float('inf'), 'ü\\ud800', b'x', None, True, (1, [2]), {3, 4}, "
        "{1: {2: (3,)}}, 2j, range(3)]"
    )
    test = f"for value in {values}:\n    got = echo(value)\n    assert got == value and type(got) is type(value), value"
    found = sandbox.examine("def echo(x): return x", [test])
    assert found.passed == (True,), found


def test_derived_data_comes_back_plain_and_iterators_as_iterators(sandbox: Sandbox) -> None:
    program = "import collections\ndef count(x): return collections.Counter(x)\ndef each(x):\n    yield from x"
    tests = [
        "assert count('aab') == {'a': 2, 'b': 1}",
        "assert list(each([1, 2])) == [1, 2]",
        "assert each([1]) != [1]",
    ]
    found = sandbox.examine(program, tests)
    assert found.passed == (True, True, True), found


def test_exceptions_of_the_code_reach_the_test(sandbox: Sandbox) -> None:
    program = "class Odd(ValueError): pass\ndef f(x):\n    raise Odd('of ' + x)"
    test = "try:\n    f('it')\nexcept ValueError as error:\n    assert str(error) == 'of it'\nelse:\n    assert False"
    found = sandbox.examine(program, [test, "f('that')"])
    assert found.passed == (True, False)
    assert "ValueError: of that" in found.reason


def test_tests_use_the_helpers_of_the_starter(sandbox: Sandbox) -> None:
    starter = "def double(x): return 2 * x\n\ndef half(x):\n"
    starter += '    """Half of x."""\n'
    test = "def check(candidate):\n    assert candidate(double(4)) == 4"
    found = sandbox.examine("    return x // 2\n", [test], entry_point="half", starter=starter)
    assert found.passed == (True,)
    whole = sandbox.examine("def half(x): return x / 2", [test], entry_point="half", starter=starter)
    assert whole.passed == (True,)


@pytest.mark.parametrize(
    ("program", "test", "kind"),
    [
        ("def f(:", "assert f(1)", "unparsable"),
        ("x = 1", "assert f(1)", "raised"),
        ("import os\ndef f(x): os._exit(0)", "assert f(1)", "gone"),
        ("def f(x): return 'x' * 10**7", "assert f(1)", "overflow"),
        ("def f(x): return len(bytearray(10**10))", "assert f(1)", "memory"),
        ("def f(x): return x", "assert True", "unsupported"),
    ],
)
def test_what_went_wrong_is_told(sandbox: Sandbox, program: str, test: str, kind: str) -> None:
    found = sandbox.examine(program, [test], entry_point="f")
    assert (found.kind, found.passed) == (kind, (False,))
    assert 0 < len(found.reason) <= 300


@needs_bubblewrap
def test_a_sandbox_leaves_no_folder_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as name:
        # Every user may go there; the folders that pytest makes are private.
        folder = Path(name)
        folder.chmod(0o755)
        monkeypatch.setattr("tempfile.tempdir", name)
        with Sandbox(isolation=FULL) as made:
            assert made.run("print(1)").output == "1\n"
            assert list(folder.iterdir())
        assert not list(folder.iterdir())


def test_limits_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="seconds is 0"):
        Limits(seconds=0)
    with pytest.raises(ValueError, match="memory_bytes is 5"):
        Limits(memory_bytes=5)
    with pytest.raises(ValueError, match="num_processes is 1"):
        Limits(num_processes=1)
    with pytest.raises(ValueError, match="num_workers is 0"):
        Sandbox(num_workers=0)


MIB = 2**20


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("seconds", 0.001, 0.0),
        ("seconds", 3600.0, 3600.001),
        ("memory_bytes", 64 * MIB, 64 * MIB - 1),
        ("num_processes", 2, 1),
        ("output_bytes", 1, 0),
    ],
)
def test_limits_are_allowed_up_to_their_bounds(name: str, allowed: float, refused: float) -> None:
    values: dict[str, Any] = {name: allowed}
    assert getattr(Limits(**values), name) == allowed
    values = {name: refused}
    with pytest.raises(ValueError, match=rf"{name} (is )?{refused}\b"):
        Limits(**values)


def test_weak_isolation_is_refused_and_says_what_it_leaves_open() -> None:
    weak = probe("no-such-bubblewrap")
    assert weak.strength == "weak"
    with pytest.raises(RuntimeError, match=r"no-such-bubblewrap is not installed.*leaves open the network"):
        Sandbox(isolation=weak)


@pytest.mark.full
def test_weak_isolation_warns_and_still_limits() -> None:
    weak = probe("no-such-bubblewrap")
    with pytest.warns(RuntimeWarning, match="WEAK SANDBOX.*the network"):
        made = Sandbox(isolation=weak, allow_weak=True, limits=replace(LIMITS, seconds=1.0))
    with made:
        assert (
            made.run("import os\nprint(dict(os.environ).get('AHA_DATA'), os.getcwd() != '/')").output == "None True\n"
        )
        assert made.run("while True: pass").status == "timeout"
        assert "MemoryError" in made.run("x = bytearray(2**30)").errors
        assert made.run("while True: print('x' * 1000)").status == "overflow"
        assert made.examine("def f(x): return x + 1", ["assert f(1) == 2", "assert f(1) == 3"]).passed == (True, False)


@pytest.mark.full
@needs_root
def test_weak_isolation_of_root_leaves_no_process_behind() -> None:
    with pytest.warns(RuntimeWarning, match="WEAK"):
        made = Sandbox(isolation=probe("no-such-bubblewrap"), allow_weak=True, limits=LIMITS)
    with made:
        found = made.run(
            "import os, time\nif not os.fork():\n    os.setsid()\n    os.closerange(0, 3)\n    time.sleep(300)\n"
            "else:\n    print(os.getuid())"
        )
    uid = int(found.output)
    assert uid != 0
    deadline = time.monotonic() + 10
    while subprocess.run(["pgrep", "--uid", str(uid), "--runstates", "RSDT"], capture_output=True, check=False).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.full
def test_the_kernel_refuses_what_leads_out(sandbox: Sandbox) -> None:
    outputs = outputs_of_attacks(sandbox, QUICK_ATTACKS)
    assert len(outputs) > 25
    assert [name for name, output in outputs.items() if "ESCAPED" in output] == []


def test_attacks_on_the_kernel_succeed_where_there_is_no_filter(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not system_call_filter():
        pytest.skip("there is no filter for this machine")
    monkeypatch.setattr("aha.rewards.sandbox.guest_process.system_call_filter", lambda: b"")
    # Which others succeed depends on how the kernel was built.
    names = ["netlink", "sockets of every other family", "namespaces by clone3", "another personality"]
    assert [name for name, output in outputs_of_attacks(sandbox, names).items() if "ESCAPED" not in output] == []


@pytest.mark.full
@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in QUICK_ATTACKS])
def test_attacks_are_contained(hasty: Sandbox, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AHA_SECRET", "1")
    found, seconds = attack(hasty, name, {"PROJECT": str(ROOT), "HOST": socket.gethostname()})
    assert "ESCAPED" not in found.output
    assert found.status not in ("failed", "unparsable")
    assert seconds < SECONDS + 5
    assert len(found.output) <= LIMITS.output_bytes
    assert found.status == FORCED.get(name, found.status)
    assert hasty.run("print('alive')").output == "alive\n"


def test_servers_of_the_host_cannot_be_reached(sandbox: Sandbox) -> None:
    with socket.socket() as server, socket.socket(socket.AF_UNIX) as local:
        server.bind(("127.0.0.1", 0))
        server.listen()
        local.bind("\0aha-test-of-the-sandbox")
        local.listen()
        program = (
            "import socket\nplaces = ((socket.AF_INET, PLACE), (socket.AF_UNIX, '\\0aha-test-of-the-sandbox'))\n"
            "for family, address in places:\n"
            "    try:\n        socket.socket(family).connect(address)\n        print('ESCAPED')\n"
            "    except OSError as error:\n        print(type(error).__name__)"
        ).replace("PLACE", repr(server.getsockname()))
        found = sandbox.run(program)
        assert found.output == "ConnectionRefusedError\nConnectionRefusedError\n", found


@pytest.mark.full
def test_a_server_inside_cannot_be_reached(sandbox: Sandbox) -> None:
    program = (
        "import socket\nserver = socket.socket()\nserver.bind(('0.0.0.0', 51973))\nserver.listen()\n"
        "server.settimeout(1)\ntry:\n    server.accept()\n    print('ESCAPED')\n"
        "except TimeoutError:\n    print('alone')"
    )
    found: list[Execution] = []
    thread = threading.Thread(target=lambda: found.append(sandbox.run(program)))
    thread.start()
    while thread.is_alive():
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", 51973)) != 0
        time.sleep(0.05)
    assert found[0].output == "alone\n", found


@pytest.mark.full
@needs_root
@needs_bubblewrap
def test_attacks_are_contained_when_an_ordinary_user_starts_them() -> None:
    if not command_of():
        pytest.skip("no interpreter that an ordinary user may start")
    found = run_as_ordinary_user([str(ROOT / "tests" / "sandbox_attacks.py")], timeout=280)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count("held") == len(ATTACKS) - len(OF_TIME)


@pytest.mark.full
@needs_root
def test_the_fallback_of_an_ordinary_user_runs_beside_many_other_processes() -> None:
    if not command_of():
        pytest.skip("no interpreter that an ordinary user may start")
    # The kernel counts all processes of a user, and the desktop of one has hundreds.
    program = (
        "import subprocess, warnings\nfrom sandbox_attacks import *\nwarnings.simplefilter('ignore')\n"
        "others = [subprocess.Popen(['sleep', '60']) for _ in range(LIMITS.num_processes + 10)]\n"
        "with Sandbox(limits=LIMITS, isolation=probe('no-such-bubblewrap'), allow_weak=True) as sandbox:\n"
        "    print([run.output for run in sandbox.run_each('print(input())', ['a', 'b'])])\n"
        "    print(sandbox.run(textwrap.dedent(ATTACKS['fork bomb'])).output.split()[0])\n"
        "for other in others:\n    other.kill()\n"
    )
    found = run_as_ordinary_user(["-c", program])
    assert found.returncode == 0, found.stderr
    runs, num_forks = found.stdout.splitlines()
    assert runs == r"['a\n', 'b\n']", found.stderr
    assert 10 < int(num_forks) <= LIMITS.num_processes + 10

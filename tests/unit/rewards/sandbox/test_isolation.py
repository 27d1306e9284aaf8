"""Every wall around a cell, one by one: what it keeps out, and that its absence is noticed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from walls import Facts, Occurrence, observe, occurrences

from aha.rewards.sandbox.guest_process import Pipes
from aha.rewards.sandbox.isolation import Cell, Isolation, Limits, probe
from aha.rewards.sandbox.sandbox import Sandbox

FULL = probe()
WEAK = probe("no-such-bubblewrap")
LIMITS = Limits(seconds=4.0, memory_bytes=256 * 2**20, num_processes=24, output_bytes=100_000)

needs_bubblewrap = pytest.mark.skipif(FULL.strength != "full", reason=f"bubblewrap does not work: {FULL.reason}")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

RESOURCES = {
    "RLIMIT_AS": 256 * 2**20,
    "RLIMIT_CPU": 6,
    "RLIMIT_NPROC": 24,
    "RLIMIT_FSIZE": 2**20,
    "RLIMIT_NOFILE": 64,
    "RLIMIT_CORE": 0,
    "RLIMIT_MEMLOCK": 0,
    "RLIMIT_MSGQUEUE": 0,
}
VARIABLES = {"PATH": "/usr/bin:/bin", "HOME": "/", "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1", "PYTHONHASHSEED": "0"}
ENV_PROGRAM = "/usr/bin/env"
DEVICES = {f"/dev/{name}" for name in ("full", "null", "pts", "random", "tty", "urandom", "zero")}


def has_only_the_variables(facts: Facts) -> bool:
    # bubblewrap itself sets PWD with --chdir.
    inside = {"LD_LIBRARY_PATH": facts["environment"].get("LD_LIBRARY_PATH", ""), "PWD": "/"}
    return bool(facts["environment"] == VARIABLES | inside and inside["LD_LIBRARY_PATH"].endswith("/lib"))


def has_only_the_mounts(facts: Facts) -> bool:
    """Only `/usr`, the interpreter, the cache of the linker and a few devices, and nothing to write to."""
    folders = {point for point in ("/lib", "/lib32", "/lib64", "/bin") if facts["root"].get(point[1:]) is False}
    python = set() if FULL.interpreter.is_relative_to("/usr") else {"/python"}
    cache = {path for path in ("/etc/ld.so.cache",) if Path(path).exists()}
    writable = {point for point, options in facts["mounts"].items() if "ro" not in options}
    return set(facts["mounts"]) == {"/", "/usr", "/dev"} | folders | python | cache | DEVICES and writable == DEVICES


def has_only_the_links(facts: Facts) -> bool:
    links = {name for name in ("lib", "lib32", "lib64", "bin") if Path("/", name).is_symlink()}
    return {name for name, is_link in facts["root"].items() if is_link} == links


def has_no_capability(facts: Facts) -> bool:
    return bool(facts["capabilities"] == {"0" * 16})


def is_in_its_control_groups(facts: Facts) -> bool:
    return all(group in facts["control_groups"] for group in facts["expected_groups"])


@dataclass(frozen=True)
class Wall:
    """An option on the command line of a cell.

    Attributes:
        holds: what is so because of the option.
        without: other options that would hide its absence; they are left out.
        start: words before the command line that make its absence felt.
    """

    holds: Callable[[Facts], bool]
    without: tuple[str, ...] = ()
    start: tuple[str, ...] = ()


# What only root can be deprived of, or what bubblewrap does in any case, is seen where the options before are missing.
BUBBLEWRAP = {
    # Without a namespace of its own it could not have a host name of its own either.
    "--unshare-all": Wall(
        lambda facts: facts["shared_namespaces"] <= {"time", "time_for_children"}, without=("--hostname",)
    ),
    "--unshare-user": Wall(lambda facts: "user" not in facts["shared_namespaces"]),
    "--disable-userns": Wall(lambda facts: facts["user_namespace_error"] != 0, without=("--seccomp",)),
    "--die-with-parent": Wall(lambda facts: facts["death_signal"] == 9),
    "--new-session": Wall(lambda facts: facts["has_own_session"]),
    "--clearenv": Wall(has_only_the_variables, start=("env", "AHA_SECRET=1")),
    "--cap-drop": Wall(has_no_capability, without=("setpriv",)),
    "--hostname": Wall(lambda facts: facts["host_name"] == "sandbox"),
    "--ro-bind": Wall(has_only_the_mounts),
    "--ro-bind-try": Wall(has_only_the_mounts),
    "--symlink": Wall(has_only_the_links),
    "--dev": Wall(has_only_the_mounts),
    "--remount-ro": Wall(has_only_the_mounts),
    "--chdir": Wall(lambda facts: facts["directory"] == "/", start=("env", "-C", "/usr")),
    "--seccomp": Wall(lambda facts: facts["num_filters"] > num_own_filters()),
    "--setenv": Wall(has_only_the_variables),
}
SETPRIV = {
    "--reuid": Wall(lambda facts: facts["uids"] == {facts["expected_uid"]}),
    "--regid": Wall(lambda facts: facts["gids"] == {facts["expected_uid"]}),
    "--clear-groups": Wall(lambda facts: facts["groups"] == [], start=("setpriv", "--groups", "54321")),
    "--no-new-privs": Wall(lambda facts: facts["privileges"] == "1"),
}
ENV = {"-i": Wall(lambda facts: facts["environment"] == VARIABLES, start=("env", "AHA_SECRET=1"))}
ENV |= {name: Wall(lambda facts: facts["environment"] == VARIABLES) for name in VARIABLES}
PYTHON = {
    "-s": Wall(lambda facts: "no_user_site" in facts["flags"]),
    "-S": Wall(lambda facts: "no_site" in facts["flags"]),
    "-B": Wall(lambda facts: "dont_write_bytecode" in facts["flags"]),
}
STEPS = {
    "echo": Wall(is_in_its_control_groups),
    "mount": Wall(bool),
    "cd": Wall(lambda facts: facts["directory"] == facts["expected_directory"]),
}


@cache
def facts_of(isolation: Isolation) -> Facts:
    """What a guest sees where nothing is changed."""
    return observe(isolation, LIMITS)


def num_own_filters() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Seccomp_filters"))


def parts(command: list[str], isolation: Isolation) -> list[Occurrence]:
    """The options of every program on the command line, and the steps of its script."""
    interpreter = next(index for index in reversed(range(len(command))) if command[index] == "-s") - 1
    found = occurrences(command, command[interpreter], "-c")
    if "setpriv" in command:
        found += occurrences(command, "setpriv", isolation.program if isolation.strength == "full" else ENV_PROGRAM)
    if isolation.strength == "full":
        found += occurrences(command, isolation.program, command[interpreter])
    else:
        found += occurrences(command, ENV_PROGRAM, command[interpreter])
    return found


def name_of(part: Occurrence) -> str:
    return part.option.partition("=")[0]


def without(command: list[str], isolation: Isolation, names: tuple[str, ...]) -> list[str]:
    """The command line without all options of some names; `setpriv` is the whole of its words."""
    for part in sorted(parts(command, isolation), key=lambda part: -part.start):
        is_of_setpriv = name_of(part) in SETPRIV and "setpriv" in names
        if name_of(part) in names or is_of_setpriv:
            command = command[: part.start] + command[part.stop :]
    return [word for word in command if word not in names]


def breaches(isolation: Isolation, wall: Wall, name: str) -> list[Callable[[list[str]], list[str]]]:
    """Changes of the command line, each of which takes one occurrence of an option away."""
    with closing(Cell(isolation, LIMITS)) as cell:
        command = without(cell.command(["-c", ""], 3), isolation, wall.without)
    found = [part for part in parts(command, isolation) if name_of(part) == name]

    def breach(part: Occurrence) -> Callable[[list[str]], list[str]]:
        def change(command: list[str]) -> list[str]:
            command = without(command, isolation, wall.without)
            return [*wall.start, *command[: part.start], *command[part.stop :]]

        return change

    return [breach(part) for part in found]


def check(isolation: Isolation, walls: Mapping[str, Wall], name: str) -> None:
    """The wall holds, and without any one occurrence of its option it does not, or nothing starts."""
    wall = walls[name]
    facts = facts_of(isolation)
    if wall.start or wall.without:
        facts = observe(isolation, LIMITS, lambda command: [*wall.start, *without(command, isolation, wall.without)])
    assert facts
    assert wall.holds(facts), facts

    for change in breaches(isolation, wall, name):
        facts = observe(isolation, LIMITS, change)
        assert not facts or not wall.holds(facts), facts


def test_every_option_of_the_command_line_has_a_wall_and_every_wall_its_option() -> None:
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    full = Isolation(strength="full", interpreter=python, program="bwrap", is_private=os.geteuid() == 0)
    weak = Isolation(strength="weak", interpreter=python, is_private=os.geteuid() == 0)
    privileges = set(SETPRIV) if os.geteuid() == 0 else set()
    bubblewrap = set(BUBBLEWRAP) if any(Path(name).is_symlink() for name in ("/lib", "/lib64", "/bin")) else None

    with closing(Cell(full, LIMITS)) as cell:
        options = {name_of(part) for part in parts(cell.command(["-c", ""], 3), full)}
    assert options == privileges | (bubblewrap or set(BUBBLEWRAP) - {"--symlink"}) | set(PYTHON)

    with closing(Cell(weak, LIMITS)) as cell:
        options = {name_of(part) for part in parts(cell.command(["-c", ""]), weak)}
    assert options == privileges | set(ENV) | set(PYTHON)


def check_all(isolation: Isolation, walls: Mapping[str, Wall]) -> None:
    """All walls hold, in two guests: one of a cell as it is, one without what would hide that others are gone."""
    hidden = {name: wall for name, wall in walls.items() if wall.start or wall.without}
    words = [word for wall in hidden.values() for word in wall.start]
    hiding = tuple(name for wall in hidden.values() for name in wall.without)

    facts = facts_of(isolation)
    assert [name for name, wall in walls.items() if name not in hidden and not wall.holds(facts)] == [], facts
    facts = observe(isolation, LIMITS, lambda command: [*words, *without(command, isolation, hiding)])
    assert facts
    assert [name for name, wall in hidden.items() if not wall.holds(facts)] == [], facts


@needs_bubblewrap
def test_every_wall_holds() -> None:
    walls = dict(BUBBLEWRAP)
    if not FULL.can_forbid_namespaces:
        del walls["--disable-userns"]
    if os.geteuid() != 0:
        del walls["--cap-drop"]
    check_all(FULL, walls | PYTHON)


def test_every_wall_of_the_fallback_holds() -> None:
    is_root = os.geteuid() == 0
    check_all(WEAK, (SETPRIV | STEPS if is_root else {}) | ENV | PYTHON)
    if is_root and FULL.strength == "full":
        assert is_in_its_control_groups(facts_of(FULL))


@pytest.mark.full
@needs_bubblewrap
@pytest.mark.parametrize("name", BUBBLEWRAP)
def test_each_option_of_bubblewrap_is_a_wall(name: str) -> None:
    if name == "--disable-userns" and not FULL.can_forbid_namespaces:
        pytest.skip("this bubblewrap cannot forbid new user namespaces")
    if name == "--cap-drop" and os.geteuid() != 0:
        pytest.skip("only root has capabilities to drop")
    check(FULL, BUBBLEWRAP, name)


@pytest.mark.full
@needs_bubblewrap
@pytest.mark.parametrize("kind", ["ipc", "pid", "net", "uts", "cgroup"])
def test_each_namespace_is_a_wall(kind: str) -> None:
    others = [f"--unshare-{name}" for name in ("ipc", "pid", "net", "uts", "cgroup") if name != kind]

    def change(command: list[str]) -> list[str]:
        index = command.index("--unshare-all")
        return without([*command[:index], *others, *command[index + 1 :]], FULL, ("--hostname",))

    facts = observe(FULL, LIMITS, change)
    assert kind in facts["shared_namespaces"]
    assert not BUBBLEWRAP["--unshare-all"].holds(facts)


@pytest.mark.full
@needs_bubblewrap
@pytest.mark.parametrize("place", ["/usr", "/python"])
def test_a_mount_that_can_be_written_is_noticed(place: str) -> None:
    def change(command: list[str]) -> list[str]:
        index = command.index(place, command.index("--ro-bind")) if place == "/python" else command.index(place) + 1
        return [*command[: index - 2], "--bind", *command[index - 1 :]]

    if place == "/python" and FULL.interpreter.is_relative_to("/usr"):
        pytest.skip("the interpreter lies below /usr")
    facts = observe(FULL, LIMITS, change)
    assert "rw" in facts["mounts"][place]
    assert not has_only_the_mounts(facts)


@pytest.mark.full
@needs_root
@pytest.mark.parametrize("name", SETPRIV)
def test_each_privilege_that_root_gives_up_is_a_wall(name: str) -> None:
    # Bubblewrap gives up some of them too; in the fallback nothing else does.
    check(WEAK, SETPRIV, name)


@needs_bubblewrap
@needs_root
def test_a_cell_of_root_runs_as_its_own_user() -> None:
    facts = facts_of(FULL)
    assert all(wall.holds(facts) for wall in SETPRIV.values()), facts
    assert has_no_capability(facts)


@pytest.mark.full
@pytest.mark.parametrize("name", ENV)
def test_each_variable_of_the_fallback_is_a_wall(name: str) -> None:
    check(WEAK, ENV, name)


@pytest.mark.full
@pytest.mark.parametrize("name", PYTHON)
def test_each_option_of_the_interpreter_is_a_wall(name: str) -> None:
    check(WEAK, PYTHON, name)
    if FULL.strength == "full":
        assert PYTHON[name].holds(facts_of(FULL))


@pytest.mark.full
@needs_root
def test_each_step_of_the_script_of_root_is_a_wall() -> None:
    # A step that is gone from the script altogether is not met by the loop below.
    assert all(wall.holds(facts_of(WEAK)) for wall in STEPS.values())
    assert is_in_its_control_groups(facts_of(FULL))

    for isolation in (FULL, WEAK):
        with closing(Cell(isolation, LIMITS)) as cell:
            command = cell.command(["-c", ""])
        index = command.index("-c") + 1
        steps = command[index].split(" && ")
        assert steps[-1] == 'exec "$@"'

        # The first step of that position is left out; folders and groups have other names in another cell.
        for position, step in enumerate(steps[:-1]):

            def change(command: list[str], index: int = index, position: int = position) -> list[str]:
                steps = command[index].split(" && ")
                script = " && ".join(steps[:position] + steps[position + 1 :])
                return [*command[:index], script, *command[index + 1 :]]

            wall = STEPS[step.split()[0]]
            assert wall.holds(facts_of(isolation))
            facts = observe(isolation, LIMITS, change)
            assert not facts or not wall.holds(facts), (step, facts)


@needs_root
def test_control_groups_bound_both_interpreters_of_a_cell() -> None:
    with closing(Cell(WEAK, LIMITS)) as cell:
        if not cell.groups:
            pytest.skip("no control group can be written")
        files = {
            path.name: path.read_text().strip()
            for group in cell.groups
            for path in group.iterdir()
            if path.name in ("memory.max", "memory.limit_in_bytes", "pids.max")
        }
    assert files.pop("pids.max") == "64"
    assert set(files.values()) == {str(512 * 2**20)}


@needs_root
def test_cells_have_different_users_wherever_their_folders_lie(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # With the uid of another cell, the processes of both would be counted together, and each would kill the other's.
    with ExitStack() as stack:
        uids = []
        for name in ("first", "second"):
            monkeypatch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp(name)))
            uids.append(stack.enter_context(closing(Cell(WEAK, LIMITS))).uid)
    assert uids[0] != uids[1]


@pytest.fixture
def only_uid(monkeypatch: pytest.MonkeyPatch) -> int:
    """The one uid that cells may have, which is no other test's."""
    uid = 65_050 + os.getpid() % 400
    monkeypatch.setattr("aha.rewards.sandbox.users._FIRST_UID", uid)
    monkeypatch.setattr("aha.rewards.sandbox.users._NUM_UIDS", 1)
    return uid


@needs_root
def test_a_uid_is_one_cells_alone_until_it_is_closed(only_uid: int) -> None:
    with closing(Cell(WEAK, LIMITS)) as cell:
        assert cell.uid == only_uid
        with pytest.raises(RuntimeError, match="all 1 uids for cells are taken"):
            Cell(WEAK, LIMITS)
    with closing(Cell(WEAK, LIMITS)) as cell:
        assert cell.uid == only_uid


@needs_root
def test_what_a_killed_run_left_behind_is_gone_before_a_cell_is_used(only_uid: int) -> None:
    drop = ["setpriv", f"--reuid={only_uid}", f"--regid={only_uid}", "--clear-groups"]
    with subprocess.Popen([*drop, "sleep", "60"]) as left_behind:
        while f"Uid:\t{only_uid}\t" not in Path(f"/proc/{left_behind.pid}/status").read_text():
            time.sleep(0.001)
        with closing(Cell(WEAK, LIMITS)):
            assert left_behind.wait(10) == -signal.SIGKILL


@needs_root
@needs_bubblewrap
def test_a_private_folder_for_temporary_files_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert probe() == FULL


@needs_bubblewrap
@needs_root
def test_the_mounted_interpreter_is_not_seen_outside() -> None:
    assert facts_of(FULL)["host_mounts"] == []


@needs_bubblewrap
def test_the_limits_of_resources_are_those_of_the_table() -> None:
    assert LIMITS.resources() == RESOURCES
    limits = facts_of(FULL)["limits"]
    assert {name: limits[name] for name in RESOURCES} == {name: [value, value] for name, value in RESOURCES.items()}


@pytest.mark.full
@needs_bubblewrap
@pytest.mark.parametrize("name", RESOURCES)
def test_each_limit_of_resources_is_a_wall(name: str) -> None:
    others = {other: value for other, value in RESOURCES.items() if other != name}
    limits = observe(FULL, LIMITS, resources=others)["limits"]
    assert limits[name] != [RESOURCES[name], RESOURCES[name]]
    assert all(limits[other] == [value, value] for other, value in others.items())


@needs_bubblewrap
def test_a_guest_gets_nothing_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    # Bubblewrap would hide the environment and the folder a second time.
    monkeypatch.setenv("AHA_SECRET", "1")
    # A folder that exists inside too.
    monkeypatch.chdir("/usr")
    facts = observe(FULL, LIMITS, lambda command: without(command, FULL, ("--clearenv", "--chdir")))
    assert "AHA_SECRET" not in facts["environment"]
    assert facts["directory"] == "/"
    assert facts["descriptors"] == [0, 1, 2]
    assert facts["session_outside"]


@needs_bubblewrap
def test_runs_of_a_series_are_apart() -> None:
    program = (
        "import os\nopen_ones = []\nfor number in range(64):\n    try:\n        os.fstat(number)\n"
        "        open_ones.append(number)\n    except OSError:\n        pass\n"
        "print(open_ones, os.getsid(0) == os.getpid())"
    )
    with Sandbox(limits=LIMITS, isolation=FULL) as sandbox:
        runs = sandbox.run_each(program, ["", ""])
    assert [run.output for run in runs] == ["[0, 1, 2] True\n"] * 2


@needs_bubblewrap
def test_a_run_of_a_series_leaves_nothing_to_the_next() -> None:
    program = (
        "import os, socket\nplace = ('127.0.0.1', 51973)\n"
        "if input() == 'serve':\n"
        "    server = socket.create_server(place)\n"
        "    for _ in range(2):\n"
        "        if os.fork():\n            os._exit(0)\n        os.setsid()\n"
        "    os.closerange(0, 3)\n"
        "    while True:\n        server.accept()[0].send(b'what the first run saw')\n"
        "with socket.create_connection(place) as client:\n    print(client.recv(100))\n"
    )
    with Sandbox(limits=LIMITS, isolation=FULL) as sandbox:
        runs = sandbox.run_each(program, ["serve", "ask"])
    assert runs[0].exit_code == 0, runs
    assert (runs[1].output, runs[1].status) == ("", "ended")
    assert "ConnectionRefusedError" in runs[1].errors


@pytest.mark.parametrize("change", ["write", "grow", "shrink"])
def test_a_file_in_memory_cannot_be_changed(change: str) -> None:
    with Pipes() as pipes:
        descriptor = pipes.memory(b"secret")
        changes = {
            "write": lambda: os.pwrite(descriptor, b"x", 0),
            "grow": lambda: os.ftruncate(descriptor, 7),
            "shrink": lambda: os.ftruncate(descriptor, 5),
        }
        with pytest.raises(PermissionError):
            changes[change]()
        assert os.pread(descriptor, 10, 0) == b"secret"

"""Control groups bound a cell as a whole, also for an ordinary user to whom a subtree was delegated."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from ordinary_user import UID, command_of, run_as_ordinary_user
from sandbox_attacks import LIMITS

from aha.rewards.sandbox.control_groups import REMEDY, are_bounds, make_groups, num_memory_kills, remove_group
from aha.rewards.sandbox.isolation import Cell, probe
from aha.rewards.sandbox.sandbox import Sandbox

MEMORY, PROCESSES = 2**28, 40

# Each of the six processes is within its own limit; together they are beyond that of the cell.
GREEDY = """
import os, time
for _ in range(6):
    if not os.fork():
        x = b"x" * (150 * 2**20)
        time.sleep(1)
        os._exit(0)
for _ in range(6):
    os.wait()
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can delegate a control group")


def tree(root: Path, groups: dict[str, str], *, own: str) -> Path:
    """A folder that looks like control groups of version 2.

    Args:
        root: where it is made.
        groups: what each group passes on, by its path.
        own: path of the group of this process.

    Returns:
        The file that names the own group.
    """
    for path, passed_on in groups.items():
        folder = root / path.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.controllers").write_text("cpu memory pids\n")
        (folder / "cgroup.subtree_control").write_text(passed_on)
        (folder / "cgroup.procs").write_text("")
    file = root / "own"
    file.write_text(f"0::{own}\n")
    return file


def settings(group: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in group.iterdir() if path.name != "cgroup.procs"}


def test_a_group_is_made_below_the_nearest_that_passes_memory_and_processes_on(tmp_path: Path) -> None:
    groups = {"/": "cpu memory pids", "/user": "memory pids", "/user/app": "memory pids", "/user/app/mine": ""}
    own = tree(tmp_path, groups, own="/user/app/mine")
    (made,) = make_groups(MEMORY, PROCESSES, root=tmp_path, own=own)
    assert made.parent == tmp_path / "user" / "app"
    assert settings(made) == {"memory.max": str(MEMORY), "pids.max": str(PROCESSES)}
    assert are_bounds([made])
    # Whoever starts something there has to be able to enter.
    assert (made / "cgroup.procs").read_text().strip().isdigit()


def test_a_group_that_passes_only_one_of_them_on_is_not_enough(tmp_path: Path) -> None:
    own = tree(tmp_path, {"/": "cpu memory", "/user": "pids"}, own="/user")
    # So it is for whoever was given the group, too.
    (tmp_path / "user" / "cgroup.controllers").write_text("pids")
    assert make_groups(MEMORY, PROCESSES, root=tmp_path, own=own) == []
    assert not are_bounds([])


def test_a_group_outside_of_the_namespace_is_left_alone(tmp_path: Path) -> None:
    own = tree(tmp_path / "inside", {"/": ""}, own="/../outside")
    tree(tmp_path / "outside", {"/": "memory pids"}, own="/")
    assert make_groups(MEMORY, PROCESSES, root=tmp_path / "inside", own=own) == []
    assert make_groups(MEMORY, PROCESSES, root=tmp_path, own=tmp_path / "no such file") == []


def test_a_group_that_cannot_be_entered_is_removed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tree(tmp_path, {"/": "memory pids"}, own="/")
    removed: list[Path] = []
    monkeypatch.setattr("aha.rewards.sandbox.control_groups.remove_group", removed.append)
    # A full file of settings cannot be written, and a folder cannot be entered.
    monkeypatch.setattr("aha.rewards.sandbox.control_groups.tempfile.mkdtemp", lambda **_: str(unusable))
    for name in ("memory.max", "cgroup.procs"):
        unusable = tmp_path / f"without {name}"
        (unusable / name).mkdir(parents=True)
        assert make_groups(MEMORY, PROCESSES, root=tmp_path, own=own) == []
        assert removed.pop() == unusable


def test_a_delegated_group_moves_its_processes_to_a_leaf_and_passes_its_controllers_on(tmp_path: Path) -> None:
    own = tree(tmp_path, {"/": "", "/mine": ""}, own="/mine")
    mine = tmp_path / "mine"
    (mine / "cgroup.procs").write_text("101\n102\n")

    # Nobody has delegated it to root, which owns everything.
    if os.geteuid() == 0:
        assert make_groups(MEMORY, PROCESSES, root=tmp_path, own=own) == []
        assert (mine / "cgroup.subtree_control").read_text() == ""

    try:
        os.setxattr(mine, "user.delegate", b"1")
    except OSError as error:
        pytest.skip(f"this file system has no attributes of users: {error}")
    (made,) = make_groups(MEMORY, PROCESSES, root=tmp_path, own=own)
    assert made.parent == mine
    assert (mine / "cgroup.subtree_control").read_text() == "+memory +pids"
    assert (mine / "aha-main" / "cgroup.procs").read_text() == "102"


def test_the_group_of_a_container_passes_its_controllers_on_and_that_of_the_machine_is_left_alone(
    tmp_path: Path,
) -> None:
    for name, is_container in (("container", True), ("machine", False)):
        root = tmp_path / name
        own = tree(root, {"/": ""}, own="/")
        if is_container:
            (root / "cgroup.type").write_text("domain\n")
        elif os.geteuid() != 0:
            # Here the group belongs to the user, and is delegated for that.
            continue
        made = make_groups(MEMORY, PROCESSES, root=root, own=own)
        assert [group.parent for group in made] == [root] * is_container
        assert (root / "cgroup.subtree_control").read_text() == "+memory +pids" * is_container


def test_memory_kills_are_counted_in_both_versions(tmp_path: Path) -> None:
    for name, text in (("memory.events", "oom 5\noom_kill 2\n"), ("memory.oom_control", "under_oom 0\noom_kill 1\n")):
        (tmp_path / name).write_text(text)
    assert num_memory_kills([tmp_path]) == 3
    assert num_memory_kills([tmp_path / "no such group"]) == 0


def test_a_sandbox_without_control_groups_says_so_once_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    isolation = probe()
    if isolation.strength != "full":
        pytest.skip(f"bubblewrap does not work: {isolation.reason}")
    monkeypatch.setattr("aha.rewards.sandbox.isolation.make_groups", lambda *_: [])
    with pytest.warns(RuntimeWarning) as caught:
        sandbox = Sandbox(isolation=isolation, num_workers=2)
    sandbox.close()
    (warning,) = caught
    assert "all processes of a program together may take 16 GiB" in str(warning.message)
    assert REMEDY in str(warning.message)


@pytest.fixture
def delegated() -> Iterator[list[Path]]:
    """Control groups that belong to an ordinary user."""
    groups = make_groups(2**33, 1000)
    if not are_bounds(groups):
        pytest.skip("no control group can be made here")
    for group in groups:
        for path in (group, group / "cgroup.procs", *group.glob("cgroup.subtree_control"), *group.glob("tasks")):
            shutil.chown(path, UID, UID)
    yield groups
    for group in groups:
        for path in sorted(group.rglob("*"), reverse=True):
            if path.is_dir():
                remove_group(path)
        remove_group(group)


@pytest.mark.full
@needs_root
def test_a_cell_of_an_ordinary_user_is_bounded_as_a_whole(delegated: list[Path]) -> None:
    if not command_of() or probe().strength != "full":
        pytest.skip("an ordinary user has no interpreter or no bubblewrap here")
    program = (
        "from sandbox_attacks import *\n"
        "limits = Limits(seconds=60.0, memory_bytes=LIMITS.memory_bytes)\n"
        "with Sandbox(limits=limits, isolation=probe()) as sandbox:\n"
        f"    print(sandbox.run({GREEDY!r}).status)\n"
        "    print(sandbox.run('print(7)').output)\n"
    )
    enter = " && ".join(f"echo $$ > {group}/cgroup.procs" for group in delegated)
    before = ["/bin/sh", "-c", f'{enter} && exec "$@"', "sh"]
    found = run_as_ordinary_user(["-W", "error", "-c", program], before=before)
    assert found.stdout.split() == ["memory", "7"], found.stdout + found.stderr


def test_a_cell_removes_its_groups() -> None:
    with closing(Cell(probe(), replace(LIMITS, seconds=1.0))) as cell:
        groups = cell.groups
        assert all(group.is_dir() for group in groups)
    assert not any(group.exists() for group in groups)

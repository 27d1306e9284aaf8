"""The pages under docs/ that name code are held to the code."""

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from house_rules import modules

from aha.advantages.group import group_advantages
from aha.problems.world.questions import TrainingProblems
from aha.rewards.audits.reward import rollout_of
from aha.rewards.table import RULES, score

ROOT = Path(__file__).parent.parent.parent
EQUATIONS = ROOT / "docs" / "equations.md"
METRICS_PAGE = ROOT / "docs" / "metrics.md"
GLOSSARY = ROOT / "docs" / "glossary.md"
TOUR = ROOT / "docs" / "tour.md"
MATHEMATICS = ("aha/objectives", "aha/advantages")
PARTS_OF_EQUATIONS = {"zero_outside", "sequence_sum", "mean_where"}
"""What the equations are made of, tested in tests/unit, and no equations themselves."""
NOT_A_SHAPE = {"lora_A", "reward_NAME"}
"""What ends in letters that are no shape: what `peft` calls a matrix, and a metric with a name to be filled in."""
KEYS = {"stage", "iteration", "step"}
"""What a line of metrics belongs to, not a metric."""


def rows(page: str, heading: str = "") -> list[list[str]]:
    """Cells of a page's tables, without their headings, below a heading if one is given."""
    section = page.split(f"## {heading}\n")[1].split("\n## ")[0] if heading else page
    tables = re.findall(r"^\|[-|]+\|\n((?:\|.*\n)*)", section, flags=re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()]
    return [[cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def code(cell: str) -> str:
    return cell.strip("`")


def resolve(dotted: str) -> object:
    """The module, class or function of a dotted path."""
    head, _, name = dotted.rpartition(".")
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        return vars(importlib.import_module(head))[name]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def defined_tests(path: Path) -> set[str]:
    return {node.name for node in parsed(path).body if isinstance(node, ast.FunctionDef)}


def public_functions(folder: Path) -> set[str]:
    paths = [path for path in folder.glob("*.py") if path.stem != "__init__"]
    nodes = [node for path in paths for node in parsed(path).body]
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")}


@cache
def names_in(tree: ast.AST) -> set[str]:
    """Every name that is defined, used or passed in a piece of code, and every text that could be a key."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Constant(value=str(name)):
                names.add(name)
    return names


def is_in_module(name: str, module: str) -> bool:
    """Whether a module has a name; of `Class.member` also whether the class has the member."""
    tree = parsed((ROOT / module.replace(".", "/")).with_suffix(".py"))
    owner, _, member = name.rpartition(".")
    if not owner:
        return name in names_in(tree)
    return any(isinstance(node, ast.ClassDef) and node.name == owner and member in names_in(node) for node in tree.body)


def legend() -> dict[str, str]:
    """The shape letters, with what each stands for."""
    text = ast.get_docstring(parsed(ROOT / "aha" / "types.py")) or ""
    return dict(re.findall(r"^    ([A-Z])  (.+)$", text, flags=re.MULTILINE))


def shape_suffixes(tree: ast.AST) -> dict[str, str]:
    """The names that end in a shape, with their shapes: a digit is a size of its own."""
    found = {name: re.fullmatch(r"_?[a-z][a-z0-9_]*_([A-Z][A-Z0-9]*)", name) for name in names_in(tree)}
    return {name: match[1] for name, match in found.items() if match and name not in NOT_A_SHAPE}


EQUATION_ROWS = rows(EQUATIONS.read_text(encoding="utf-8"))


def test_an_equation_leads_to_its_function_and_test() -> None:
    for row in EQUATION_ROWS:
        source, equation, function, test = row
        assert source, row
        assert equation.startswith("`") or "`" in equation, row
        assert callable(resolve(code(function))), row
        path, _, name = code(test).partition("::")
        assert name in defined_tests(ROOT / path), f"{path} has no test {name}"
        assert code(function).rpartition(".")[2] in (ROOT / path).read_text(encoding="utf-8"), row


def test_every_function_of_the_mathematics_is_on_the_page() -> None:
    named = {code(row[2]).rpartition(".")[2] for row in EQUATION_ROWS}
    defined = set().union(*(public_functions(ROOT / folder) for folder in MATHEMATICS))
    assert defined - named == PARTS_OF_EQUATIONS


LOGGED = [
    ("Training", "aha.stages.metrics", "METRICS"),
    ("Rewards beside the rules", "aha.stages.metrics", "OPTIONAL_METRICS"),
    ("Learning from data", "aha.stages.pretrain", "PRETRAIN_METRICS"),
    ("Learning from data", "aha.stages.sft", "SFT_METRICS"),
    ("Reward models", "aha.stages.reward_models.train", "REWARD_MODEL_METRICS"),
    ("Evaluation", "aha.stages.evaluate", "EVALUATION_METRICS"),
    ("General prompts", "aha.stages.evaluate", "GENERAL_METRICS"),
    ("The doctor", "aha.commands.doctor", "DOCTOR_METRICS"),
]


@pytest.mark.parametrize("heading", sorted({heading for heading, _, _ in LOGGED}))
def test_a_metric_is_defined_once_and_fully(heading: str) -> None:
    table = rows(METRICS_PAGE.read_text(encoding="utf-8"), heading)
    names = [code(row[0]) for row in table]
    assert len(names) == len(set(names)) > 0
    assert all(len(row) == 4 and all(row) for row in table)


def test_the_page_lists_the_metrics_that_are_logged() -> None:
    for heading, module, constant in LOGGED:
        table = rows(METRICS_PAGE.read_text(encoding="utf-8"), heading)
        logged = vars(importlib.import_module(module))[constant]
        assert sorted(code(row[0]) for row in table) == sorted(set(logged) - KEYS), (heading, module, constant)
        assert all(resolve(code(row[3])) for row in table), (heading, module, constant)


def test_rows_reads_tables_by_heading() -> None:
    page = "| a | b |\n|---|---|\n| `x\\|y` | 1 |\n\n## Two\n\n| a |\n|---|\n| 2 |\n\n## Three\n\n| a |\n|---|\n| 3 |\n"
    assert rows(page) == [["`x|y`", "1"], ["2"], ["3"]]
    assert rows(page, "Two") == [["2"]]


@pytest.mark.parametrize("dotted", ["aha.objectives.grpo.gone", "aha.gone.grpo_loss"])
def test_resolve_refuses_what_does_not_exist(dotted: str) -> None:
    with pytest.raises((KeyError, ModuleNotFoundError)):
        resolve(dotted)


def test_links_resolve() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    links = [
        (page, target)
        for page in pages
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if "://" not in target
    ]
    assert links
    broken = [f"{page.name}: {target}" for page, target in links if not (page.parent / target).exists()]
    assert not broken


def test_the_glossary_names_what_is_in_the_code() -> None:
    page = GLOSSARY.read_text(encoding="utf-8").split("## Shape letters\n")[0]
    table = rows(page)
    assert all(len(row) == 5 and all(row) for row in table)

    missing = [
        f"{row[0]}: {name} is not in {code(row[3])}"
        for row in table
        for name in re.findall(r"`([^`]+)`", row[2])
        if not is_in_module(name, code(row[3]))
    ]
    assert not missing, "\n".join(missing)

    # A name outside the two columns for names would not be held to the code.
    in_table = sum(row[2].count("`") + row[3].count("`") for row in table)
    assert page.count("`") == in_table


def test_a_term_is_in_the_glossary_once() -> None:
    terms = [row[0] for row in rows(GLOSSARY.read_text(encoding="utf-8"))]
    assert len(terms) == len(set(terms)) > 60


@pytest.mark.parametrize("name", ["grpo_gone", "Batch.gone", "Gone.tokens_BT"])
def test_the_glossary_would_notice_what_is_gone(name: str) -> None:
    assert is_in_module("Batch.tokens_BT", "aha.types")
    assert not is_in_module(name, "aha.types")


def test_the_legend_has_every_shape_letter() -> None:
    letters = legend()
    unknown = [
        f"{module.name}: {name}"
        for module in modules()
        for name, shape in shape_suffixes(module.tree).items()
        if set(shape) - set("0123456789") - letters.keys()
    ]
    assert not unknown, "\n".join(unknown)


def test_the_glossary_repeats_the_legend() -> None:
    table = rows(GLOSSARY.read_text(encoding="utf-8"), "Shape letters")
    assert {letter: meaning for letter, meaning in table} == legend()


def test_shape_suffixes_are_seen() -> None:
    tree = ast.parse("def f(x_BT, R1_ZERO): self._y_N4 = MAX_LEN, lora_A, {'adv_PG': 1}")
    assert shape_suffixes(tree) == {"x_BT": "BT", "_y_N4": "N4", "adv_PG": "PG"}


def test_the_tour_is_ten_files() -> None:
    way = TOUR.read_text(encoding="utf-8").split("\n## ")[0]
    steps = re.findall(r"^(\d+)\. (.+(?:\n   .+)*)", way, flags=re.MULTILINE)
    assert [number for number, _ in steps] == [str(number) for number in range(1, 11)]

    files = [re.findall(r"\]\(\.\./(aha/[^)]+)\)", text) for _, text in steps]
    assert all(len(links) == 1 for links in files)
    assert len({links[0] for links in files}) == 10
    for (_, text), (path,) in zip(steps, files, strict=True):
        module = path.removesuffix(".py").replace("/", ".")
        names = re.findall(r"`([a-zA-Z_0-9]+)`", re.sub(r"\[.*?\]\(.*?\)", "", text))
        assert names, path
        assert all(is_in_module(name, module) for name in names), (path, names)


def test_the_tree_of_calls_names_what_there_is_and_every_step_of_the_tour() -> None:
    way = TOUR.read_text(encoding="utf-8").split("\n## ")[0]
    (tree,) = re.findall(r"^```\n(.+?)^```", way, flags=re.MULTILINE | re.DOTALL)
    calls = [re.fullmatch(r" *(\S+) +aha/(\S+)\.py(?: +(.+))?", line) for line in tree.splitlines()]
    numbered = {}
    for call, line in zip(calls, tree.splitlines(), strict=True):
        assert call, line
        name, path, remark = call.groups()
        assert is_in_module(name, f"aha.{path.replace('/', '.')}"), line
        if remark and remark.isdecimal():
            numbered[int(remark)] = f"aha/{path}.py"

    # The first step is about types, which nobody calls.
    steps = re.findall(r"^(\d+)\. \[`(\S+)`\]", way, flags=re.MULTILINE)
    assert numbered == {int(number): path for number, path in steps[1:]}


def test_the_group_of_the_tour_is_rewarded_as_it_says() -> None:
    page = TOUR.read_text(encoding="utf-8")
    (asked,) = re.findall(r"\*(find two of .*?)\*", page)
    (problem,) = [one for one in TrainingProblems(seed=0)(0, 40) if one.question == asked]
    assert f"*{problem.answer}*" in page

    table = rows(page.split("\n## ")[0])
    rewards = [score(RULES, problem, rollout_of(problem, code(row[0]))) for row in table]
    assert [[reward.parts["accuracy"], reward.parts["format"], reward.total] for reward in rewards] == [
        [float(cell) for cell in row[1:4]] for row in table
    ]
    advantages = group_advantages(torch.tensor([[reward.total for reward in rewards]]))[0].tolist()
    assert [f"{advantage:.2f}" for advantage in advantages] == [row[4] for row in table]

"""The house rules hold, and each is shown able to fail.

The rules are in `house_rules.py`. One test per rule runs it over the package; `BROKEN` holds a small source for each
way to break a rule, and shows that the rule notices.
"""

import statistics
import subprocess
import sys
import tomllib
from collections.abc import Callable

import pytest
from house_rules import (
    CHANGEABLE,
    MAX_MEDIAN_LINES,
    PACKAGE,
    ROOT,
    RULES,
    Module,
    busy_packages,
    changeable_nouns,
    config_names,
    declared,
    deep_functions,
    dense_geometry,
    forbidden_code,
    homeless_modules,
    impure_mathematics,
    length,
    long_functions,
    long_modules,
    modules,
    parse,
    poor_configs,
    read,
    relative_imports,
    stages_by_name,
    third_party,
    undocumented,
    upward_imports,
    vague_names,
    wide_functions,
    wrong_exports,
)

# The rules hold


def test_the_package_was_found() -> None:
    assert {"aha.types", "aha.objectives.grpo", "aha.advantages.group"} <= {module.name for module in modules()}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule: Callable[[Module], list[str]]) -> None:
    violations = [violation for module in modules() for violation in rule(module)]
    assert not violations, "\n".join(violations)


def test_dependencies_are_declared_and_optional_ones_have_one_door() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    violations = third_party(modules(), *declared(project))
    assert not violations, "\n".join(violations)


def test_functions_are_short() -> None:
    lengths = [length(node) for module in modules() for node in module.functions]
    median = statistics.median(lengths)
    assert median < MAX_MEDIAN_LINES, f"the median of {len(lengths)} functions is {median} lines"


def test_every_folder_is_a_package_that_lists_its_modules() -> None:
    violations = []
    for folder in {PACKAGE, *(path.parent for path in PACKAGE.rglob("*.py"))}:
        present = {path.stem for path in folder.glob("*.py")} | {
            path.parent.name for path in folder.glob("*/__init__.py")
        }
        violations += wrong_exports(read(folder / "__init__.py"), present - {"__init__", "__main__"})
    assert not violations, "\n".join(violations)


def test_configurations_are_small_and_described() -> None:
    violations = poor_configs(modules())
    assert not violations, "\n".join(violations)


def without_torch(code: str) -> subprocess.CompletedProcess[str]:
    check = f"import sys\n{code}\nassert 'torch' not in sys.modules, 'torch was imported'"
    return subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=False)


def test_neither_configurations_nor_help_need_torch() -> None:
    names = config_names(modules())
    homes = sorted({module.name for module in modules() for node in module.classes if node.name in names})
    result = without_torch(
        "\n".join(f"import {home}" for home in homes) + "\n"
        "assert 'torch' not in sys.modules, 'a configuration imports torch'\n"
        "import contextlib, aha.cli\n"
        "sys.argv = ['aha', '--help']\n"
        "with contextlib.suppress(SystemExit):\n"
        "    aha.cli.main()"
    )
    assert result.stderr == ""
    assert "usage" in result.stdout.lower()


# The rules can fail

NESTED = "def f():\n if a:\n  for b in c:\n   with d:\n    while e:\n     pass"
CHAIN = 'def f():\n if a:\n  pass\n elif b:\n  pass\n elif c:\n  pass\n elif d:\n  pass\n else:\n  "x"'
WIDE = "def f({}): ...".format(", ".join(f"a{i}: int" for i in range(8)))
TENSORS = "def f(self, {}, *, x): ...".format(", ".join(f"a{i}_BT: Tensor | None" for i in range(20)))

BROKEN = [
    (relative_imports, "aha.runs.x", "from . import y", "imports relatively"),
    (upward_imports, "aha.policy.x", "from aha.training.learner import Learner", "imports training"),
    (upward_imports, "aha.policy.x", "import aha.prompts.tokenizer", "imports prompts (floor 2)"),
    (upward_imports, "aha.types", "from aha import runs", "imports runs"),
    (upward_imports, "aha.rewards.x", "def f():\n from aha.evaluation import metrics", "imports evaluation"),
    (homeless_modules, "aha.attic.x", "", "in no room"),
    (impure_mathematics, "aha.objectives.x", "from pathlib import Path", "imports pathlib"),
    (impure_mathematics, "aha.advantages.x", "import torch.distributed as dist", "imports torch.distributed"),
    (dense_geometry, "aha.engines.x", "size = policy.config.head_dim", "reads head_dim"),
    (dense_geometry, "aha.stages.x", "from aha.policy.transformer import Transformer", "imports Transformer"),
    (stages_by_name, "aha.commands.x", 'if stage == "longer": pass', "names longer"),
    (stages_by_name, "aha.report.x", 'RESULT = "r1_zero"', "names r1_zero"),
    (long_modules, "aha.runs.x", "pass\n" * 401, "401 lines"),
    (long_functions, "aha.runs.x", "def f():\n 'What it does.'\n" + " pass\n" * 60, "61 lines"),
    (wide_functions, "aha.runs.x", WIDE, "8 parameters"),
    (wide_functions, "aha.runs.x", "def f(a, b, /, c, d, *e, g, h, **i): ...", "8 parameters"),
    (deep_functions, "aha.runs.x", NESTED, "nests 4"),
    (deep_functions, "aha.runs.x", CHAIN.replace('"x"', "if a:\n   for b in c:\n    while d: pass"), "nests 4"),
    (undocumented, "aha.runs.x", "x = 1", "aha.runs.x has no docstring"),
    (undocumented, "aha.runs.x", '"""X."""\ndef f(): ...', "x.f has no"),
    (undocumented, "aha.runs.x", '"""X."""\nclass C:\n "C."\n def f(self): ...', "x.C.f has no"),
    (vague_names, "aha.runs.utils", "", "is called utils"),
    (forbidden_code, "aha.runs.x", "y = eval('1')", "calls eval"),
    (forbidden_code, "aha.runs.x", "y = getattr(x, 'z', None)", "calls getattr"),
    (forbidden_code, "aha.runs.x", "try:\n pass\nexcept:\n pass", "catches everything"),
    (forbidden_code, "aha.runs.x", "def f(): raise NotImplementedError", "is a stub"),
    (forbidden_code, "aha.runs.x", "def f():\n global x", "has global state"),
    (busy_packages, "aha.runs.__init__", '"""R."""', "no __all__"),
    (busy_packages, "aha.runs.__init__", '"""R."""\n__all__ = []\nfrom aha.runs import x', "holds other code"),
    (busy_packages, "aha.runs.__init__", '"""R."""\n__all__ = []\n__version__ = "1"', "holds __version__"),
    (changeable_nouns, "aha.runs.x", "@dataclass\nclass C: ...", "x.C is not frozen"),
    (changeable_nouns, "aha.runs.x", "@dataclasses.dataclass(kw_only=True)\nclass C: ...", "x.C is not frozen"),
    (changeable_nouns, "aha.runs.x", "@dataclass(frozen=False)\nclass C: ...", "x.C states frozen=False"),
    (changeable_nouns, "aha.stages.run", "@dataclass(frozen=False)\nclass Run: ...", "Run states frozen=False"),
    (changeable_nouns, "aha.runs.x", "@dataclass(frozen=True, slots=False)\nclass C: ...", "C states slots=False"),
    (changeable_nouns, "aha.runs.x", "@dataclass(frozen=True, kw_only=False)\nclass C: ...", "C states kw_only=False"),
    (changeable_nouns, "aha.stages.run", "@dataclass(frozen=True)\nclass Run: ...", "need not be in CHANGEABLE"),
]
SOUND = [
    (dense_geometry, "aha.policy.x", "size = config.head_dim"),
    (
        upward_imports,
        "aha.stages.x",
        "from aha.types import Loss\nfrom aha.stages import y\nfrom aha import __version__\nimport torch",
    ),
    (wide_functions, "aha.runs.x", TENSORS),
    (deep_functions, "aha.runs.x", CHAIN),
    (forbidden_code, "aha.runs.x", "model.eval()\ntry:\n pass\nexcept ValueError:\n pass"),
    (undocumented, "aha.runs.x", '"""X."""\ndef _f(): ...\nclass C:\n "C."\n def __len__(self): ...'),
    (busy_packages, "aha.__init__", '"""A."""\n__all__ = []\n__version__ = "1"'),
    (upward_imports, "aha.__init__", "from aha.library import run"),
    (
        changeable_nouns,
        "aha.runs.x",
        "@dataclass(frozen=True, eq=False)\nclass C: ...\n@final\nclass D: ...",
    ),
    (changeable_nouns, "aha.stages.run", "@dataclass(slots=True)\nclass Run: ..."),
]


@pytest.mark.parametrize(("rule", "name", "source", "expected"), BROKEN)
def test_rule_notices(rule: Callable[[Module], list[str]], name: str, source: str, expected: str) -> None:
    violations = rule(parse(name, source))
    assert len(violations) == 1
    assert expected in violations[0]


@pytest.mark.parametrize(("rule", "name", "source"), SOUND)
def test_rule_lets_pass(rule: Callable[[Module], list[str]], name: str, source: str) -> None:
    assert rule(parse(name, source)) == []


def test_every_rule_has_been_seen_to_fail() -> None:
    assert {rule for rule, *_ in BROKEN} == set(RULES)


def test_every_dataclass_that_may_change_is_there() -> None:
    names = {f"{module.name}.{node.name}" for module in modules() for node in module.classes}
    assert CHANGEABLE.keys() - names == set()


def test_third_party_notices() -> None:
    modules = [
        parse("aha.runs.x", "import vllm, numpy, json"),
        parse("aha.runs.y", "def f():\n import vllm.core, flask"),
    ]
    assert third_party(modules, {"numpy"}, {"vllm"}) == [
        "flask (aha.runs.y) is no declared dependency",
        "optional vllm is imported by aha.runs.x, aha.runs.y",
    ]


def test_declared_reads_requirements() -> None:
    project = {
        "dependencies": ["torch>=2", "typing-extensions"],
        "optional-dependencies": {"dev": ["pytest"], "gpu": ["vllm[a]"]},
    }
    assert declared(project) == ({"torch", "typing_extensions"}, {"pytest", "vllm"})


def test_wrong_exports_notices() -> None:
    module = parse("aha.runs.__init__", '"""R."""\n__all__ = ["gone", "here"]')
    assert wrong_exports(module, {"here", "new"}) == [
        "aha.runs.__init__ lists gone, which does not exist",
        "aha.runs.__init__ does not list new",
    ]


def test_poor_configs_notices() -> None:
    big = "class Big(Config):\n" + "".join(f" f{i}: int = Field(1, description='x')\n" for i in range(13))
    heir = "class Heir(Big):\n a: int\n b: int = 1\n 'said'\n c: ClassVar[int] = 2"
    assert poor_configs([parse("aha.runs.x", big)]) == ["Big has 13 fields"]
    assert poor_configs([parse("aha.runs.x", big), parse("aha.runs.y", heir)])[1:] == ["Heir.a is not described"]
    assert poor_configs([parse("aha.runs.x", "import torch\nclass C(Config): ...")]) == [
        "aha.runs.x holds C and imports torch"
    ]


def test_without_torch_notices() -> None:
    assert "torch was imported" in without_torch("sys.modules['torch'] = sys").stderr


def test_length_counts_the_signature_and_not_the_docstring() -> None:
    (function,) = parse("aha.runs.x", "@deco\ndef f(\n a,\n):\n '''Doc.\n\n More.'''\n return a").functions
    assert length(function) == 4

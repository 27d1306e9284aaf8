"""The house rules as functions from a module of the package to the list of its violations."""

import ast
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from aha.recipes.catalogue import RECIPES

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "aha"

FLOORS = {
    "types": 0,
    **dict.fromkeys(["objectives", "advantages", "kernels", "runs"], 1),
    **dict.fromkeys(["problems", "prompts", "policy"], 2),
    **dict.fromkeys(["engines", "rewards", "training", "search", "evaluation"], 3),
    "actors": 4,
    "algorithms": 5,
    "stages": 6,
    "recipes": 7,
    **dict.fromkeys(["commands", "lab", "report", "serving"], 8),
    "cli": 9,
    "library": 10,
    "__main__": 11,
}
STAGE_NAMES = {name for recipe in RECIPES for node in recipe.figure for name in (recipe.name, node.name, *node.stages)}
STAGE_NAMES -= {"start", "end", "base", "general", "kept", "helpfulness", "harmlessness"}
"""Names of recipes, and of what they make, but for those that are an evaluation, a metric or a count as well."""
WITH_STAGE_NAMES = {"aha.report.chapters", "aha.report.ablations"}
"""The studies of R1 on its page: cold start, language reward, reward hacking."""
TENSORS_ONLY = {"objectives", "advantages"}
TENSOR_IMPORTS = {"torch", "math", "typing", "collections", "aha"}
DENSE_FIELDS = {"num_key_value_heads", "head_dim"}
DENSE_DECODERS = {"aha.engines.graphed"}
MAX_MODULE_LINES, MAX_FUNCTION_LINES, MAX_MEDIAN_LINES = 400, 60, 20
MAX_PARAMETERS, MAX_NESTING = 7, 3
MAX_FIELDS = 12
LIBRARY_NAMES = {"Problem", "Rollout", "Verdict", "__version__", "evaluate", "run", "sample"}
"""What the package offers besides its modules."""
BANNED_NAMES = {"utils", "common", "helpers", "misc", "base", "manager"}
BANNED_CALLS = {"eval", "exec", "getattr", "hasattr"}

CHANGEABLE: dict[str, str] = {
    "aha.stages.run.Run": "whether it was asked to stop",
    "aha.stages.pretrain._Corpus": "the beginning of a document, found once it is made",
    "aha.engines.batch.SharedPrompt": "how many of its requests wait",
    "aha.engines.batch.RequestState": "how many tokens were told",
    "aha.engines.endpoint.Endpoint": "connections, failures and times of requests",
    "aha.kernels.cpu.allocation._Region": "who uses the pages",
    "aha.rewards.sandbox.isolation.Cell": "what it claims once it is made",
    "aha.rewards.verifier.MathVerifier": "counts and times of verdicts",
    "aha.rewards.audits.reward.AttackCount": "a count",
    "aha.rewards.audits.reward.RewardAudit": "counts, as rows are judged",
}
"""Dataclasses that are not frozen, and what changes in each."""

BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    name: str
    source: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.name.split(".")[1] if "." in self.name else ""

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of the tree, which is walked once for all rules."""
        return list(ast.walk(self.tree))

    @cached_property
    def functions(self) -> list[Function]:
        return [node for node in self.nodes if isinstance(node, Function)]

    @cached_property
    def classes(self) -> list[ast.ClassDef]:
        return [node for node in self.nodes if isinstance(node, ast.ClassDef)]


def parse(name: str, source: str) -> Module:
    return Module(name, source, ast.parse(source))


def read(path: Path) -> Module:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parse(".".join(parts), path.read_text(encoding="utf-8"))


@cache
def modules() -> list[Module]:
    """All modules of the package, parsed when a test first asks for them."""
    return [read(path) for path in sorted(PACKAGE.rglob("*.py"))]


# Who imports whom


def imported(module: Module) -> Iterator[str]:
    """Dotted names of everything imported, at the top or inside a function; of `from a import b`, `a.b`."""
    for node in module.nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_at_once(module: Module) -> Iterator[str]:
    """Dotted names of what the import of a module imports: not inside functions, nor for types alone."""
    statements = [node for node in module.tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return imported(Module(module.name, module.source, ast.Module(statements, [])))


def relative_imports(module: Module) -> list[str]:
    nodes = [node for node in module.nodes if isinstance(node, ast.ImportFrom) and node.level]
    return [f"{module.name}:{node.lineno} imports relatively" for node in nodes]


def upward_imports(module: Module) -> list[str]:
    # The package itself stands above all floors: it names what the library offers, and imports it when it is used.
    if module.name == "aha.__init__":
        return []
    rooms = {name.split(".")[1] for name in imported(module) if name.startswith("aha.")} - {module.room}
    own = FLOORS.get(module.room, -1)
    return [
        f"{module.name} (floor {own}) imports {room} (floor {FLOORS.get(room)})"
        for room in sorted(rooms)
        if FLOORS.get(room, -2) >= own
    ]


def homeless_modules(module: Module) -> list[str]:
    return (
        [f"{module.name} is in no room of FLOORS"]
        if module.room and module.room not in FLOORS | {"__init__": 0}
        else []
    )


def impure_mathematics(module: Module) -> list[str]:
    """Objectives and advantages see tensors only: no configuration, disk, logger or process group."""
    if module.room not in TENSORS_ONLY:
        return []
    foreign = [name for name in imported(module) if name.split(".")[0] not in TENSOR_IMPORTS]
    foreign += [name for name in imported(module) if name.startswith("torch.distributed")]
    return [f"{module.name} imports {name}" for name in foreign]


def dense_geometry(module: Module) -> list[str]:
    """Outside `policy`, only the decoder that records the dense family's own layers knows how its heads are made."""
    if module.room == "policy" or module.name in DENSE_DECODERS:
        return []
    nodes = [node for node in module.nodes if isinstance(node, ast.Attribute) and node.attr in DENSE_FIELDS]
    violations = [f"{module.name}:{node.lineno} reads {node.attr}: ask `cache_spec`" for node in nodes]
    if "aha.policy.transformer.Transformer" in imported(module):
        violations.append(f"{module.name} imports Transformer: `Policy` is what it may know")
    return violations


IMPORTED_AS = {"google_re2": "re2"}
"""Packages that are imported under another name than their own."""


def declared(project: dict[str, object]) -> tuple[set[str], set[str]]:
    """Import names of the core dependencies, and of all the extras."""
    extras = project["optional-dependencies"]
    assert isinstance(extras, dict)

    def names(requirements: object) -> set[str]:
        assert isinstance(requirements, list)
        packages = [re.split(r"[^A-Za-z0-9_.-]", line)[0].lower().replace("-", "_") for line in requirements]
        return {IMPORTED_AS.get(package, package) for package in packages}

    return names(project["dependencies"]), set().union(*(names(extra) for extra in extras.values()))


def third_party(modules: Sequence[Module], core: set[str], optional: set[str]) -> list[str]:
    """Imports that no dependency provides, and optional dependencies that more than one module imports."""
    users: dict[str, set[str]] = {}
    for module in modules:
        for name in imported(module):
            users.setdefault(name.split(".")[0], set()).add(module.name)
    foreign = set(users) - core - set(sys.stdlib_module_names) - {"aha"}
    missing = [f"{name} ({', '.join(sorted(users[name]))}) is no declared dependency" for name in foreign - optional]
    shared = [
        f"optional {name} is imported by {', '.join(sorted(users[name]))}"
        for name in foreign & optional
        if len(users[name]) > 1
    ]
    return sorted(missing + shared)


def stages_by_name(module: Module) -> list[str]:
    """Commands and report know recipes and stages by their records and figures, not by name."""
    if module.room not in {"commands", "report"} or module.name in WITH_STAGE_NAMES:
        return []
    nodes = [node for node in module.nodes if isinstance(node, ast.Constant) and node.value in STAGE_NAMES]
    return [f"{module.name}:{node.lineno} names {node.value}: the recipe's record does" for node in nodes]


# How large things may grow


def length(node: Function) -> int:
    """Lines of a function without its docstring, so that nobody saves lines by explaining less."""
    first = node.body[0]
    docstring = (first.end_lineno or first.lineno) - first.lineno + 1 if _is_text(first) else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - docstring


def long_modules(module: Module) -> list[str]:
    lines = len(module.source.splitlines())
    return [f"{module.name} has {lines} lines"] if lines > MAX_MODULE_LINES else []


def long_functions(module: Module) -> list[str]:
    return [
        f"{module.name}.{node.name} has {length(node)} lines"
        for node in module.functions
        if length(node) > MAX_FUNCTION_LINES
    ]


def wide_functions(module: Module) -> list[str]:
    """More parameters than a reader can hold; tensors, by their annotation, are free, and so is what a kernel takes."""
    counts = [(node.name, num_parameters(node)) for node in module.functions if not is_kernel(node)]
    return [f"{module.name}.{name} has {count} parameters" for name, count in counts if count > MAX_PARAMETERS]


def is_kernel(node: Function) -> bool:
    """Whether a function is compiled for a GPU: its parameters are pointers and sizes."""
    return any(isinstance(decorator, ast.Name) and decorator.id == "jit" for decorator in node.decorator_list)


def num_parameters(node: Function) -> int:
    spec = node.args
    parameters = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *filter(None, (spec.vararg, spec.kwarg))]
    return sum(
        parameter.arg not in ("self", "cls") and "Tensor" not in ast.unparse(parameter.annotation or ast.Constant(None))
        for parameter in parameters
    )


def deep_functions(module: Module) -> list[str]:
    depths = [(node.name, max(map(nesting, node.body))) for node in module.functions]
    return [f"{module.name}.{name} nests {depth} deep" for name, depth in depths if depth > MAX_NESTING]


def nesting(node: ast.AST) -> int:
    """Blocks inside blocks; `elif` is a sibling, and a nested function is measured on its own."""
    if isinstance(node, Function):
        return 0
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.If) and (chained := _elif(node)):
        children.remove(chained)
        return max(1 + max(map(nesting, children)), nesting(chained))
    return isinstance(node, BLOCKS) + max(map(nesting, children), default=0)


def _elif(node: ast.If) -> ast.If | None:
    """The `elif` of an `if`; the tree has it inside `else`, where only its column gives it away."""
    match node.orelse:
        case [ast.If(col_offset=node.col_offset) as chained]:
            return chained
    return None


# What every name must say


def undocumented(module: Module) -> list[str]:
    found = [] if ast.get_docstring(module.tree) else [f"{module.name} has no docstring"]
    return found + [f"{module.name}.{name} has no docstring" for name in undocumented_members(module.tree.body, "")]


def undocumented_members(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                yield prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from undocumented_members(node.body, f"{prefix}{node.name}.")


def vague_names(module: Module) -> list[str]:
    return [f"{module.name} is called {part}" for part in module.name.split(".") if part in BANNED_NAMES]


def forbidden_code(module: Module) -> list[str]:
    """Executed text, probed attributes, handlers that catch everything, stubs, state shared through `global`."""
    return [f"{module.name}:{node.lineno} {why}" for node, why in _forbidden(module)]


def _forbidden(module: Module) -> Iterator[tuple[ast.expr | ast.stmt | ast.ExceptHandler, str]]:
    for node in module.nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BANNED_CALLS:
            yield node, f"calls {node.func.id}"
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node, "catches everything"
        elif isinstance(node, ast.Name) and node.id == "NotImplementedError":
            yield node, "is a stub"
        elif isinstance(node, ast.Global):
            yield node, "has global state"


def busy_packages(module: Module) -> list[str]:
    """An `__init__.py` holds a docstring and `__all__`, so that importing it is free.

    That of the package holds more: what the library offers, imported when it is used; a test holds that it is free.
    """
    if not module.name.endswith("__init__") or module.name == "aha.__init__":
        return []
    assigned = [
        target.id if isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Name) else "other code"
        for node in module.tree.body[1:]
    ]
    missing = [] if "__all__" in assigned else [f"{module.name} has no __all__"]
    return missing + [f"{module.name} holds {name}" for name in assigned if name != "__all__"]


def wrong_exports(module: Module, present: set[str]) -> list[str]:
    """`__all__` of a package against the modules that its folder has."""
    assignments = [node for node in module.tree.body if isinstance(node, ast.Assign)]
    exported = {
        name
        for node in assignments
        if isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"
        for name in ast.literal_eval(node.value)
    }
    if module.name == "aha.__init__":
        exported -= LIBRARY_NAMES
    return [f"{module.name} lists {name}, which does not exist" for name in sorted(exported - present)] + [
        f"{module.name} does not list {name}" for name in sorted(present - exported)
    ]


# Configuration


def config_names(modules: Sequence[Module]) -> set[str]:
    """Names of the classes that derive from `Config`, at any distance."""
    parents = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for module in modules
        for node in module.classes
    }
    found: set[str] = set()
    while more := {name for name, bases in parents.items() if bases & (found | {"Config"})} - found:
        found |= more
    return found


def fields(node: ast.ClassDef) -> dict[str, bool]:
    """The fields of a configuration, each with whether a line says what it is."""
    following = [*node.body[1:], ast.Pass()]
    return {
        statement.target.id: "description=" in ast.unparse(statement) or _is_text(after)
        for statement, after in zip(node.body, following, strict=True)
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and "ClassVar" not in ast.unparse(statement.annotation)
    }


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def poor_configs(modules: Sequence[Module]) -> list[str]:
    names = config_names(modules)
    configs = [(module, node) for module in modules for node in module.classes if node.name in names]
    found = []
    for module, node in configs:
        if len(fields(node)) > MAX_FIELDS:
            found.append(f"{node.name} has {len(fields(node))} fields")
        found += [f"{node.name}.{name} is not described" for name, described in fields(node).items() if not described]
        if any(name.split(".")[0] == "torch" for name in imported_at_once(module)):
            found.append(f"{module.name} holds {node.name} and imports torch")
    return found


# Nouns


def changeable_nouns(module: Module) -> list[str]:
    """Dataclasses that are not frozen, but for those with a reason; and keywords that state what is so without them."""
    decorators = [(node, decorator) for node in module.classes for decorator in node.decorator_list]
    found = []
    for node, decorator in decorators:
        name = f"{module.name}.{node.name}"
        if ast.unparse(decorator).split("(")[0] not in {"dataclass", "dataclasses.dataclass"}:
            continue
        keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
        values = {keyword.arg: ast.unparse(keyword.value) for keyword in keywords}
        # These are false unless they are stated: what is written out as false was true once.
        found += [
            f"{name} states {word}=False" for word in ("frozen", "slots", "kw_only") if values.get(word) == "False"
        ]
        if values.get("frozen") == "True" and name in CHANGEABLE:
            found.append(f"{name} is frozen and need not be in CHANGEABLE")
        elif "frozen" not in values and name not in CHANGEABLE:
            found.append(f"{name} is not frozen")
    return found


RULES: list[Callable[[Module], list[str]]] = [
    relative_imports,
    upward_imports,
    homeless_modules,
    impure_mathematics,
    dense_geometry,
    stages_by_name,
    long_modules,
    long_functions,
    wide_functions,
    deep_functions,
    undocumented,
    vague_names,
    forbidden_code,
    busy_packages,
    changeable_nouns,
]

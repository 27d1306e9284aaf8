"""The figure of a recipe: its models and data, what each of them is made from, and by which stages."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from aha.runs.folder import RunFolder

__all__ = ["MAIN_MODELS", "PIPELINE_FILE", "Node", "nodes_of", "trained_models", "write_pipeline"]

PIPELINE_FILE = "pipeline.json"
KINDS = ("model", "data", "reward")
MAIN_MODELS = ("zero", "dev1", "dev2", "dev3", "r1")
"""The models of the paper's Table 3, in its order; the last one is the result of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One box of the figure.

    Attributes:
        name: short name; an evaluation of the same name belongs to it.
        title: its name in the paper.
        kind: `model`, `data` or `reward` (a reward model).
        by: how it is made, in a few words.
        stages: names of the stages that make it, in order.
        parents: names of the nodes that it is made from.
    """

    name: str
    title: str
    kind: str
    by: str = ""
    stages: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()


def write_pipeline(folder: RunFolder, nodes: Sequence[Node]) -> None:
    """Writes the figure as `pipeline.json`, so that the report can draw it before its stages have run."""
    folder.write(PIPELINE_FILE, {"nodes": [asdict(node) for node in nodes]})


def nodes_of(content: Mapping[str, object]) -> list[Node]:
    """The boxes of the content of a `pipeline.json`; an entry that is no box, or the second of a name, is left out."""
    entries = content.get("nodes")
    nodes: dict[str, Node] = {}
    for entry in entries if isinstance(entries, list) else ():
        node = _node(entry)
        if node is not None:
            nodes.setdefault(node.name, node)
    return list(nodes.values())


def trained_models(nodes: Sequence[Node]) -> list[Node]:
    """The models that are made from others: those of the paper's Table 3 in its order, then the rest."""
    models = {node.name: node for node in nodes if node.kind == "model" and node.parents}
    main = [name for name in MAIN_MODELS if name in models]
    others = [name for name in models if name not in MAIN_MODELS]
    return [models[name] for name in (*main, *others)]


def _node(entry: object) -> Node | None:
    if not isinstance(entry, dict):
        return None

    words: dict[str, str] = {}
    for key in ("name", "title", "kind", "by"):
        value = entry.get(key)
        if isinstance(value, str):
            words[key] = value
    if not words.get("name") or words.get("kind") not in KINDS:
        return None

    return Node(
        name=words["name"],
        title=words.get("title") or words["name"],
        kind=words["kind"],
        by=words.get("by", ""),
        stages=_names(entry.get("stages")),
        parents=_names(entry.get("parents")),
    )


def _names(value: object) -> tuple[str, ...]:
    """The names in a list; a name that could lead out of the run folder is left out."""
    if not isinstance(value, list):
        return ()

    texts = [name for name in value if isinstance(name, str)]
    return tuple(name for name in texts if name.strip(".") and not set(name) & set("/\\\0"))

"""The figure of a recipe: its models and data, what each of them is made from, and by which stages."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from aha.runs.folder import RunFolder

__all__ = [
    "COLD_START",
    "LANGUAGE_REWARD",
    "PIPELINE_FILE",
    "Node",
    "Place",
    "arrange",
    "compared_models",
    "left_out_of",
    "main_models",
    "nodes_of",
    "trained_models",
    "write_pipeline",
]

PIPELINE_FILE = "pipeline.json"
KINDS = ("model", "data", "reward")
COLD_START = "cold start"
LANGUAGE_REWARD = "language reward"
MAX_CELLS = 50
"""Most columns, and most rows, of a drawing."""

EMPTY = "."

Place = tuple[int, int]
"""Column and row of a box in a drawing."""


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
        is_main: whether it is one of the models that the main table compares; the last such node is the result.
        compared_with: pairs of what the model was made with (`COLD_START`, `LANGUAGE_REWARD`) and of the name of the
            model that was made without it. The report shows each pair side by side.
        wide: its place in the drawing for wide pages; None to let the report find one.
        narrow: its place in the drawing for narrow pages.
    """

    name: str
    title: str
    kind: str
    by: str = ""
    stages: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    is_main: bool = False
    compared_with: tuple[tuple[str, str], ...] = ()
    wide: Place | None = None
    narrow: Place | None = None


def arrange(nodes: Sequence[Node], *, wide: str, narrow: str) -> tuple[Node, ...]:
    """Nodes with their places in both drawings.

    Args:
        nodes: the figure.
        wide: names in rows and columns, with a dot for an empty cell.
        narrow: the same for narrow pages.
    """
    in_wide = _places(wide)
    in_narrow = _places(narrow)
    return tuple(replace(node, wide=in_wide.get(node.name), narrow=in_narrow.get(node.name)) for node in nodes)


def _places(grid: str) -> dict[str, Place]:
    places: dict[str, Place] = {}
    for row, line in enumerate(grid.strip().splitlines()):
        for column, name in enumerate(line.split()):
            if name != EMPTY:
                places[name] = (column, row)
    return places


def write_pipeline(folder: RunFolder, nodes: Sequence[Node], left_out: Sequence[str] = ()) -> None:
    """Writes the figure as `pipeline.json`, so that the report can draw it before its stages have run.

    A file that holds the same figure is left as it is: a finished run is not written again.

    Args:
        folder: the run folder.
        nodes: the figure.
        left_out: what of the recipe's whole figure this run does not have, and why, in sentences.
    """
    earlier = folder.read(PIPELINE_FILE)
    if earlier is not None and (nodes_of(earlier), left_out_of(earlier)) == (list(nodes), list(left_out)):
        return
    content: dict[str, object] = {"nodes": [asdict(node) for node in nodes]}
    if left_out:
        content["left_out"] = list(left_out)
    folder.write(PIPELINE_FILE, content)


def left_out_of(content: Mapping[str, object]) -> list[str]:
    """What the content of a `pipeline.json` says is left out; entries that are not text are ignored."""
    entries = content.get("left_out")
    return [entry for entry in entries if isinstance(entry, str)] if isinstance(entries, list) else []


def nodes_of(content: Mapping[str, object]) -> list[Node]:
    """The boxes of the content of a `pipeline.json`; anything else, and a second box of a name, is ignored."""
    entries = content.get("nodes")
    nodes: dict[str, Node] = {}
    for entry in entries if isinstance(entries, list) else ():
        node = _node(entry)
        if node is not None:
            nodes.setdefault(node.name, node)
    return list(nodes.values())


def trained_models(nodes: Sequence[Node]) -> list[Node]:
    """The models that are made from others: the main ones in their order, then the rest."""
    models = [node for node in nodes if node.kind == "model" and node.parents]
    # Python's sort is stable: within each of the two parts the order stays.
    return sorted(models, key=lambda node: not node.is_main)


def main_models(nodes: Sequence[Node]) -> list[Node]:
    """The models that the main table compares: all that are made from others where none is marked."""
    trained = trained_models(nodes)
    # The figure of a small recipe need not mark any.
    return [node for node in trained if node.is_main] or trained


def compared_models(nodes: Sequence[Node], ingredient: str) -> tuple[str, str] | None:
    """The names of the models that were made with an ingredient and without it; None where there are not both."""
    names = {node.name for node in nodes}
    for node in nodes:
        for name, other in node.compared_with:
            if name == ingredient and other in names:
                return node.name, other
    return None


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
        is_main=entry.get("is_main") is True,
        compared_with=_pairs(entry.get("compared_with")),
        wide=_place(entry.get("wide")),
        narrow=_place(entry.get("narrow")),
    )


def _place(value: object) -> Place | None:
    """A place as the file holds it; None for anything else, and where it would make the drawing too large."""
    if not isinstance(value, list) or len(value) != 2:
        return None

    column, row = value
    # `type`, because True is an instance of int.
    are_cells = all(type(cell) is int and 0 <= cell < MAX_CELLS for cell in value)
    return (column, row) if are_cells else None


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    """The pairs of names in a list; whatever is no pair is left out."""
    pairs = [_names(pair) for pair in value] if isinstance(value, list) else []
    return tuple((pair[0], pair[1]) for pair in pairs if len(pair) == 2)


def _names(value: object) -> tuple[str, ...]:
    """The names in a list; a name that could lead out of the run folder is left out."""
    if not isinstance(value, list):
        return ()

    # Names become parts of paths in the report, and the file may come from elsewhere.
    texts = [name for name in value if isinstance(name, str)]
    return tuple(name for name in texts if name.strip(".") and not set(name) & set("/\\\0"))

"""SVG elements as markup: text is escaped, and coordinates have one decimal, a tenth of a pixel."""

import math
from collections.abc import Iterable

from markupsafe import Markup

__all__ = ["Point", "area", "joined", "label", "path", "path_data", "segment"]

Point = tuple[float, float]
"""Pixels from the left and from the top."""


def path_data(points: Iterable[Point]) -> str:
    """The `d` of an SVG path through the points; a point that is not finite breaks the line."""
    commands: list[str] = []
    pen = "M"

    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            commands.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
        else:
            pen = "M"

    return "".join(commands)


def path(kind: str, points: Iterable[Point]) -> Markup:
    """An open path through the points; `kind` is its class in the style sheet, here as in the other functions."""
    element = Markup('<path class="{}" d="{}"/>')
    return element.format(kind, path_data(points))


def area(kind: str, points: Iterable[Point]) -> Markup:
    """The area inside the points."""
    element = Markup('<path class="{}" d="{}Z"/>')
    return element.format(kind, path_data(points))


def segment(kind: str, xs: Point, ys: Point, title: str = "") -> Markup:
    """A straight line from (xs[0], ys[0]) to (xs[1], ys[1]), which may show a title to the pointer."""
    element = Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}">{}</line>')
    hint = Markup("<title>{}</title>").format(title) if title else ""
    return element.format(kind, *xs, *ys, hint)


def label(kind: str, x: float, y: float, text: str) -> Markup:
    """A line of text; y is its base line."""
    element = Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>')
    return element.format(kind, x, y, text)


def joined(elements: Iterable[Markup]) -> Markup:
    """Elements one after another; later ones cover earlier ones."""
    return Markup("").join(elements)

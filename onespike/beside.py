# SPDX-License-Identifier: Apache-2.0
"""Names beside the marks of a plot, where they cover nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Box = tuple[float, float, float, float]  # left, bottom, right, top
NEAR = 9  # points: a name further up or down than this needs a line to its mark
SIDES = ((7, 0, "left"), (-7, 0, "right"), (0, 9, "center"), (0, -9, "center"), (7, 9, "left"), (7, -9, "left"),
         (-7, 9, "right"), (-7, -9, "right"), (12, 18, "left"), (12, -18, "left"), (-12, 18, "right"),
         (-12, -18, "right"), (12, 28, "left"), (12, -28, "left"), (-12, 28, "right"), (-12, -28, "right"))  # fmt: skip


def label(
    axes: Any, points: Sequence[tuple[str, float, float]], others: Sequence[tuple[float, float]] = ()
) -> None:
    """Names beside their marks, each on the first side where it covers no mark and no other name.

    Marks in one place share a name. others: places of marks without a name, which are kept free, too.
    """
    figure = axes.figure
    figure.canvas.draw()  # limits and layout are settled
    together: dict[tuple[float, float], list[str]] = {}
    for text, x, y in points:
        together.setdefault((x, y), []).append(text)
    scale = figure.dpi / 72
    taken: list[Box] = []
    for place in (*together, *others):
        x, y = axes.transData.transform(place)
        taken.append((x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale))
    frame = axes.get_window_extent()
    for place, names in together.items():
        for right, up, side in SIDES:
            note = axes.annotate(", ".join(names), place, xytext=(right, up), textcoords="offset points", fontsize=8,
                                 ha=side, va="center", bbox={"fc": "white", "ec": "none", "pad": 0.5})  # fmt: skip
            found = note.get_window_extent(figure.canvas.get_renderer())
            box = (found.x0, found.y0, found.x1, found.y1)
            inside = frame.x0 <= box[0] and box[2] <= frame.x1 and frame.y0 <= box[1] and box[3] <= frame.y1
            if (inside and not any(_overlap(box, other) for other in taken)) or (right, up, side) == SIDES[-1]:
                break
            note.remove()
        taken.append(box)
        if abs(up) > NEAR:
            axes.annotate("", place, xytext=(right, up), textcoords="offset points",
                          arrowprops={"arrowstyle": "-", "lw": 0.5, "color": "0.6"})  # fmt: skip


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]

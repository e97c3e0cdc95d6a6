# SPDX-License-Identifier: Apache-2.0
"""Pictures of the page: matplotlib's SVG, whose colours become the page's own, light and dark, and whose text is text.

Every picture is drawn twice, for a wide and for a narrow screen. Artists that carry a gid `tip:TEXT` say TEXT under
the mouse. No fonts, ids or addresses of matplotlib's are left in it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
WIDE, NARROW = 9.0, 4.0  # inches; 72 units each
# Colours that stand for those of the page, by their names in page.css.
COLOURS = {
    name: f"#0a00{number:02x}"
    for number, name in enumerate(("ink", "quiet", "line", "paper", "accent", *(f"c{i}" for i in range(10))), 1)
}
INK, QUIET, LINE, PAPER, ACCENT = (COLOURS[name] for name in ("ink", "quiet", "line", "paper", "accent"))
SERIES = [COLOURS[f"c{i}"] for i in range(10)]
ACCENT_RGB = (0.20, 0.45, 0.90)  # of pictures made of pixels, which are one colour on any paper
BELOW_RGB = (0.85, 0.35, 0.15)  # the same of values below zero
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "onespike",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "hatch.color": PAPER,
}
Paint = Callable[[Any, bool], None]  # of a figure, and whether it is the narrow one


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as markup, wide and narrow; alt: what it shows, for those who do not see it; legend: (colour's name,
    what it stands for)."""

    name: str
    caption: str
    alt: str
    wide: str
    narrow: str
    legend: tuple[tuple[str, str], ...] = ()


def picture(
    name: str,
    caption: str,
    alt: str,
    paint: Paint,
    height: tuple[float, float],
    legend: tuple[tuple[str, str], ...] = (),
) -> Picture:
    """Let `paint` draw on a figure of each width; height: inches of the wide and of the narrow one."""
    made = []
    for narrow, (width, tall) in enumerate(zip((WIDE, NARROW), height, strict=True)):
        made.append(_svg(paint, width, tall, bool(narrow), f"{name}-{'wn'[narrow]}"))
    return Picture(name=name, caption=caption, alt=alt, wide=made[0], narrow=made[1], legend=legend)


def _svg(paint: Paint, width: float, height: float, narrow: bool, prefix: str) -> str:
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02))
        paint(figure, narrow)
        contents = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(contents, format="svg", transparent=True, metadata=nothing)
    return themed(contents.getvalue(), prefix)


def themed(text: str, prefix: str) -> str:
    """Markup of an SVG file of matplotlib's to be part of a page; prefix: of its ids, of which a page has each once."""
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    text = re.sub(r"font-family: [^;\"]*;?\s?", "", text)
    text = re.sub(r"font: ((?:\w+ )?[\d.]+px) [^;\"]*", r"font-size: \1", text)
    for space, uri in (("", SVG), ("xlink", XLINK)):
        ElementTree.register_namespace(space, uri)
    root = ElementTree.fromstring(text.encode())
    _simplify(root, prefix)
    viewed = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib |= {"viewBox": viewed, "aria-hidden": "true", "focusable": "false"}
    markup = ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)
    return re.sub(r">\s+<", "><", re.sub(r"\s*\n\s*", " ", markup))


def _simplify(root: Any, prefix: str) -> None:
    """Drop what a page has no use for, and rename the ids that are left."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    used = set(re.findall(r"#([\w.-]+)", " ".join(v for e in root.iter() for k, v in e.attrib.items() if k != "id")))
    for element in root.iter():
        own = element.attrib.pop("id", "")
        if own.startswith("tip:"):
            title = ElementTree.Element(f"{{{SVG}}}title")
            title.text = own[4:]
            element.insert(0, title)
        elif own in used:
            element.set("id", f"{prefix}-{own}")
        for name, value in list(element.attrib.items()):
            if name == f"{{{XLINK}}}href" and value.startswith("#"):
                del element.attrib[name]
                element.set("href", f"#{prefix}-{value[1:]}")
            elif name == f"{{{XLINK}}}href":
                del element.attrib[name]
                element.set("href", re.sub(r"\s", "", value))
                element.set("style", "image-rendering: pixelated")
            elif "url(#" in value:
                element.set(name, value.replace("url(#", f"url(#{prefix}-"))


def grid(axes: Any, axis: str = "x") -> None:
    """Quiet lines to read values by, and no frame on the other side."""
    axes.grid(axis=axis)
    axes.tick_params(length=0)
    axes.spines["left" if axis == "x" else "bottom"].set_visible(False)


def tip(artist: Any, text: str) -> Any:
    """The artist, which says this under the mouse."""
    artist.set_gid(f"tip:{text}")
    return artist

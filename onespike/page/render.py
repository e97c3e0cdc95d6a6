# SPDX-License-Identifier: Apache-2.0
"""The page as one file: sections into markup, with all figures as JSON and CSV, and the trace, to be saved from it."""

from __future__ import annotations

import base64
import csv
import io
import json
from pathlib import Path
from typing import Any

from . import costs, image, layers, origins, storage, summary
from .drawing import COLOURS
from .material import Material
from .parts import Section, Table

FOLDER = Path(__file__).parent


def sections(material: Material) -> list[Section]:
    """All sections, in the order of the page."""
    makers = (
        summary.verdict, summary.resources, summary.speed, layers.section, image.timeline, image.raster,
        storage.section, summary.critical, costs.energy, costs.choices, origins.section,
    )  # fmt: skip
    return [make(material) for make in makers]


def render(material: Material) -> str:
    """The whole page as HTML: no script, nothing from anywhere else."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"csv": csv_link, "colour": lambda name: f"var(--{name})" if name in COLOURS else ""}
    return environment.get_template("page.html").render(
        name=material["name"],
        array=material.array,
        sections=sections(material),
        sources={s["id"]: Path(s["path"]).name or "the command of this page" for s in material["sources"]},
        versions=material["sources"][0]["versions"],
        style=(FOLDER / "page.css").read_text(),
        json_link=link("application/json", json.dumps(material.figures, indent=1) + "\n"),
        trace_link=link("application/json", json.dumps(material.trace, separators=(",", ":")) + "\n"),
    )


def csv_link(table: Table) -> str:
    """The table as a CSV file, its numbers as they were measured."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.heads)
    writer.writerows([cell.text if cell.value is None else cell.value for cell in row] for row in table.rows)
    return link("text/csv", text.getvalue())


def link(kind: str, text: str) -> str:
    """An address that holds the file itself."""
    return f"data:{kind};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"


def figures(material: Material) -> dict[str, Any]:
    """What --json writes."""
    return material.figures

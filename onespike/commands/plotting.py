# SPDX-License-Identifier: Apache-2.0
"""Figures of several commands: matplotlib that needs no screen, and files that the same numbers make again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ..model.errors import OneSpikeError
from ..model.system.files import write_atomically


def needed(path: Path | None) -> None:
    """Complains of a matplotlib that is not there before the work, not after it, where a plot is wanted."""
    if path is not None:
        import matplotlib  # noqa: F401


def figure(width: float, height: float) -> tuple[Any, Any]:
    """A figure, of so many inches, and its axes."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "onespike"  # the same points give the same file
    from matplotlib import pyplot

    made, axes = pyplot.subplots(figsize=(width, height), layout="constrained")
    return made, axes


def save(made: Any, path: Path) -> None:
    """Write a figure, in the format that the file's name ends in, and close it."""
    from matplotlib import pyplot

    contents = io.BytesIO()
    try:
        metadata = {"Date": None} if path.suffix == ".svg" else None
        made.savefig(contents, format=path.suffix[1:] or "png", metadata=metadata)
    except ValueError as error:
        raise OneSpikeError(f"Cannot plot to {path}: {str(error).split(' (')[0]}; name a .svg or .png file.") from None
    finally:
        pyplot.close(made)
    write_atomically(path, contents.getvalue())

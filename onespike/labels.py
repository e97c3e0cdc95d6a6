# SPDX-License-Identifier: Apache-2.0
"""Names of classes: of a file, or those that a network was converted with; how an answer is said with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .model.errors import OneSpikeError
from .model.network.spec import SpikeNet
from .model.system import bounded


def class_names(net: SpikeNet, path: Path | None = None) -> tuple[str, ...]:
    """The name of every class of a network, empty where nobody has named them.

    path: a text file with a name a line; without, `class_names` of the network's `meta`. Raises OneSpikeError where the
    file does not fit the network.
    """
    classes = 2 if net.output[0] == 1 else net.output[0]
    if path is None:
        found = net.meta.get("class_names")
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            return ()
        return tuple(found) if len(found) == classes and not net.outputs[1:] else ()
    if net.outputs[1:]:
        raise OneSpikeError(f"{path} names the classes of one output, but the network has {len(net.outputs)}.")
    try:
        lines = [line.strip() for line in bounded.text(path).splitlines()]
    except bounded.Damaged as reason:
        raise OneSpikeError(f"Cannot read the names in {path}: {reason}; give a text file, a name a line.") from None
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) != classes or not all(line and line.isprintable() for line in lines):
        raise OneSpikeError(
            f"{path} must name the {classes} classes of the network, a printable name a line, but it has {len(lines)} "
            f"lines; add or remove some."
        )
    return tuple(lines)


def said(answer: np.ndarray, names: tuple[str, ...]) -> str:
    """The class of an image, or those of all places of a map, with their names where they have some."""
    shown = [f"{label} ({names[label]})" if names else str(label) for label in answer.ravel().tolist()]
    return f"class {shown[0]}" if answer.ndim == 0 else f"classes {' '.join(shown)}"

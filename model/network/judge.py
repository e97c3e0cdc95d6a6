# SPDX-License-Identifier: Apache-2.0
"""What logits answer, and how often that is right: by the shape of the outputs and of the labels.

| outputs | labels | answer |
|---|---|---|
| C > 1 | int [N], 0..C - 1 | class of the largest logit |
| one | int [N], 0 or 1 | 1 where the logit is at least 0, which is where a sigmoid is at least 0.5 |
| C > 1 | int [N, C], 0 or 1 | several labels of an image: each output as if it were the only one |
| a map [C, H, W] | int [N, H, W] | the same at every place whose label is not -1 |

Nodes of a graph are a map of height 1: [N, W] will do, and [W] for one graph.

Labels of one 1 per image ([N, C], one-hot) are classes; [N, 0] are none, and refused. A network that gives real numbers
(regression) has no right and wrong answers: real-valued labels are refused, as are classes that the network has no
output for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import OneSpikeError
from .outputs import Output, parts

Shape = tuple[int, int, int]


class Answering(Protocol):
    """A network of integers or real numbers, whose logits are judged."""

    @property
    def output(self) -> Shape: ...
    @property
    def outputs(self) -> tuple[Output, ...]: ...


def answers(logits: np.ndarray, shape: Shape, *, several: bool = False) -> np.ndarray:
    """Answers int64 [N], [N, H, W] of a map, or with `several` [N, C], of logits [N, C * H * W], integer or float."""
    channels, height, width = shape
    logits = np.asarray(logits).reshape(-1, channels, height, width)
    decided = (logits >= 0).astype(np.int64) if several or channels == 1 else logits.argmax(1)[:, None]
    if several:
        return decided.reshape(len(logits), channels)
    return decided[:, 0, 0, 0] if height == width == 1 else decided[:, 0]


@dataclass(frozen=True, eq=False)
class Judge:
    """labels as the answers have them: int64 [N], [N, H, W] (-1: not judged) or [N, C]."""

    shape: Shape
    labels: np.ndarray

    def right(self, logits: np.ndarray, part: slice = slice(None)) -> np.ndarray:
        """Share of right answers of each image, float64 [n]; logits [n, C * H * W] of the images in `part`."""
        found, judged = self._judged(logits, part)
        return found.sum(1) / np.maximum(judged.sum(1), 1)

    def share(self, logits: np.ndarray) -> float:
        """Share of right answers."""
        found, judged = self._judged(logits, slice(None))
        return float(found.sum() / judged.sum())

    def _judged(self, logits: np.ndarray, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """Which answers [n, answers of an image] are right, and which count."""
        labels = self.labels[part]
        found = answers(logits, self.shape, several=labels.ndim == 2) == labels
        return found.reshape(len(labels), -1), (labels >= 0).reshape(len(labels), -1)

    def agreement(self, one: np.ndarray, other: np.ndarray) -> float:
        """Share of answers that two networks of this shape have in common."""
        several = self.labels.ndim == 2
        return float((answers(one, self.shape, several=several) == answers(other, self.shape, several=several)).mean())


def answers_of(net: Answering, logits: np.ndarray) -> np.ndarray | dict[str, np.ndarray]:
    """`answers` of a network's logits; of each output by name, where it has several."""
    if len(net.outputs) < 2:
        return answers(logits, net.output)
    maps = parts(net.outputs, np.reshape(logits, (len(logits), *net.output)))
    return {name: answers(part, part.shape[1:]) for name, part in maps.items()}


def judge_of(net: Answering, labels: Any, name: str = "the data") -> Judge:
    """`judge` for a network; OneSpikeError where it has several outputs, too."""
    if len(net.outputs) > 1:
        raise OneSpikeError(
            f"The network has {len(net.outputs)} outputs ({', '.join(output.name for output in net.outputs)}), but the "
            f"labels of {name} are about one; compare net.named(net.golden(images)) with labels for each."
        )
    return judge(net.output, labels, name)


def judge(shape: Shape, labels: Any, name: str = "the data") -> Judge:
    """A judge for outputs of `shape` (C, H, W); OneSpikeError where the labels are not about such outputs."""
    labels = np.asarray(labels)
    if labels.shape[1:] == (0,):
        raise OneSpikeError(
            f"{name[:1].upper()}{name[1:]} holds images without labels; give labels, too, as a .npz file of images and "
            f"labels or a folder of pictures by class does."
        )
    channels, height, width = shape
    outputs = f"{channels} output{'s' * (channels > 1)}"
    outputs += f" at {height} x {width} places" if height * width > 1 else ""
    if labels.dtype.kind not in "iub":
        raise OneSpikeError(
            f"The labels of {name} are {labels.dtype}, not classes, so that no answer is right or wrong; compare "
            f"golden(images) * layers[-1].step with them instead."
        )
    labels = labels.astype(np.int64)
    if height == width == 1 and labels.ndim == 2 and labels.shape[1] == channels:
        _within(labels, 1, outputs, name)
        if channels == 1:
            labels = labels[:, 0]
        elif (labels.sum(1) == 1).all():
            labels = labels.argmax(1)
        else:
            return Judge(shape, labels)
    wanted = (height, width) if height * width > 1 else ()
    if 1 == min(height, width) < height * width and labels.shape[-1:] == (height * width,) and labels.ndim < 3:
        labels = labels.reshape(-1, height, width)
    if labels.shape[1:] != wanted or not labels.ndim:
        need = ", ".join(["N", *map(str, wanted)])
        raise OneSpikeError(
            f"The network has {outputs}, so that labels must have the shape ({need}), but those of {name} have "
            f"{labels.shape}."
        )
    if wanted and labels.size and not (labels >= 0).any():
        raise OneSpikeError(f"No place of {name} has a label; those that count are 0 or more.")
    asked = labels[labels != -1] if wanted else labels
    _within(asked, max(1, channels - 1), outputs, name)
    return Judge(shape, labels)


def _within(labels: np.ndarray, top: int, outputs: str, name: str) -> None:
    if labels.size and (labels.min() < 0 or labels.max() > top):
        raise OneSpikeError(
            f"The network has {outputs}, which tell classes 0..{top} apart, but the labels of {name} range from "
            f"{labels.min()} to {labels.max()}; give data with the classes that it was trained on."
        )

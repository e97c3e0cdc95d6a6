# SPDX-License-Identifier: Apache-2.0
"""Row: the cycles of a network that is split over several boards, one behind the other, and where to cut it.

An image is in one board at a time, and each board works on another image, so the slowest board sets the rate. Latency
is the sum of all boards; the ways between them, which depend on the links, are stated in words and are not in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import OneSpikeError
from ..mapping.mapping import Mapping
from ..network import golden
from ..network.spec import INPUT, SpikeNet
from ..network.split import Part, cannot_cut, cuts, split
from .cycles import predict_all
from .readout import interval

NEAR = 12  # places around each even share of the cycles that are tried
TRIED = 60  # splits that are mapped before it is said that none fits
Make = Callable[[SpikeNet, np.ndarray], Mapping]  # the engine of a part, for its images
Excess = Callable[[Mapping], str]  # what a board has too little of, or ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """A part on its engine; means over the images. cycles: from image to logits; interval: from image to image, back to
    back. words_in, words_out: 32-bit words over its link for an image."""

    part: Part
    mapping: Mapping
    cycles: float
    interval: float
    words_in: int
    words_out: int

    def figures(self) -> dict[str, Any]:
        """Its plain values."""
        names = ("cycles", "interval", "words_in", "words_out")
        layers = [layer.name for layer in self.part.net.layers]
        return {"layers": layers} | {name: getattr(self, name) for name in names}


def stages(parts: Sequence[Part], codes: np.ndarray, make: Make) -> list[Stage]:
    """Every part on its engine, with the cycles of these image codes as they pass through."""
    found = []
    for part in parts:
        mapping = make(part.net, codes)
        result = golden.run(part.net, codes, layers=True, trains=mapping.config.code == "psg")
        images = predict_all(mapping, result)
        image = mapping.tensors[INPUT]
        found.append(
            Stage(
                part=part, mapping=mapping,
                cycles=float(np.mean([sum(layer.total for layer in layers) for layers in images])),
                interval=float(np.mean([interval(mapping, layers) for layers in images])),
                words_in=image.size * len(image.slices),
                words_out=part.net.classes * -(-mapping.config.acc_bits // 32),
            )
        )  # fmt: skip
        if part.cut is not None:
            codes = part.hand_over(result.logits).astype(part_codes(part))
    return found


def part_codes(part: Part) -> type[np.integer]:
    """The dtype of the codes that a part hands on."""
    return np.uint8 if max(tensor.top - tensor.low for tensor in part.passed) < 256 else np.uint16


def balanced(
    net: SpikeNet, boards: int, codes: np.ndarray, make: Make, excess: Excess = lambda mapping: ""
) -> list[Stage]:
    """The network over so many boards, cut where the slowest board has the fewest cycles of those splits that fit.

    excess: says what a board lacks for a part. Raises OneSpikeError where the network has too few places to cut it, and
    where no split fits.
    """
    places = cuts(net)
    if boards > len(places) + 1:
        why = next((reason for cut in range(1, len(net.layers)) if (reason := cannot_cut(net, cut))), "")
        raise OneSpikeError(
            f"A network of {len(net.layers)} layers goes over at most {len(places) + 1} boards, not {boards}"
            f"{f', as it cannot be cut everywhere ({why})' if why else ''}; take fewer."
        )
    whole = make(net, codes)
    result = golden.run(net, codes, layers=True, trains=whole.config.code == "psg")
    cycles = np.zeros(len(net.layers))
    for image in predict_all(whole, result):
        for mapped, layer in zip(whole.layers, image, strict=True):
            cycles[mapped.index] += layer.total
    refused = ""
    for at in sorted(_candidates(cycles, places, boards), key=lambda at: (_slowest(cycles, at), at))[:TRIED]:
        found = stages(split(net, at), codes, make)
        lacks = [excess(stage.mapping) for stage in found]
        if not any(lacks):
            return found
        number = next(number for number, reason in enumerate(lacks) if reason)
        refused = refused or f"part {number + 1} of {boards} {lacks[number]}"
    raise OneSpikeError(
        f"No split over {boards} boards fits: {refused.rstrip('.')}; take more boards or a smaller engine."
    )


def _candidates(cycles: np.ndarray, places: list[int], boards: int) -> list[tuple[int, ...]]:
    """Sets of cuts near even shares of the cycles."""
    before = np.concatenate([[0], np.cumsum(cycles)])
    axes = []
    for number in range(1, boards):
        far = np.abs(before[places] - before[-1] * number / boards)
        nearest = np.argsort(far, kind="stable")[: max(3, NEAR // boards * 2)]
        axes.append([places[place] for place in nearest])
    found = {at for at in itertools.product(*axes) if list(at) == sorted(set(at))}
    return sorted(found) or [tuple(places[: boards - 1])]


def _slowest(cycles: np.ndarray, at: tuple[int, ...]) -> float:
    edges = [0, *at, len(cycles)]
    return max(float(cycles[begin:end].sum()) for begin, end in itertools.pairwise(edges))

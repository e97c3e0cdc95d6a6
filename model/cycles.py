# SPDX-License-Identifier: Apache-2.0
"""The exact cycle model: what the engine's counters will show for an image, to the cycle.

Every stage of a bank is a queue with fixed service times, so the time at which each spike word and each job passes it
follows from a few maxima. The model walks the jobs in the engine's own order and carries these times along.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass

import numpy as np

from ..hw.bank import CAPTURE_LATENCY
from ..hw.drain import DRAIN_LATENCY, release_step
from ..hw.fetch import READ_LATENCY
from ..hw.fire import FIRE_LATENCY
from ..hw.sequencer import SEQUENCER_LATENCY
from .mapper import MappedLayer, Mapping


@dataclass(frozen=True, kw_only=True)
class LayerCycles:
    """Counters of one layer, as the hardware shows them, and what follows from them.

    cycles: from the layer's first cycle to its last result; event, empty, waiting: over all banks. useful: set bits
    times output channels that exist (padding lanes do not count). Where weights are streamed, starved: cycles before,
    in which it waits for its weights only; fetch: cycles in which the memory delivers them (`onespike.model.external`).
    """

    name: str
    cycles: int
    event: int
    empty: int
    waiting: int
    useful: int
    starved: int = 0
    fetch: int = 0

    @property
    def total(self) -> int:
        """Cycles that the layer adds to its image."""
        return self.cycles + self.starved


def utilisation(layers: list[LayerCycles], banks: int, lanes: int) -> float:
    """Useful additions per lane and cycle: the physical limit is 1."""
    return sum(layer.useful for layer in layers) / (banks * lanes * sum(layer.total for layer in layers))


def predict(mapping: Mapping, fields: Map[str, np.ndarray]) -> list[LayerCycles]:
    """Cycles of every layer for one image, whose tensors hold `fields` [C, H, W] (see `Mapping.golden_fields`)."""
    ones: dict[str, np.ndarray] = {}
    for name, tensor in mapping.tensors.items():
        words = tensor.pack(fields[name], mapping.config.word_bits)
        ones[name] = np.bitwise_count(words).reshape(len(tensor.slices), tensor.height, tensor.width, tensor.words)
    return [_layer(mapping, layer, ones) for layer in mapping.layers]


def _word_counts(layer: MappedLayer, ones: Map[str, np.ndarray]) -> tuple[list[list[list[int]]], list[list[int]]]:
    """Spikes of every spike word that a job reads, [slice][place][word], and words per command [place][source]."""
    counts: list[list[list[int]]] = [[] for _ in range(layer.slices)]
    lengths: list[list[int]] = []
    spans = [
        ([s.taps(0, y) for y in layer.rows], [s.taps(1, x) for x in layer.columns], ones[s.tensor.name], s.dilation)
        for s in layer.sources
    ]
    wh, ww = layer.window
    for py in range(layer.shape[1]):
        for px in range(layer.shape[2]):
            for dy in range(wh):
                for dx in range(ww):
                    parts = []
                    for rows, columns, tensor, gap in spans:
                        _, y, tall = rows[py * wh + dy]
                        _, x, wide = columns[px * ww + dx]
                        words = tensor[:, y : y + gap * (tall - 1) + 1 : gap, x : x + wide]
                        parts.append(words.reshape(len(tensor), -1))
                    lengths.append([part.shape[1] for part in parts])
                    joined = parts[0] if len(parts) == 1 else np.concatenate(parts, 1)
                    for s, row in enumerate(joined.tolist()):
                        counts[s].append(row)
    return counts, lengths


def _layer(mapping: Mapping, layer: MappedLayer, ones: Map[str, np.ndarray]) -> LayerCycles:
    config = mapping.config
    counts, lengths = _word_counts(layer, ones)
    banks, slices = config.banks, layer.slices
    steps, depth, room = config.drain_steps, config.word_fifo, config.command_fifo

    # Times are cycles after the layer's first. Per bank:
    popped = [[-1] * room for _ in range(banks)]  # when the last commands left the queue
    issued = [-1] * banks  # when the walk issued its last word
    passed = [[-9] * 3 for _ in range(banks)]  # when the last words left the read pipeline
    queue = [[-9] * depth for _ in range(banks)]  # when the last kept words left the word queue
    first = [-9] * banks  # when the last word entered the extractor's first, second (and so on) stage
    before = [-9] * banks
    loaded = [-9] * banks
    left = [-9] * banks  # last event of the word in the extractor
    released = [-9] * banks  # the shadow set is free from the next cycle on
    command = SEQUENCER_LATENCY - 1
    interval = layer.group_words(config)
    release = release_step(config) if interval == 1 else (steps - 1) * interval
    drained = 0
    empty = waiting = 0
    bank = 0
    for place in range(len(lengths)):
        for _ in range(layer.blocks):
            group = range(bank, bank + slices)
            bank = (bank + slices) % banks
            begin = [0] * slices
            at = 0
            for part, length in enumerate(lengths[place]):
                command = max(command + 1, max(popped[b][-room] for b in group) + 1)
                final = part == len(lengths[place]) - 1
                for s, b in enumerate(group):
                    pop = max(command + 1, issued[b])
                    popped[b].append(pop)
                    times = passed[b]
                    x = max(times[-1], pop + READ_LATENCY)
                    held = queue[b]
                    f, l2, l1, z = first[b], before[b], loaded[b], left[b]
                    last = at + length - 1 if final else -1
                    words = counts[s][place]
                    for i in range(at, at + length):
                        ones_here = words[i]
                        x += 1
                        if ones_here or i == last:
                            if held[-depth] >= x:
                                x = held[-depth] + 1
                            # first stage, second stage, current word
                            f = max(x + 1, f + 1, l2)
                            held.append(f)
                            l2 = l1
                            l1 = max(max(f + 1, l1) + 1, z)
                            if ones_here:
                                z = l1 + ones_here
                            else:
                                z = l1 + 1
                                empty += 1
                        times.append(x)
                    first[b], before[b], loaded[b] = f, l2, l1
                    issued[b] = max(pop + length, times[-4])
                    if final:
                        if released[b] >= z:
                            waiting += released[b] + 1 - z
                            z = released[b] + 1
                        begin[s] = z + CAPTURE_LATENCY
                    left[b] = z
                    del times[:-4], held[:-depth]
                at += length
            for s, b in enumerate(group):
                start = max(drained, begin[s])
                released[b] = start + release
                drained = start + steps * interval
    spikes = sum(sum(map(sum, slice_)) for slice_ in counts)
    channels = sum(c >= 0 for c in layer.order)
    return LayerCycles(
        name=layer.name,
        cycles=drained + DRAIN_LATENCY + FIRE_LATENCY + 1,
        event=spikes * layer.blocks,
        empty=empty,
        waiting=waiting,
        useful=spikes * channels,
    )

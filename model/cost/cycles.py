# SPDX-License-Identifier: Apache-2.0
"""The exact cycle model: what the engine's counters will show for an image, to the cycle.

Every stage of a bank is a queue with fixed service times, so the time at which each spike word and each job passes it
follows from a few maxima. The model walks the jobs in the engine's own order and carries these times along.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...hw.config import EngineConfig
from ...hw.engine.bank import capture_latency
from ...hw.engine.drain import drain_latency, release_step
from ...hw.engine.extract import EXTRACT_LATENCY
from ...hw.engine.fetch import READ_LATENCY
from ...hw.engine.fire import fire_latency
from ...hw.engine.sequencer import SEQUENCER_LATENCY
from ..mapping.mapping import MappedLayer, MappedSource, Mapping
from ..mapping.masks import chunk_masks, of_chunks
from ..network import golden
from .chunks import chunk_events
from .useful import useful_additions, value_events

CAUSES = (
    "useful",
    "no_channel",
    "no_weight",
    "empty",
    "waiting",
    "starting",
    "starved",
    "finished",
    "closing",
    "stalled",
)
"""What a lane does in a cycle: adds usefully, belongs to no output channel, or to one that the event's value has no
weight for (another group's, a row of zeros, or, of lanes with values of their own, a value without that event), or is
idle for one of seven reasons."""

SPIKES = 6  # bits of a number of events of one word
MASK = (1 << SPIKES) - 1
NO_CHUNK = MASK  # in place of the events before the last chunk but one, if there is none


@dataclass(frozen=True, kw_only=True)
class LayerCycles:
    """Counters of one layer, as the hardware shows them, and what follows from them.

    cycles: from the layer's first cycle to its last result; event, empty, waiting: over all banks. useful: additions
    into channels that a value is connected with, see `useful.py`; padding: lanes of events that belong to no channel.
    The cycles of a bank without an event, over all banks: starting, until its first word can have passed the pipeline;
    starved, no word with a spike is there yet; finished, it has no job left while others have; closing, from the last
    event of all banks to the last result. Where weights are streamed, stalled: cycles before the layer's first, in
    which it waits for its weights only; fetch: cycles in which the memory delivers them
    (`onespike.model.cost.external`).
    """

    name: str
    cycles: int
    event: int
    empty: int
    waiting: int
    useful: int
    padding: int
    starting: int
    starved: int
    finished: int
    closing: int
    stalled: int = 0
    fetch: int = 0

    @property
    def total(self) -> int:
        """Cycles that the layer adds to its image."""
        return self.cycles + self.stalled

    def lane_cycles(self, banks: int, lanes: int) -> dict[str, int]:
        """Lane-cycles by cause, in the order of CAUSES; they add up to banks x lanes x total."""
        idle = {name: lanes * getattr(self, name) for name in CAUSES[3:-1]}
        stalled = banks * lanes * self.stalled
        added = {"useful": self.useful, "no_channel": self.padding}
        return added | {"no_weight": lanes * self.event - sum(added.values())} | idle | {"stalled": stalled}


def utilisation(layers: list[LayerCycles], banks: int, lanes: int, *, zeros: bool = False) -> float:
    """Useful additions per lane and cycle: the physical limit is 1. An addition of 3 or 5 times a weight is one.

    zeros: count all lanes that have a channel, whatever row is added: what "useful" meant before there were masks.
    """
    added = sum(lanes * layer.event - layer.padding if zeros else layer.useful for layer in layers)
    return added / (banks * lanes * sum(layer.total for layer in layers))


@dataclass(frozen=True, slots=True)
class Job:
    """What one bank does for one output place and block of channels, in cycles after the layer's first.

    first .. last: from the first cycle in which its events may be added to that of its last one, of `events`; drained:
    the first and the last cycle in which its sums leave the bank.
    """

    bank: int
    y: int
    x: int
    block: int
    first: int
    last: int
    events: int
    drained: tuple[int, int]


def predict(
    mapping: Mapping, fields: Map[str, np.ndarray], jobs: list[list[Job]] | None = None
) -> list[LayerCycles]:
    """Cycles of every layer for one image, whose tensors hold `fields` [C, H, W] (see `Mapping.golden_fields`).

    jobs: gets a list for every layer of the mapping, of what its banks do one after another.
    """
    chunks: dict[str, np.ndarray] = {}
    values: dict[str, np.ndarray] = {}
    for name, tensor in mapping.tensors.items():
        words = tensor.pack(fields[name], mapping.config.word_bits)
        words = words.reshape(len(tensor.slices), tensor.height, tensor.width, tensor.words)
        chunks[name] = chunk_events(words, tensor, mapping.config)
        values[name] = value_events(words, chunks[name], tensor, mapping.config)
    return predict_events(mapping, chunks, values, jobs)


def predict_events(
    mapping: Mapping, chunks: dict[str, np.ndarray], values: dict[str, np.ndarray], jobs: list[list[Job]] | None = None
) -> list[LayerCycles]:
    """The same, of tensors by the events of their chunks [slices, H, W, words, chunks] and values (`value_events`)."""
    found = []
    for layer in mapping.layers:
        if jobs is not None:
            jobs.append([])
        found.append(_layer(mapping, layer, chunks, values, None if jobs is None else jobs[-1]))
    return found


def predict_all(mapping: Mapping, result: golden.Result) -> list[list[LayerCycles]]:
    """Cycles of every layer for every image of a golden result with `layers`, and with `trains` for the psg code."""
    fields = mapping.golden_fields(result.codes, result.trains)
    return [predict(mapping, {n: f[i] for n, f in fields.items()}) for i in range(len(result.logits))]


def _times(chunks: np.ndarray) -> np.ndarray:
    """What the extractor's times depend on, for each word of [.., chunks], as one integer; 0 if it is empty.

    From the lowest bits, SPIKES bits each: its events, those before its last chunk, those before its last but one.
    """
    counts = chunks.sum(-1, dtype=np.int64)
    before, earlier = np.zeros_like(counts), np.full_like(counts, NO_CHUNK)
    seen = np.zeros_like(counts)  # chunks that have an event, from the highest down
    left = counts.copy()
    for i in reversed(range(chunks.shape[-1])):
        here = chunks[..., i]
        left -= here
        seen += here > 0
        before = np.where((here > 0) & (seen == 1), left, before)
        earlier = np.where((here > 0) & (seen == 2), left, earlier)
    return np.where(counts > 0, counts | before << SPIKES | earlier << 2 * SPIKES, 0)


def _own_times(chunks: np.ndarray) -> np.ndarray:
    """The same of words whose chunks are for lanes of their own: a word is one chunk."""
    counts = chunks.max(-1).astype(np.int64)
    return np.where(counts > 0, counts | NO_CHUNK << 2 * SPIKES, 0)


class _Words(NamedTuple):
    """What a layer's jobs read. times: `_times` of every word, [slice][place][block or 0][word]; lengths: words per
    command, [place][source]; shared: all blocks read the same.
    """

    times: list[list[list[list[int]]]]
    lengths: list[list[int]]
    shared: bool


def _read_words(config: EngineConfig, layer: MappedLayer, chunks: Map[str, np.ndarray]) -> _Words:
    """Every spike word that a layer's jobs read, place by place: those of equal taps at a time."""
    places = layer.places()
    masks = [_source_masks(config, layer, source) for source in layer.sources]
    shared = all(mask is None for mask in masks)
    blocks = 1 if shared else layer.blocks
    parts: list[list[Any]] = [[None] * len(layer.sources) for _ in places]
    for number, (source, mask) in enumerate(zip(layer.sources, masks, strict=True)):
        tensor, times_of = chunks[source.tensor.name], _own_times if source.own else _times
        plain = times_of(tensor) if mask is None else None
        turns = source.tensor.unroll.turns if source.tensor.unroll else 1
        across = {x: source.taps(1, x) for x in set(layer.columns)}
        down = {y: source.taps(0, y) for y in set(layer.rows)}
        alike: dict[tuple[int, ...], list[int]] = {}
        for index, (y, x) in enumerate(places):
            key = (down[y][0], down[y][2], across[x][0], across[x][2], x % turns)
            alike.setdefault(key, []).append(index)
        for (top, tall, left, wide, turn), indices in alike.items():
            rows = np.array([down[places[i][0]][1] for i in indices])[:, None] + source.dilation * np.arange(tall)
            columns = np.array([across[places[i][1]][1] for i in indices])[:, None] + np.arange(wide)
            at = (slice(None) if turns == 1 else slice(turn, turn + 1), rows[:, :, None], columns[:, None, :])
            if plain is not None:
                found = plain[at][:, :, None]  # [slices, places, 1, tall, wide, words]
            else:
                assert mask is not None
                found = times_of(_masked(tensor[at], mask[:, :, top : top + tall, left : left + wide], layer, source))
            for index, words in zip(indices, found.transpose(1, 0, 2, 3, 4, 5), strict=True):
                parts[index][number] = words.reshape(*words.shape[:2], -1)
    lengths = [[part.shape[2] for part in place] for place in parts]
    joined = []
    for place in parts:
        spread = [np.broadcast_to(part, (layer.slices, blocks, part.shape[2])) for part in place]
        joined.append(spread[0] if len(spread) == 1 else np.concatenate(spread, 2))
    return _Words([[place[s].tolist() for place in joined] for s in range(layer.slices)], lengths, shared)


def _source_masks(config: EngineConfig, layer: MappedLayer, source: MappedSource) -> np.ndarray | None:
    """Masks [slices, blocks, KH, KW, span, chunks] of a source; None where blocks read all of all words."""
    if not config.row_masks:
        return None
    dense = config.arithmetic == "dense"  # what holds no channel would be an event
    masks = np.stack([chunk_masks(config, layer, source, s) for s in range(layer.slices)])
    if source.span == source.tensor.words and not source.own and not dense:
        # What holds no channel is 0 in memory, too.
        per_word = config.word_bits // source.tensor.field
        room = np.zeros((layer.slices, source.tensor.words * per_word), bool)
        for s, channels in enumerate(source.tensor.slices[: layer.slices]):
            room[s, : len(channels)] = True
        needed = of_chunks(room.reshape(layer.slices, -1, per_word), config.word_chunks)
        if (masks | ~needed[:, None, None, None]).all():
            return None
    return masks


def _masked(words: np.ndarray, masks: np.ndarray, layer: MappedLayer, source: MappedSource) -> np.ndarray:
    """Events of the chunks [slices, places, blocks, tall, wide, span, chunks] that have a row in each block, of words
    [slices, places, tall, wide, words, chunks] and masks [slices, blocks, tall, wide, span, chunks].
    """
    begins = source.word_base + np.arange(layer.blocks) // layer.block_run * source.block_words
    read = begins[:, None] + np.arange(source.span)
    found = words[:, :, :, :, read].transpose(0, 1, 4, 2, 3, 5, 6)
    return found * masks[:, None]


def _layer(
    mapping: Mapping,
    layer: MappedLayer,
    chunks: Map[str, np.ndarray],
    values: dict[str, np.ndarray],
    done: list[Job] | None,
) -> LayerCycles:
    config = mapping.config
    counts, lengths, shared = _read_words(config, layer, chunks)
    places = layer.places() if done is not None else []
    banks, slices = config.banks, layer.slices
    steps, depth, room = config.drain_steps, config.word_fifo, config.command_fifo
    hops, back = config.hops, config.more_hops
    ahead = room + hops  # commands that a bank's queue holds

    # Times are cycles after the layer's first. Per bank:
    popped = [[-9] * ahead for _ in range(banks)]  # when the last commands left the queue
    asked = [[-9] * hops for _ in range(banks)]  # when the last commands were sent
    issued = [-1] * banks  # when the walk issued its last word
    passed = [[-9] * 3 for _ in range(banks)]  # when the last words left the read pipeline
    queue = [[-9] * depth for _ in range(banks)]  # when the last kept words left the word queue
    first = [-9] * banks  # when the last word's last chunk left the extractor's first stage
    second = [-9] * banks  # and its second
    left = [-1] * banks  # and when its last event left
    released = [[-9] * config.shadows for _ in range(banks)]  # from the next cycle on one more shadow set is free
    taken = [-9] * banks  # the last shadow set has been read
    command = SEQUENCER_LATENCY - 1
    interval = layer.group_words(config)
    latency = capture_latency(config) + back
    release = (release_step(config) if interval == 1 else (steps - 1) * interval) + config.hops
    drained = start = 0
    empty = waiting = starved = 0
    bank = 0
    for place in range(len(lengths)):
        for block in range(layer.blocks):
            group = range(bank, bank + slices)
            bank = (bank + slices) % banks
            begin, opened = [0] * slices, [0] * slices
            at = 0
            for part, length in enumerate(lengths[place]):
                # A bank does not know yet of the commands of the last `hops` cycles, and is ready as if they were not.
                command += 1
                while True:
                    unknown = sum(before >= command - hops for before in asked[group[0]])
                    free = max(popped[b][-room - unknown] for b in group) + back
                    if free < command:
                        break
                    command = command + 1 if unknown else free + 1
                for b in group:
                    if hops:
                        asked[b] = [*asked[b][1:], command]
                final = part == len(lengths[place]) - 1
                for s, b in enumerate(group):
                    pop = max(command + 1 + hops, issued[b])
                    popped[b].append(pop)
                    times = passed[b]
                    x = max(times[-1], pop + READ_LATENCY)
                    held = queue[b]
                    f, g, z = first[b], second[b], left[b]
                    if at == 0:
                        opened[s] = max(z, pop + READ_LATENCY + EXTRACT_LATENCY)
                    last = at + length - 1 if final else -1
                    words = counts[s][place][0 if shared else block]
                    for i in range(at, at + length):
                        ones_here = words[i]
                        x += 1
                        if ones_here or i == last:
                            if held[-depth] >= x:
                                x = held[-depth] + 1
                            # The word leaves the queue, its first chunk the first stage, then the second.
                            f = max(x + 1, f)
                            held.append(f)
                            f = max(f + 1, g)
                            g = max(f + 1, z)
                            starved += g - z
                            if ones_here:
                                z = g + (ones_here & MASK)
                                # As every chunk has an event, the others follow without a gap.
                                earlier = ones_here >> 2 * SPIKES
                                if earlier != NO_CHUNK:
                                    f = g + earlier
                                    g += ones_here >> SPIKES & MASK
                            else:
                                z = g + 1
                                empty += 1
                        times.append(x)
                    first[b], second[b] = f, g
                    issued[b] = max(pop + length, times[-4])
                    if final:
                        if released[b][0] >= z:
                            waiting += released[b][0] + 1 - z
                            z = released[b][0] + 1
                        begin[s] = z + latency
                    left[b] = z
                    del times[:-4], held[:-depth]
                at += length
            for s, b in enumerate(group):
                if s % config.drain_banks == 0:  # these slices leave together
                    together = slice(s, s + config.drain_banks)
                    start = max(drained, *begin[together])
                    if config.shadows > 1:  # the next set moves to the last place
                        start = max(start, *(taken[other] + 2 + back for other in group[together]))
                    drained = start + steps * interval
                taken[b] = start + (steps - 1) * interval + hops
                released[b] = [*released[b][1:], start + release]
                if done is not None:
                    added = sum(word & MASK for word in counts[s][place][0 if shared else block])
                    y, x = places[place]
                    done.append(Job(b, y, x, block, opened[s] + 1, left[b], added, (start, drained - 1)))
    events = np.zeros(layer.blocks, np.int64)  # of each block
    for slice_ in counts:
        for jobs in slice_:
            for block, job in enumerate(jobs):
                events[slice(None) if shared else block] += sum(word & MASK for word in job)
    padding = int(events @ (np.array(layer.order).reshape(layer.blocks, config.lanes) < 0).sum(1))
    cycles = drained + drain_latency(config) + fire_latency(config) + 1
    # A word spends a cycle each in the command queue and in the word queue.
    starting = sum(pops[ahead] + READ_LATENCY + EXTRACT_LATENCY + 2 for pops in popped if len(pops) > ahead)
    return LayerCycles(
        name=layer.name,
        cycles=cycles,
        event=int(events.sum()),
        empty=empty,
        waiting=waiting,
        useful=useful_additions(config, layer, values),
        padding=padding,
        starting=starting,
        starved=starved - starting,
        finished=sum(max(left) - last for last in left),
        closing=banks * (cycles - 1 - max(left)),
    )

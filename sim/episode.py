# SPDX-License-Identifier: Apache-2.0
"""Episode: one network and its images on an engine, as the harness takes them, and what it must then show."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np

from ..hw.engine.counters import COUNTERS, counter_names, counter_stride
from ..model.cost.cycles import LayerCycles, predict_all
from ..model.cost.external import ExternalMemory, beat_cycles, with_memory
from ..model.errors import OneSpikeError
from ..model.mapping.images import MemoryImages, expected_writes, image_beats, load_words, memory_images
from ..model.mapping.mapping import Mapping
from ..model.mapping.prefetch import block_beats, blocks
from ..model.network import golden

COMPUTE_COUNTERS = len(COUNTERS)  # those that external memory does not change
REST = 16  # cycles before another network is loaded; a reader of external memory needs more, see `Episode.control`
RESETS = 1 << 31


@dataclass(frozen=True, kw_only=True, eq=False)
class Episode:
    """A mapped network and codes [N, C, H, W] of its images, as `model/network/pixels.py` says.

    through_load, stall, seed, serial, memory: as `onespike.sim.engine.simulate` has them. reset: whether the engine is
    reset before, where it has run another network.
    """

    mapping: Mapping
    codes: np.ndarray
    through_load: bool = False
    stall: tuple[float, float] = (0.0, 0.0)
    seed: int = 1
    serial: bool = True
    memory: ExternalMemory = field(default_factory=ExternalMemory)
    reset: bool = False

    def __post_init__(self) -> None:
        if len(self.codes) == 0:
            raise OneSpikeError("Nothing to simulate: give at least one image.")
        config = self.mapping.config
        if self.through_load and not config.loadable:
            raise OneSpikeError("This engine has no load stream; use a configuration with loadable=True.")
        if not config.counters:
            raise OneSpikeError("The simulation compares the counters; use a configuration with counters=True.")
        object.__setattr__(self, "codes", self.mapping.net.image.quantise(self.codes))

    @functools.cached_property
    def result(self) -> golden.Result:
        """What the golden model makes of the images."""
        return golden.run(self.mapping.net, self.codes, layers=True, trains=self.mapping.config.code == "psg")

    @functools.cached_property
    def predicted(self) -> list[list[LayerCycles]]:
        """Counters of every image and layer, by the cycle model."""
        images = predict_all(self.mapping, self.result)
        return with_memory(self.mapping, images, self.memory, back_to_back=not self.serial)

    @functools.cached_property
    def images(self) -> MemoryImages:
        """Contents of the engine's memories."""
        return memory_images(self.mapping)

    @functools.cached_property
    def loads(self) -> list[int]:
        """Words of the load stream."""
        return load_words(self.images, self.mapping.config) if self.through_load else []

    @functools.cached_property
    def beats(self) -> np.ndarray:
        """Words of the image stream [N, beats]."""
        return image_beats(self.mapping, self.codes)

    @property
    def cycles(self) -> int:
        """Of the longest image."""
        return max(sum(layer.total for layer in image) for image in self.predicted)

    def control(self, address: int, first: int, axi_ram: bool) -> list[int]:
        """The episode's words of control.hex; address: of its weights in external memory, whose first beat is `first`
        there."""
        config, memory, number = self.mapping.config, self.memory, len(self.codes)
        settle = self._settle if config.streams_weights and not axi_ram else 0
        cycles, external = self.cycles, len(self.images.external)
        if memory.varied or axi_ram:
            cycles += (8 + memory.latency) * external
        slack = 1 / (1 - min(0.99, max(self.stall)))
        beats = self.beats.shape[1]
        limit = 1000 + len(self.loads) + number * (slack * (4 * cycles + 4 * beats + 2000) + 2 * settle)
        counters = counter_stride(config) * len(self.mapping.layers)
        # Bursts that are still on their way reach the engine before another network does.
        late = 200 + memory.latency + config.bursts * config.burst * (2 + memory.interval)
        rest = late if config.streams_weights else REST
        words = [number, beats, len(self.loads), counters, *(int(256 * s) for s in self.stall), self.seed, self.serial,
                 limit, settle, memory.latency, memory.interval, first + external, memory.varied, address,
                 rest + RESETS * self.reset]  # fmt: skip
        return [int(word) for word in words]

    @property
    def _settle(self) -> int:
        """Cycles in which all weights arrive that may be there before an image begins."""
        config = self.mapping.config
        beats = sum(block_beats(config, block.rows) for layer in self.mapping.layers for block in blocks(layer))
        return int(1000 + 2 * self.memory.latency + 2 * beats * beat_cycles(config, self.memory))

    def expected(self, axi_ram: bool) -> dict[str, np.ndarray]:
        """What the logs must hold: spike words as they are written, logits, counters and how many of them are exact."""
        mapping, config, result = self.mapping, self.mapping.config, self.result
        fields = mapping.golden_fields(result.codes, result.trains if config.code == "psg" else None)
        writes = [
            np.column_stack([np.full(len(part), layer), part])
            for i in range(len(self.codes))
            for layer, part in enumerate(expected_writes(mapping, fields, i))
        ]
        names = counter_names(config)
        exact = len(names) if self.serial and not (self.memory.varied or axi_ram) else COMPUTE_COUNTERS
        counters = [[[getattr(layer, c) for c in names] for layer in image] for image in self.predicted]
        return {
            "writes": np.concatenate(writes) if writes else np.zeros((0, 4), np.int64),
            "logits": mapping.to_stream(result.logits),
            "channels": np.array(mapping.channels),
            "counters": np.array(counters),
            "stride": np.array(counter_stride(config)),
            "exact": np.array(exact),
        }

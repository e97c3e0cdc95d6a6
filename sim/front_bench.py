# SPDX-License-Identifier: Apache-2.0
"""What the test benches of all fronts share: the case in the run folder, and the work that every board must do.

The host's own Board drives the simulated core: cocotb runs it in a thread and moves time while it waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..fpga.host import Board
from ..fpga.link import Link
from ..hw.engine.counters import COUNTERS
from ..hw.fronts.registers import flag, word
from ..model.cost.cycles import predict
from ..model.mapping.images import image_beats, load_words, memory_images
from ..model.mapping.mapping import Mapping
from ..model.network import golden
from ..model.network.judge import answers
from ..model.network.spec import SpikeNet

CLOCK_NS = 10


@dataclass(frozen=True)
class Case:
    """A network with images, as codes."""

    net: SpikeNet
    codes: np.ndarray

    @classmethod
    def load(cls, name: str) -> Case:
        return cls(SpikeNet.load(f"{name}.spike"), np.load(f"{name}.npy"))

    @property
    def logits(self) -> np.ndarray:
        """What the golden model says."""
        return golden.run(self.net, self.codes)

    def beats(self, mapping: Mapping) -> list[list[int]]:
        """The frames of all images."""
        return [[int(beat) for beat in image] for image in image_beats(mapping, self.codes)]

    def counters(self, mapping: Mapping, image: int) -> list[list[int]]:
        """What the hardware counters of one image must say."""
        result = golden.run(self.net, self.codes[image : image + 1], layers=True)
        fields = mapping.golden_fields(result.codes)
        layers = predict(mapping, {name: field[0] for name, field in fields.items()})
        return [[layer.cycles, layer.event, layer.empty, layer.waiting] for layer in layers]


def load_stream(mapping: Mapping) -> list[int]:
    return load_words(memory_images(mapping), mapping.config)


def classify_two_networks(link: Link, store: Callable[[bytes], int] | None = None) -> None:
    """Identify, load, classify, read the counters; then another network without a reset, and the first one again.

    store: see Board.load.
    """
    board = Board(link)
    for name in ("one", "two", "one"):
        case = Case.load(name)
        mapping = board.load(case.net, store=store)
        answer = board.classify(case.codes)
        assert answer.logits.tolist() == case.logits.tolist(), f"network {name}: {answer.logits} != {case.logits}"
        assert isinstance(answer.classes, np.ndarray)
        assert answer.classes.tolist() == answers(case.logits, case.net.output).tolist()
        assert link.read(word("class")) == [answer.classes[-1].flat[-1]]
        assert board.counters()[:, : len(COUNTERS)].tolist() == case.counters(mapping, len(case.codes) - 1)
        assert link.read(word("images")) == [len(case.codes)]
    status = board.status()
    assert status == {
        "running": True, "busy": False, "room": not board.streams or status["room"], "result": False,
        "done": True, "short": False, "long": False, "refused": False, "memory": False, "fault": False,
    }, status  # fmt: skip


def stop_anywhere(link: Any, steps: int) -> None:
    """Stop after any number of beats: the next image is right nevertheless."""
    board = Board(link)
    case = Case.load("one")
    mapping = board.load(case.net)
    beats = case.beats(mapping)[0]
    for index in range(steps):
        sent = 1 + index * (len(beats) - 1) // max(1, steps - 1)
        link.write(word("image"), beats[: sent - 1], fixed=True)
        link.write(word("image_last" if sent == len(beats) else "image"), beats[sent - 1 : sent])
        assert link.read(word("status"))[0] & flag("status", "busy")
        board.stop()
        assert link.read(word("status"), 2) == [0, 0]
        board.start()
        answer = board.classify(case.codes[:1])
        assert answer.logits.tolist() == case.logits[:1].tolist(), f"after a stop at beat {sent}"


def frames_of_wrong_length(link: Any) -> None:
    """A short and a long frame each give one result and an event; the image after them is right."""
    board = Board(link)
    case = Case.load("one")
    mapping = board.load(case.net)
    beats = case.beats(mapping)[0]
    for frame, event in ((beats[:1], "short"), (beats[:-1], "short"), ([*beats, 1, 2, 3], "long")):
        link.write(word("image"), frame[:-1], fixed=True)
        link.write(word("image_last"), frame[-1:])
        words = link.read(word("logit"), case.net.classes, fixed=True)
        assert link.read(word("events")) == [flag("events", event) | flag("events", "done")]
        if event == "long":
            assert board._signed(words) == case.logits[0].tolist()
        link.write(word("events"), [0xFF])
        assert link.read(word("events")) == [0]
        answer = board.classify(case.codes[:1])
        assert answer.logits.tolist() == case.logits[:1].tolist()
        link.write(word("events"), [flag("events", "done")])

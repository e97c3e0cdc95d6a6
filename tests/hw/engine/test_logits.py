# SPDX-License-Identifier: Apache-2.0
import random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from onespike.hw.config import EngineConfig
from onespike.hw.engine.logits import Logits, logit_layout
from onespike.hw.program import header_fields, layer_fields, layout
from onespike.sim.stream import run_stream


class Harness(wiring.Component):
    """The unit fed by a stream: a row of sums, or (`done`) the end of a record; it waits while logits are read."""

    def __init__(self, config: EngineConfig):
        self.config = config
        sums = data.ArrayLayout(config.acc_bits, config.fire_lanes)
        layer = layout(layer_fields(config))
        row = {"sums": sums, "row": config.channel_addr_bits, "row_last": 1, "done": 1, "layer": layer}
        super().__init__(
            {
                "header": In(layout(header_fields(config))),
                "rows": In(stream.Signature(data.StructLayout(row))),
                "logits": Out(stream.Signature(logit_layout(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.logits = dut = Logits(self.config)
        wiring.connect(m, dut.logits, wiring.flipped(self.logits))
        row = self.rows.payload
        # Layers that fire go on while logits are read; the last one waits, as the sequencer makes it.
        m.d.comb += [
            self.rows.ready.eq(dut.free | ~row.layer.final),
            dut.header.eq(self.header),
            dut.layer.eq(row.layer),
            dut.valid.eq(self.rows.valid & self.rows.ready & ~row.done),
            dut.done.eq(self.rows.valid & self.rows.ready & row.done),
            dut.tag.row.eq(row.row),
            dut.tag.row_last.eq(row.row_last),
        ]
        m.d.comb += [dut.sums[f].eq(row.sums[f]) for f in range(self.config.fire_lanes)]
        return m


def golden(logits: np.ndarray) -> list[tuple[int, int, int]]:
    """Beats (value, best so far in the place, last) of logits [N, (places,) classes]: the lowest of equals wins."""
    places = logits.reshape(len(logits), -1, logits.shape[-1])
    return [
        (value, int(np.argmax(row[: i + 1])), int(i == len(row) - 1 and place == len(image) - 1))
        for image in places
        for place, row in enumerate(image)
        for i, value in enumerate(row.tolist())
    ]


def rtl(config: EngineConfig, logits: np.ndarray, *, noise=0, seed=0, unused=0, split=0, **options):
    """Beats of logits [N, (places,) classes], and when everything happened.

    unused: rows that a place has behind its last class. split: rows of the first of two parts of the layer.
    """
    rng = random.Random(seed)
    width, mask = config.fire_lanes, (1 << config.acc_bits) - 1
    count = -(-logits.shape[-1] // width)

    def row(index: int, sums: list[int], *, last: bool = False, done: int = 0, **layer: int) -> dict:
        layer = dict.fromkeys(layer_fields(config), 0) | layer
        return {
            "sums": [value & mask for value in sums], "row": index, "row_last": last, "done": done, "layer": layer
        }  # fmt: skip

    rows = []
    for image in logits.reshape(len(logits), -1, logits.shape[-1]).tolist():
        for _ in range(noise):
            rows.append(row(rng.randrange(count), [7] * width, last=rng.random() < 0.5, dest_words=rng.randrange(9)))
        rows.append(row(0, [7] * width, done=1))
        first = 0
        for size in filter(None, (split, count + unused - split)):
            layer = {"final": 1, "dest_words": count}
            layer |= {"dest_base": first, "more": first + size < count + unused} if config.streams_weights else {}
            for place in image:
                noisy = [rng.getrandbits(config.acc_bits) for _ in range(width * (count + unused))]
                noisy[: len(place)] = place  # the others are lanes without a class
                for i in range(size):
                    sums = noisy[width * (first + i) :][:width]
                    rows.append(row(i, sums, last=i == size - 1, **layer))
            rows.append(row(0, [0] * width, done=1, **layer))
            first += size
    head = dict.fromkeys(header_fields(config), 0) | {"classes": logits[0].size - 1}
    head |= {"channels": logits.shape[-1] - 1} if config.maps else {}
    options |= {"fixed": {"header": head}, "stamps": True, "seed": seed}
    stamps = run_stream(Harness(config), {"rows": rows}, {"logits": logits.size}, **options)
    beats = [(t.payload.value, t.payload.best, t.payload.last) for t in stamps["logits"]]
    ends = [bool(r["done"] and r["layer"]["final"] and not r["layer"].get("more")) for r in rows]
    done = [t.cycle for t, end in zip(stamps["rows"], ends, strict=True) if end]
    return beats, done, [t.cycle for t in stamps["logits"]]


SHAPES = [(1, 1), (1, 5), (2, 1), (2, 2), (2, 10), (4, 3), (4, 9), (8, 10)]


@pytest.mark.parametrize(("fire_lanes", "classes"), SHAPES)
@pytest.mark.parametrize("stall", [0.2, 0.8])
def test_random_stalls(fire_lanes, classes, stall):
    """Values from few, so that many are equal; the ends of the range; layers that fire in between."""
    rng = np.random.default_rng(classes)
    config = EngineConfig(lanes=fire_lanes, fire_lanes=fire_lanes, acc_bits=9)
    logits = np.concatenate([rng.choice([-256, -3, -2, 5, 255], (6, classes)), rng.integers(-256, 256, (3, classes))])
    beats, _, _ = rtl(config, logits, noise=3, seed=classes, stall=stall)
    assert beats == golden(logits)


def test_ties():
    """Equal logits: the lowest class wins, wherever the first of them stands; also if all are the least value."""
    config = EngineConfig(lanes=2, fire_lanes=2, acc_bits=6)
    logits = np.array([[-32] * 4, [0, 3, 3, 3], [3, 0, 3, -1], [1, 2, 30, 31], [31, 30, 31, 0], [-32, -31, -32, -31]])
    beats, _, _ = rtl(config, logits)
    assert beats == golden(logits)
    assert [best for _, best, last in beats if last] == [0, 1, 0, 3, 0, 1]


@pytest.mark.parametrize(("fire_lanes", "classes"), SHAPES)
def test_cycles(fire_lanes, classes):
    """First beat four cycles after `done`, then one every two cycles, and one cycle more for each new row."""
    config = EngineConfig(lanes=fire_lanes, fire_lanes=fire_lanes, acc_bits=9)
    logits = np.arange(3 * classes).reshape(3, classes)
    beats, done, cycles = rtl(config, logits, stall=0)
    assert beats == golden(logits)
    assert cycles == [start + 4 + 2 * i + i // fire_lanes for start in done for i in range(classes)]
    # Free again in the cycle after the last beat: the next row of the last layer is taken there.
    assert all(b > a for a, b in zip(cycles[classes - 1 :: classes], done[1:], strict=False))


def test_layers_that_fire_leave_no_logits():
    config = EngineConfig(lanes=2, fire_lanes=2, acc_bits=9)
    logits = np.array([[4, -4, 8]])
    assert rtl(config, logits, noise=9, stall=0)[0] == golden(logits)


@pytest.mark.parametrize(
    ("fire_lanes", "places", "classes", "unused"),
    [(1, 3, 1, 1), (2, 2, 3, 2), (4, 7, 4, 1), (4, 5, 9, 0), (8, 1, 10, 2)],
)
@pytest.mark.parametrize("stall", [0.2, 0.8])
def test_maps(fire_lanes, places, classes, unused, stall):
    """Place after place, a class for each; rows behind a place's last class are another place's."""
    rng = np.random.default_rng(classes)
    depth = places * -(-classes // fire_lanes)  # not a row too many
    config = EngineConfig(lanes=fire_lanes, fire_lanes=fire_lanes, acc_bits=9, class_depth=depth, maps=True)
    logits = rng.choice([-256, -3, -2, 5, 255], (4, places, classes))
    assert rtl(config, logits, noise=3, seed=places, unused=unused, stall=stall)[0] == golden(logits)


def test_a_place_may_take_every_row():
    """Also where there are more rows of logits than a spike memory has words, by whose address other words count."""
    config = EngineConfig(lanes=2, fire_lanes=2, acc_bits=9, class_depth=4, spike_depth=2, maps=True)
    logits = np.random.default_rng(0).integers(-256, 256, (3, 1, 8))
    assert rtl(config, logits)[0] == golden(logits)


@pytest.mark.parametrize(("unused", "split"), [(0, 1), (1, 1), (1, 2), (3, 2)])
def test_maps_in_parts(unused, split):
    """Where weights are streamed, a part computes some rows of all places, and the next one the others."""
    config = EngineConfig(
        lanes=2, fire_lanes=2, acc_bits=9, class_depth=15, maps=True, external_weights=32, channel_depth=8
    )
    logits = np.random.default_rng(split).integers(-256, 256, (3, 5, 6))
    assert rtl(config, logits, noise=2, unused=unused, split=split, stall=0.3)[0] == golden(logits)


@pytest.mark.parametrize(("fire_lanes", "places", "classes"), [(2, 3, 1), (2, 3, 2), (4, 2, 5)])
def test_cycles_of_maps(fire_lanes, places, classes):
    """A new row for each place: its first beat comes one cycle later, as every row's."""
    depth = places * -(-classes // fire_lanes)
    config = EngineConfig(lanes=fire_lanes, fire_lanes=fire_lanes, acc_bits=9, class_depth=depth, maps=True)
    logits = np.arange(2 * places * classes).reshape(2, places, classes)
    beats, done, cycles = rtl(config, logits, stall=0)
    assert beats == golden(logits)
    rows = [p * -(-classes // fire_lanes) + c // fire_lanes for p in range(places) for c in range(classes)]
    assert cycles == [start + 4 + 2 * i + row for start in done for i, row in enumerate(rows)]

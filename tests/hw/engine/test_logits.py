# SPDX-License-Identifier: Apache-2.0
import random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from onespike.hw.config import EngineConfig
from onespike.hw.engine.logits import Logits, logit_layout
from onespike.hw.program import header_fields, layout
from onespike.sim.stream import run_stream


class Harness(wiring.Component):
    """The unit fed by a stream: a row of sums, or (`done`) the end of the layer; it waits while logits are read."""

    def __init__(self, config: EngineConfig):
        self.config = config
        sums = data.ArrayLayout(config.acc_bits, config.fire_lanes)
        row = {"sums": sums, "row": config.channel_addr_bits, "done": 1, "final": 1}
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
            self.rows.ready.eq(dut.free | ~row.final),
            dut.header.eq(self.header),
            dut.layer.final.eq(row.final),
            dut.valid.eq(self.rows.valid & self.rows.ready & ~row.done),
            dut.done.eq(self.rows.valid & self.rows.ready & row.done),
            dut.tag.row.eq(row.row),
        ]
        m.d.comb += [dut.sums[f].eq(row.sums[f]) for f in range(self.config.fire_lanes)]
        return m


def golden(logits: np.ndarray) -> list[tuple[int, int, int]]:
    """Beats (value, best so far, last) of logits [N, classes]: the lowest of equal classes wins."""
    return [
        (value, int(np.argmax(row[: i + 1])), int(i == len(row) - 1))
        for row in logits
        for i, value in enumerate(row.tolist())
    ]


def rtl(config: EngineConfig, logits: np.ndarray, *, noise: int = 0, seed: int = 0, **options):
    """Beats of logits [N, classes], and when everything happened."""
    rng = random.Random(seed)
    width, mask = config.fire_lanes, (1 << config.acc_bits) - 1
    count = -(-logits.shape[1] // width)

    def row(index: int, sums: list[int], *, done: int = 0, final: int = 1) -> dict:
        return {"sums": [value & mask for value in sums], "row": index, "done": done, "final": final}

    rows = []
    for image in logits.tolist():
        image += [rng.getrandbits(config.acc_bits) for _ in range(count * width - len(image))]  # lanes without a class
        rows += [row(rng.randrange(count), [7] * width, final=0) for _ in range(noise)]
        rows.append(row(0, [7] * width, done=1, final=0))
        rows += [row(i, image[i * width : (i + 1) * width]) for i in range(count)]
        rows.append(row(0, [0] * width, done=1))
    head = dict.fromkeys(header_fields(config), 0) | {"classes": logits.shape[1] - 1}
    options |= {"fixed": {"header": head}, "stamps": True, "seed": seed}
    stamps = run_stream(Harness(config), {"rows": rows}, {"logits": logits.size}, **options)
    beats = [(t.payload.value, t.payload.best, t.payload.last) for t in stamps["logits"]]
    done = [t.cycle for t, r in zip(stamps["rows"], rows, strict=True) if r["done"] and r["final"]]
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

# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
"""A whole small network by two blocks of RTL: the engine's accumulators make the sums of all windows of all layers, the
fusion unit makes spikes and membranes of them. What lies between (which spikes a window reads) is the testbench's.
"""

import numpy as np

from onespike.hw.config import EngineConfig
from onespike.hw.engine.fusion import FusionUnit
from onespike.hw.engine.lanes import Lanes
from onespike.model.machine.fusion import FusionLayer, cycles
from onespike.model.network.codes import events, factors
from onespike.model.network.windowed import WindowNet, WindowRun
from onespike.model.network.windows import cut, regions
from onespike.sim.stream import run_pipeline, run_stream
from windows import pixels, small_windows

CONFIG = EngineConfig(lanes=4, fire_lanes=4, acc_bits=20)
DRAIN = 2  # cycles from a captured shadow to `drain`


Job = list[tuple[int, int, np.ndarray]]


def jobs(net: WindowNet, run: WindowRun, image: np.ndarray) -> list[Job]:
    """For every place of every window of every layer, what is added: a value, its shift, and its weight row."""
    found, maps = [], image
    for layer, after in zip(net.layers, run.maps, strict=True):
        block = maps if layer.opens else block  # noqa: F821 - the first layer opens a block
        places = regions(*maps.shape[1:], net.groups, layer.dilated)
        own, others = cut(maps[None], places)[:, 0], cut(block[None], places)[:, 0]
        for window, other in zip(own, others, strict=True):
            around = np.pad(window, ((0, 0), (1, 1), (1, 1)))
            for row, column in np.ndindex(window.shape[1:]):
                seen = around[:, row : row + 3, column : column + 3]
                found_at = map(tuple, np.argwhere(seen).tolist())
                terms = [(int(seen[at]), layer.lift, layer.weights[:, *at]) for at in found_at]
                if layer.shortcut is not None:
                    values = other[:, row, column]
                    terms += [(int(values[c]), 0, layer.shortcut[:, c, 0, 0]) for c in np.flatnonzero(values)]
                found.append(terms)
        maps = after[0]
    return found


def accumulated(work: list[Job]) -> list[list[int]]:
    """Sums of the lanes' RTL for each job, by events one a cycle; a job ends with its last event, or an empty one."""
    cases: dict[str, list] = {name: [] for name in ("add", "end", "weights", "shift", "negative", "multiple")}
    for terms in work:
        made = [(t, lift, row) for value, lift, row in terms for t in events(value, "signed", 8, CONFIG.multiples)]
        for term, lift, row in made:
            number = factors(CONFIG.multiples).index(term.multiple)
            for name, value in zip(cases, (1, 0, row.tolist(), term.shift + lift, term.negative, number), strict=True):
                cases[name].append(value)
        for name, value in zip(cases, (0, 1, [0] * 4, 0, 0, 0), strict=True):
            cases[name].append(value)
    flush = 12
    for name, value in zip(cases, (0, 0, [0] * 4, 0, 0, 0), strict=True):
        cases[name] += [value] * flush
    cases["weights"] = [[0] * 4, *cases["weights"][:-1]]  # a cycle after how they are added
    number = len(cases["add"])
    out = run_pipeline(Lanes(CONFIG), {**cases, "step": [0] * number, "turn": [1] * number}, ["captures", "drain"])
    shadows = [[out["drain"][cycle + DRAIN][f] for f in range(4)] for cycle, hit in enumerate(out["captures"]) if hit]
    turn = 1 << CONFIG.acc_bits
    differences = np.diff(np.array([[0] * 4, *shadows], np.int64), axis=0) % turn
    return np.where(differences >= turn // 2, differences - turn, differences).tolist()


def in_order(windows: np.ndarray) -> list[int]:
    """Of one image [groups, 1, O, h, w]: window, place, channel."""
    return np.moveaxis(windows[:, 0], 1, -1).reshape(-1).tolist()


def test_membranes_and_spikes_of_every_layer_equal_the_golden_model():
    net = small_windows()
    image = pixels(1, seed=3)
    run = net.run(image)
    work = jobs(net, run, image[0])
    sums, layers, shift, before = [], [], [], None
    rows = iter(accumulated(work))
    for layer, golden in zip(net.layers, run.sums, strict=True):
        places = golden.shape[0] * golden[0, 0, 0].size
        own = (np.array([next(rows) for _ in range(places)]) + layer.bias).reshape(-1).tolist()
        assert own == in_order(golden), "the accumulators' sums"
        sums += own
        shift += layer.shift.tolist() * places
        neurons, windows = golden[0, 0].size, len(golden)
        layers.append(FusionLayer(neurons, windows, before == golden.shape, layer.leak, layer.threshold))
        before = golden.shape
    assert next(rows, None) is None
    assert [layer.same for layer in layers] == [False, False, False, False, True, True]

    depth = max(layer.neurons * layer.windows for layer in layers)
    assert depth * (net.fraction + 3) == net.membrane_bits
    unit = FusionUnit(fraction=net.fraction, acc_bits=CONFIG.acc_bits, depth=depth, lift=1, most_shift=10)
    told = [{**one._asdict(), "neurons": one.neurons - 1, "windows": one.windows - 1} for one in layers]
    pairs = [{"sum": total, "shift": by} for total, by in zip(sums, shift, strict=True)]
    found = run_stream(unit, {"layer": told, "sums": pairs}, {"fired": len(sums)}, stall=0, stamps=True)
    fired = iter(transfer.payload for transfer in found["fired"])
    for spikes, membranes in zip(run.spikes, run.membranes, strict=True):
        payloads = [next(fired) for _ in range(spikes.size)]
        assert [one.spike for one in payloads] == in_order(spikes)
        assert [one.membrane for one in payloads] == in_order(membranes)
    assert found["fired"][-1].cycle - found["layer"][0].cycle == cycles(layers) - 1

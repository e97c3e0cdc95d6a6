# SPDX-License-Identifier: Apache-2.0
"""Exploration: the front by brute force, the ports' limit, what does not fit, and the same result however it is run."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from command_line import small_net
from onespike.cli import main
from onespike.fpga.fit import fit
from onespike.hw.config import EngineConfig
from onespike.model.cost.area import Area, estimate
from onespike.model.cost.choose import choose_mapping
from onespike.model.cost.explore import Point, count_cycles, explore, fed_lanes, pareto, require_fit, unfed
from onespike.model.errors import OneSpikeError
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet
from onespike.model.targets import find_target

ECP5 = find_target("ecp5-25k")
AXES = {"banks": (1, 2), "lanes": (4, 8), "fire_lanes": (0,), "word_bits": (16, 32)}


@pytest.fixture(scope="module")
def net() -> SpikeNet:
    return dataclasses.replace(small_net(), weight_bits=8)


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, 1, 6, 6), dtype=np.uint8)


@pytest.fixture(scope="module")
def points(net: SpikeNet, codes: np.ndarray) -> list[Point]:
    return explore({"net": net}, {"net": codes}, ECP5, EngineConfig(), AXES)


def point(cycles: int, luts: int, rams: int, refused: str = "", accuracy: float | None = None) -> Point:
    area = Area(luts=luts, flip_flops=0, block_rams=rams, by_block={})
    return Point(net="", config=EngineConfig(), area=area, cycles=cycles, refused=refused, accuracy=accuracy)


def test_front_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = [
            point(*map(int, rng.integers(0, 5, 3)), refused=rng.choice(["", "", "no"]), accuracy=rng.integers(0, 3) / 4)
            for _ in range(30)
        ]
        front = pareto(points)
        fitting = [p for p in points if not p.refused]
        assert all(p in fitting for p in front)

        def beats(a: Point, b: Point) -> bool:
            return all(x <= y for x, y in zip(a.costs, b.costs, strict=True)) and a.costs != b.costs

        assert {p.costs for p in front} == {p.costs for p in fitting if not any(beats(q, p) for q in fitting)}
        assert len(front) == len({p.costs for p in front}) and front == sorted(front, key=lambda p: p.costs)


def test_points_are_those_of_the_models(points: list[Point], net: SpikeNet, codes: np.ndarray) -> None:
    assert len(points) == 8 and not any(p.refused for p in points)
    for found in points:
        config = EngineConfig(
            banks=found.config.banks, lanes=found.config.lanes, fire_lanes=found.config.fire_lanes,
            word_bits=found.config.word_bits,
        )  # fmt: skip
        mapping = choose_mapping(net, config, codes)
        assert found.config == mapping.config and found.area == estimate(mapping.config, ECP5)
        assert (found.cycles, found.utilisation) == count_cycles(mapping, codes)


def test_processes_change_nothing(points: list[Point], net: SpikeNet, codes: np.ndarray) -> None:
    told: list[tuple[int, int]] = []
    again = explore({"net": net}, {"net": codes}, ECP5, EngineConfig(), AXES, executor="local:2",
                    done=lambda *now: told.append(now))  # fmt: skip
    assert again == points and told == [(i, 8) for i in range(9)]


def test_ports_feed_so_many_lanes() -> None:
    part = find_target("ice40-up5k")
    config = EngineConfig(banks=2, lanes=26, fire_lanes=2, word_bits=32)
    # 30 block RAMs for two banks: 15 each, 2 for the spike word, 13 x 16 bits of weights.
    assert fed_lanes(part, config) == 26 and unfed(part, config) == ""
    assert unfed(part, dataclasses.replace(config, lanes=28)) == (
        "2 banks x 28 lanes read 448 bits of weights a cycle; the 30 block RAMs of ice40-up5k (16 bits each, spike "
        "words taken off) feed 26 lanes of each bank with 8-bit weights."
    )
    assert "feed no lane" in unfed(part, dataclasses.replace(config, banks=32))
    assert fed_lanes(ECP5, EngineConfig()) == (56 // 4 - 1) * 36 // 8


def test_ports_are_asked_before_the_cycle_model(net: SpikeNet, codes: np.ndarray) -> None:
    axes = {"banks": (16,), "lanes": (16,), "fire_lanes": (4,)}
    (found,) = explore({"net": net}, {"net": codes}, find_target("ice40"), EngineConfig(), axes)
    assert found.cycles == 0 and "of weights a cycle" in found.refused


def test_nothing_fits(net: SpikeNet, codes: np.ndarray) -> None:
    part = dataclasses.replace(ECP5, name="tiny", luts=500)
    found = explore({"net": net}, {"net": codes}, part, EngineConfig(), AXES)
    sentence = r"^No engine fits tiny: even 1 x 4 lanes needs [\d,]+ LUTs, [\d,]+ more than the 500 of tiny; \S+ takes "
    with pytest.raises(OneSpikeError, match=sentence):
        require_fit(found, part)


@pytest.mark.parametrize(
    ("channels", "side", "spikes", "weights", "way"),
    [
        (64, 80, "425", "8", "smaller images, or counts of fewer groups, need less memory for spikes"),
        (480, 4, "[0-9]+", "2,[0-9]+", "use fewer weight bits or a smaller network, or keep the weights in "),
    ],
)
def test_memories_that_no_part_has(channels: int, side: int, spikes: str, weights: str, way: str) -> None:
    """What fills them is said, and what needs less of that."""

    def kernel(outputs: int, inputs: int, size: int) -> np.ndarray:
        return np.ones((outputs, inputs, size, size), int)

    def layer(name: str, tensor: str, weights: np.ndarray, groups: int = 15) -> Layer:
        source = Source(tensor=tensor, weights=weights, padding=(weights.shape[2] % side // 2,) * 4)
        zero = np.zeros(len(weights), int)
        return Layer(name=name, sources=(source,), bias=zero, shift=zero + 6 * (groups > 0), groups=groups)

    first, second = kernel(channels, 1, 1), kernel(channels, channels, 1 if side > 9 else 3)
    layers = (layer("a", INPUT, first), layer("b", "a", second), layer("c", "b", kernel(3, channels, 1), 0))
    net = SpikeNet(image=Image(shape=(1, side, side)), layers=layers)
    part, base = find_target("ice40-up5k"), EngineConfig()
    axes = {"banks": (1,), "lanes": (8,), "fire_lanes": (4,), "word_bits": (16,)}
    found = explore({"net": net}, {"net": np.zeros((1, 1, side, side), np.uint8)}, part, base, axes)
    filled = rf"more than the 30 of ice40-up5k \(spikes fill {spikes} KiB, weights {weights} KiB\)"
    with pytest.raises(OneSpikeError, match=f"{filled}; no known part does; {way}"):
        require_fit(found, part)


def test_the_fitted_engine_is_the_fastest(net: SpikeNet, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = {"banks": (1, 2), "lanes": (4, 8), "fire_lanes": (1, 4), "word_bits": (16,)}
    monkeypatch.setattr("onespike.fpga.fit.AXES", axes)
    every = explore({"net": net}, {"net": codes}, ECP5, EngineConfig(), axes)
    best = min(every, key=lambda p: p.costs)
    assert fit(net, ECP5, codes) == best.config
    small = dataclasses.replace(ECP5, luts=sorted(p.area.luts for p in every if p.area)[2])
    chosen = fit(net, small, codes, margin=1.0)
    fitting = [p for p in every if p.area and p.area.luts <= small.luts]
    assert chosen == min(fitting, key=lambda p: p.costs).config


def test_command(net: SpikeNet, tmp_path, capsys) -> None:
    path, other = tmp_path / "a.spike", tmp_path / "b.spike"
    net.save(path)
    dataclasses.replace(net, weight_bits=9).save(other)
    options = ["--banks", "1,2", "--lanes", "4", "--word-bits", "16", "--jobs", "1", "--seed", "3"]
    results = []
    for run in range(2):
        written, plot = tmp_path / f"{run}.json", tmp_path / f"{run}.svg"
        assert main(["explore", str(path), str(other), *options, "--json", str(written), "-o", str(plot)]) == 0
        figures = json.loads(written.read_text())
        assert figures.pop("made_by")["seed"] == 3  # and the names of these files
        results.append((figures, plot.read_text()))
        assert "random pixels" in capsys.readouterr().out
    assert results[0] == results[1]
    found = results[0][0]
    assert [(p["net"], p["config"]["banks"], p["config"]["weight_bits"]) for p in found["points"]] == [
        (str(name), banks, bits) for (name, bits), banks in itertools.product(((path, 8), (other, 9)), (1, 2))
    ]
    assert found["front"] and "synthesis" not in found["front"][0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--target", "virtex"], "Unknown target 'virtex'; choose one of ecp5-12k"),
        (["--weight-bits", "5"], "No network has the weight bits asked for, but 8; convert one with"),
        (["--lanes", "6", "--fire-lanes", "4"], "No combination is an engine: fire lanes must divide lanes"),
        (["--lanes", "4,x"], "must be an integer in 1..256, not 'x'"),
        (["--target", "ice40", "--lanes", "64", "--banks", "8"], "No engine fits ice40-up5k: even 8 x 64 lanes"),
    ],
)
def test_mistakes(net: SpikeNet, tmp_path, capsys, arguments: list[str], sentence: str) -> None:
    path = tmp_path / "net.spike"
    net.save(path)
    assert main(["explore", str(path), "--jobs", "1", *arguments]) == 2
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error

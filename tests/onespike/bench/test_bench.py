# SPDX-License-Identifier: Apache-2.0
"""`onespike bench` on the smallest network: its figures, that they belong together, and what it says of them."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from onespike import versions
from onespike.bench import peers, rivals, unrolled, workloads
from onespike.bench.tables import sentences
from onespike.cli import main
from onespike.fpga.synth import Synthesised
from onespike.hw.config import EngineConfig
from onespike.model.convert.converter import prepare
from onespike.model.network import golden
from onespike.model.training import data as datasets
from onespike.model.training import networks
from onespike.model.training.data import Dataset
from onespike.parsers import engine as parser_engine
from onespike.parsers.options import engine
from onespike.readme import bench_lines
from paths import ROOT


@pytest.fixture
def few_digits(monkeypatch):
    few = {split: datasets.load("digits", split)[:300] for split in datasets.SPLITS}
    monkeypatch.setattr(workloads, "load", lambda source, split: few[split])


def test_bench(capsys, tmp_path, few_digits, monkeypatch):
    monkeypatch.setattr(unrolled, "installed", lambda: False)
    file = tmp_path / "bench.json"
    output = ROOT / "build" / "test-bench"  # keeps the compiled engine
    arguments = ["bench", "--workloads", "mlp64", "--images", "2", "--banks", "2", "--lanes", "4", "--groups", "4"]
    assert main([*arguments, "-o", str(output), "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    (found,) = result["workloads"]
    assert (found["name"], found["images"], found["weights"]) == ("mlp64", 2, "trained")
    assert found["engine"] == {"banks": 2, "lanes": 4, "fire_lanes": 4}

    # The hardware took what was predicted, every lane-cycle has a cause, every ratio its cycles.
    assert found["cycles_from"] == "rtl" and found["cycles"] == found["predicted_cycles"]
    assert found["rtl"]["mismatches"] == found["rtl"]["cycle_mismatches"] == 0
    causes = found["lane_cycles"]
    assert sum(causes.values()) == pytest.approx(2 * 4 * found["cycles"])
    assert found["utilisation"] == pytest.approx(causes["useful"] / sum(causes.values()))
    assert found["dense_cycles"] == (64 * 32 + 32 * 10) / 8
    for name in ("dense", "unary", "psg", "parallel", "if"):
        assert found[f"{name}_ratio"] == found["cycles"] / found[f"{name}_cycles"], name
    assert found["parallel_adders"] == found["if"]["steps"] == 4
    assert found["parallel_cycles"] <= found["cycles"] < found["if_cycles"]
    accuracy = found["accuracy"]
    assert accuracy["images"] == 300 and accuracy["golden"] == accuracy["if"] > 0.3  # one hidden layer loses nothing
    assert min(found["speed"].values()) > 0
    assert len(result["peers"]) == len(peers.PEERS) and result["versions"]["python"]

    lines = bench_lines(result)
    assert f"| 64-32-10 | trained, {found['data']} | 2 x 4 | {found['cycles']:,.0f} |" in "\n".join(lines)
    assert all(line.count("|") in (0, 8, 9) for line in lines)

    out = capsys.readouterr().out
    for expected in ("mlp64", "Lane-cycles by cause", "alkaid is not installed", "arXiv 2401.01141",
                     versions.sentence(result["versions"]).split(",")[0]):  # fmt: skip
        assert expected in out


def test_rivals(capsys, tmp_path, few_digits, monkeypatch):
    """Five engines on the same images, placed by no tool: what is printed follows from their figures."""
    placed = []

    def synthesise(config, target, folder):
        placed.append(config)
        return Synthesised(
            target=target, luts=1000 * len(placed), flip_flops=9, block_rams=3, multipliers=8 * config.dsp,
            fmax_mhz=100.0, luts_per_lane=1.0, seed=1, tools="none", critical_path=(), parts={},
        )  # fmt: skip

    monkeypatch.setattr(rivals, "synthesise", synthesise)
    monkeypatch.setattr(rivals, "bank_luts", lambda config, target, folder: 123)
    file = tmp_path / "rivals.json"
    arguments = ["bench", "--rivals", "--workloads", "mlp64", "--no-rtl", "--banks", "2", "--lanes", "4"]
    assert main([*arguments, "--images", "3", "-o", str(ROOT / "build" / "test-bench"), "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    kinds = {rival["name"]: rival["workloads"][0] for rival in result["rivals"]}
    assert list(kinds) == list(rivals.ENGINES)
    assert [(c.arithmetic, c.product_bits, c.dsp) for c in placed[1:]] == [
        ("zero-skip", 4, False), ("dense", 4, False), ("zero-skip", 8, True), ("dense", 8, True)
    ]  # fmt: skip
    # Two nibbles a pixel, or a byte, and a hidden value; eight rows of lanes for 32 channels, three for ten.
    assert kinds["dense"]["events"] == 2 * 64 * 8 + 32 * 3 and kinds["dense, DSP"]["events"] == 64 * 8 + 32 * 3
    assert kinds["zero-skip"]["events"] < kinds["dense"]["events"]
    for number, found in enumerate(kinds.values(), 1):
        assert found["images_per_second"] == pytest.approx(1e8 / found["cycles"])
        assert found["images_per_second_per_lut"] == pytest.approx(found["images_per_second"] / (1000 * number))
    printed = " ".join(capsys.readouterr().out.split())
    ratio = kinds["dense"]["cycles"] / kinds["spikes"]["cycles"]
    assert f"64-32-10, dense against spikes: {ratio:.2f} times the cycles, 3.00 times the LUTs" in printed
    assert "; and 8 DSP blocks." in printed and {rival["bank_luts"] for rival in result["rivals"]} == {123}


@pytest.mark.slow
def test_rivals_in_rtl(tmp_path, few_digits):
    """All five engines simulated on the same images, and placed: words and counters equal the model's."""
    file = tmp_path / "rivals.json"
    arguments = ["bench", "--rivals", "--workloads", "mlp64", "--banks", "1", "--lanes", "4", "--images", "2"]
    assert main([*arguments, "-o", str(ROOT / "build" / "test-bench"), "--json", str(file)]) == 0
    for rival in json.loads(file.read_text())["rivals"]:
        (found,) = rival["workloads"]
        assert found["rtl"]["mismatches"] == found["rtl"]["cycle_mismatches"] == 0, rival["name"]
        assert found["rtl"]["cycles_per_image"] == found["cycles"], rival["name"]
        assert 0 < rival["bank_luts"] < rival["synthesis"]["luts"], rival["name"]
        assert rival["synthesis"]["multipliers"] == (4 if rival["engine"]["dsp"] else 0)


def test_engines_for_several_networks():
    """The largest of every memory; of lanes that multiply, both steps of shifts."""
    one = EngineConfig(arithmetic="dense", max_shift=3, weight_depth=64, maps=True)
    other = EngineConfig(arithmetic="dense", max_shift=8, weight_depth=16, acc_bits=24)
    found = rivals.shared([one, other])
    assert (found.max_shift, found.weight_depth, found.acc_bits, found.maps) == (11, 64, 24, True)


def test_network_from_a_file(tmp_path):
    """FINN's keyword MLP stands in its own file; the float network is no module, so PyTorch is not timed."""
    pytest.importorskip("qonnx")
    from onnx_networks import quantised

    np.save(tmp_path / "heard.npy", np.random.default_rng(1).uniform(0, 2, (2, 2, 8, 8)).astype(np.float32))
    files = ["--kws", str(quantised("qonnx", tmp_path / "kws.onnx")), "--kws-images", str(tmp_path / "heard.npy")]
    file = tmp_path / "bench.json"
    assert main(["bench", "--workloads", "kws", "--no-rtl", *files, "-o", str(tmp_path), "--json", str(file)]) == 0
    (found,) = json.loads(file.read_text())["workloads"]
    assert (found["weights"], found["data"], found["accuracy"]) == ("kws.onnx", "heard.npy", None)
    assert found["engine"]["banks"] * found["engine"]["lanes"] == 256 and found["if"]["steps"] == 7
    assert found["dense_cycles"] == (6 * 6 * 5 * 2 * 9 + 5 * 36 * 3) / 256
    assert "golden_images_per_second" in found["speed"] and "torch_images_per_second" not in found["speed"]


def test_levels_that_are_no_counts_have_fewer_rivals(tmp_path, monkeypatch):
    images = workloads.synthetic((1, 8, 8), 20, 1).images
    module = networks.build("mlp64", 0).eval()
    made = workloads._Made(
        weights="random", labelled=True, data=Dataset(name="synthetic", images=images, labels=np.zeros(20, int)),
        module=module, net=prepare(module, calibration=images, levels="short").net,
    )  # fmt: skip
    monkeypatch.setitem(workloads.WORKLOADS, "mlp64", ("64-32-10, short levels", lambda sources: made, engine(2, 4)))
    file = tmp_path / "bench.json"
    assert main(["bench", "--workloads", "mlp64", "--no-rtl", "-o", str(tmp_path), "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    (found,) = result["workloads"]
    assert found["if"] is found["parallel_ratio"] is found["unary_ratio"] is found["accuracy"]["if"] is None
    assert found["dense_ratio"] > 0
    assert any(line.endswith("| - | - |") and "short levels" in line for line in bench_lines(result))


def test_names_are_those_of_the_parser():
    assert tuple(workloads.WORKLOADS) == parser_engine.WORKLOADS


def test_bad_options(capsys, tmp_path):
    assert main(["bench", "--workloads", "kws", "--no-rtl", "--kws", str(tmp_path)]) == 2
    assert "The workload 'kws' needs its network and what it hears: --kws and --kws-images." in capsys.readouterr().err
    assert main(["bench", "--workloads", "vgg"]) == 2
    assert "invalid choice: 'vgg'" in capsys.readouterr().err
    assert main(["bench", "--workloads", "resnet20", "--no-rtl", "--cifar10", str(tmp_path / "none")]) == 2
    assert "There is no data set" in capsys.readouterr().err


def test_images_of_the_workloads():
    images = np.arange(2 * 784, dtype=np.float32).reshape(2, 1, 28, 28)
    small = workloads.pooled(Dataset(name="d", images=images, labels=np.zeros(2, int)))
    assert small.images.shape == (2, 1, 8, 8) and small.images[0, 0, 0, 0] == images[0, 0, 2:5, 2:5].mean()
    first, again = (workloads.synthetic((3, 8, 8), 4, 1).images for _ in range(2))
    assert (first == again).all() and first.min() >= 0 and first.max() <= 1 and first.std() > 0.05


def test_against_spiker():
    """Its own figures are no better than its own figures; the goals need all four."""
    rival = peers.SPIKER_RIVAL
    same = peers.against_spiker(rival.cycles, rival.ecp5_cells, 0, rival.mhz)
    assert (same.cycles_ratio, same.cells_ratio, same.frames_per_second_per_cell_ratio) == (
        1,
        1,
        1,
    ) and not same.reached
    assert peers.against_spiker(900, 20_000, 0, 150).reached
    assert not peers.against_spiker(900, 20_000, 1, 150).reached
    assert not peers.against_spiker(900, 20_883, 0, 300).reached
    assert not peers.against_spiker(986, 5_000, 0, 150).reached
    assert peers.against_spiker(900).reached is None


def test_what_is_said_of_spiker():
    result = {"workloads": [], "unrolled_installed": True}
    for cells, expected in (((), "measured with --synth"), ((20_000, 0, 150.0), "all reached"),
                            ((30_000, 0, 150.0), "not all reached")):  # fmt: skip
        spiker = vars(peers.against_spiker(900, *cells))
        assert expected in sentences(result | {"spiker": spiker})[0]


def test_alkaid_computes_the_same(tmp_path, few_digits):
    pytest.importorskip("alkaid")
    found = workloads.build("mlp64-4bit", workloads.Sources(groups=2, cache=tmp_path))
    codes = found.net.image.quantise(found.images[:50])
    run = unrolled.run(found.net, codes, tmp_path / "alkaid", cells=False)
    assert run["exact"] and run["stages"] >= 1 and run["lut_estimate"] > 1000
    assert golden.run(found.net, codes).any()

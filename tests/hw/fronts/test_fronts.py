# SPDX-License-Identifier: Apache-2.0
"""Every front with its engine in cocotb/Verilator, driven by the host's Board, by bus models and by the C driver."""

import dataclasses
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from networks import random_codes
from onespike.hw.config import EngineConfig
from onespike.hw.emit.front import front_verilog
from onespike.hw.fronts.front import FRONTS, Front
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.mapper import map_network
from onespike.model.network.spec import Source
from onespike.sim.front import build_front
from onespike.sim.verilator import run
from paths import ROOT
from small_engine import SMALL, small_net

BUILD = ROOT / "build" / "sim"


STREAMED = dataclasses.replace(SMALL, weight_depth=80, external_weights=32, burst=4)


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> Path:
    """Two networks that share no shape, with images."""
    folder = tmp_path_factory.mktemp("case")
    for name, net, images in (("one", small_net(1, 7, 5, 7, 8), 2), ("two", small_net(2, 5, 3, 4, 4), 2)):
        net.save(folder / f"{name}.spike")
        np.save(folder / f"{name}.npy", random_codes(np.random.default_rng(3), net, images))
        map_network(net, SMALL)  # it fits
    return folder


def bench(case: Path, tmp_path: Path, front: Front, module: str, config: EngineConfig = SMALL, **env: str) -> int:
    folder = shutil.copytree(case, tmp_path / "run")
    return run(build_front(config, front, BUILD, fast=False), f"onespike.sim.{module}", test_dir=folder, env=env).tests


def test_axi(case, tmp_path):
    driver = ROOT / "fpga" / "driver"
    library = tmp_path / "onespike.so"
    words = ["cc", "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-shared", "-fPIC", "-O1"]
    subprocess.run([*words, "-o", str(library), str(driver / "onespike.c")], check=True)
    assert bench(case, tmp_path, Front(kind="axi"), "axi_bench", ONESPIKE_DRIVER=str(library)) == 5


def test_axi_streams_weights(case, tmp_path):
    """The memories hold no network whole: every image reads its weights anew."""
    folder = shutil.copytree(case, tmp_path / "run")
    built = build_front(STREAMED, Front(kind="axi"), BUILD, fast=False)
    assert run(built, "onespike.sim.axi_weights_bench", test_dir=folder).tests == 3


@pytest.mark.parametrize("kind", [kind for kind in FRONTS if kind != "axi"])
def test_other_fronts_refuse_streamed_weights(kind):
    with pytest.raises(OneSpikeError, match=f"The {kind} front has no port to external memory"):
        front_verilog(STREAMED, Front(kind=kind))


def test_wishbone(case, tmp_path):
    """One of the networks gives a map."""
    net = small_net(2, 5, 3, 4, 4)
    first, last = net.layers
    source = Source(tensor="first", weights=last.sources[0].weights[:, :, :1, :1])
    net = dataclasses.replace(net, layers=(first, dataclasses.replace(last, sources=(source,))))
    assert net.output == (4, 2, 2)
    own = shutil.copytree(case, tmp_path / "case")
    net.save(own / "two.spike")
    config = dataclasses.replace(SMALL, maps=True)
    assert bench(own, tmp_path, Front(kind="wishbone"), "wishbone_bench", config) == 3


def test_spi(case, tmp_path):
    assert bench(case, tmp_path, Front(kind="spi"), "spi_bench") == 3


def test_uart(case, tmp_path):
    assert bench(case, tmp_path, Front(kind="uart", divisor=4, silence=8), "uart_bench") == 3

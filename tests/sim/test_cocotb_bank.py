# SPDX-License-Identifier: Apache-2.0
"""The Verilog of a Bank in Verilator against the golden function."""

import dataclasses
import json
import random
from pathlib import Path

import pytest

from bank_cases import CONFIG, random_case
from onespike.hw.emit.verilog import BANK, bank_verilog
from onespike.sim.verilator import Built, build, run
from paths import BUILD


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    source = tmp_path_factory.mktemp("bank") / "bank.v"
    source.write_text(bank_verilog(CONFIG))
    return build([source], BANK, BUILD, options=["-DONESPIKE_BLANK"], fast=False)


def bench(built: Built, tmp_path: Path, seed: int, **changed: object) -> str:
    commands, strides, memory, weights = random_case(CONFIG, random.Random(seed), 60, 0.7)
    case = {"config": dataclasses.asdict(CONFIG), "commands": commands, "strides": strides, "memory": memory}
    path = tmp_path / "case.json"
    path.write_text(json.dumps(case | {"weights": weights, "seed": seed} | changed))
    return run(built, "onespike.sim.bank_bench", env={"ONESPIKE_BANK": str(path)}, test_dir=tmp_path / "run").log


@pytest.mark.parametrize("seed", range(3))
def test_equals_golden(built: Built, tmp_path: Path, seed: int) -> None:
    assert "60 jobs, " in bench(built, tmp_path, seed)


def test_difference_is_found(built: Built, tmp_path: Path) -> None:
    """A bench that reads the sums one bit too narrow disagrees with the hardware."""
    config = dataclasses.asdict(CONFIG) | {"acc_bits": CONFIG.acc_bits - 1}
    with pytest.raises(AssertionError, match=r"1 of 1 tests failed"):
        bench(built, tmp_path, 0, config=config)

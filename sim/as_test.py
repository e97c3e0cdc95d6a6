# SPDX-License-Identifier: Apache-2.0
"""As a test: the text of a pytest file that runs one small network through RTL, to be kept once the fault is mended."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .shrink import Case

HEAD = '''# SPDX-License-Identifier: Apache-2.0
"""A network on which hardware and model differed."""

import numpy as np

from onespike.hw.config import EngineConfig
from onespike.model.cost.external import ExternalMemory
from onespike.model.mapping.mapper import map_network
from onespike.model.network.levels import Levels
from onespike.model.network.spec import Image, Layer, Pool, Source, SpikeNet
from onespike.sim.engine import simulate_series
from onespike.sim.episode import Episode
from paths import BUILD


'''


def as_test(cases: list[Case], problem: str) -> str:
    """The file's text; cases: networks that are loaded one over the other, the last of which fails."""
    lines = ["def test_found_by_a_campaign() -> None:", f'    """{problem.splitlines()[0][:100]}"""']
    lines.append(f"    config = {expression(cases[-1].config)}")
    lines.append("    episodes = []")
    for case in cases:
        lines.append(f"    net = {expression(case.net)}")
        lines.append(f"    codes = {expression(case.codes)}")
        lines.append(f"    mapping = map_network(net, config, slices={case.slices})")
        lines.append(
            f"    episodes.append(Episode(mapping=mapping, codes=codes, through_load=True, stall={case.stall}, "
            f"seed={case.seed}, serial={case.serial}, memory={expression(case.memory)}))"
        )
    lines.append('    assert [outcome.problem for outcome in simulate_series(episodes, BUILD)] == [""] * len(episodes)')
    return HEAD + "\n".join(lines) + "\n"


def expression(value: Any) -> str:
    """Python that makes the value; of dataclasses, without the fields that have their usual values."""
    if isinstance(value, np.ndarray):
        kind = f", np.{value.dtype}" if value.dtype == np.uint8 else ""
        return f"np.array({value.tolist()}{kind})"
    if isinstance(value, tuple):
        return f"({', '.join(map(expression, value))}{',' * (len(value) == 1)})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        said = [
            f"{field.name}={expression(found)}"
            for field in dataclasses.fields(value)
            if field.init and not _usual(field, found := getattr(value, field.name)) and field.name != "meta"
        ]
        return f"{type(value).__name__}({', '.join(said)})"
    return repr(value)


def _usual(field: dataclasses.Field[Any], value: Any) -> bool:
    if isinstance(value, np.ndarray) or field.default is dataclasses.MISSING:
        return False
    return bool(value == field.default)

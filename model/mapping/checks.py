# SPDX-License-Identifier: Apache-2.0
"""What an engine cannot run, whatever its size."""

from __future__ import annotations

from ...hw.config import EngineConfig
from ..errors import OneSpikeError
from ..network.membranes import require_one_step
from ..network.spec import SpikeNet


def check(net: SpikeNet, config: EngineConfig) -> None:
    """Raises OneSpikeError, by layer, for what no engine of this kind can run, whatever its size."""
    require_one_step(net, "The engine")
    if config.code != "radix":
        net.require_counts(f"An engine with the {config.code} code", "use the radix code")
    if config.code == "psg":
        for layer in net.layers[:-1]:
            if layer.groups != config.max_groups:
                raise OneSpikeError(
                    f"The psg code needs the same spike count in every layer; layer {layer.name!r} has "
                    f"{layer.groups} groups, the engine {config.max_groups}. Use the radix or unary code."
                )
            if layer.pool is not None and layer.pool.kernel == (1, 1):
                raise OneSpikeError(
                    f"Layer {layer.name!r}: the psg code cannot pool over 1x1 windows; use the radix or unary code."
                )
    for layer in net.layers:
        pool = layer.pool
        if pool is not None and pool.kind == "sum":
            rows, columns = pool.windows(*net.conv_shapes[layer.name][1:])
            if {len(r) for r in rows} != {pool.kernel[0]} or {len(c) for c in columns} != {pool.kernel[1]}:
                raise OneSpikeError(
                    f"Layer {layer.name!r}: the engine sums whole pooling windows only; drop the pool's padding or "
                    f"ceil_mode."
                )

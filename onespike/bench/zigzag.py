# SPDX-License-Identifier: Apache-2.0
"""A second opinion on the dense rival: ZigZag (KU Leuven, PyPI zigzag-dse) maps the same layers onto the same array.

    python -m onespike.bench.zigzag NET.spike --lanes 16

The array is one bank: L lanes that share a value and take a row of L weights each cycle, with the accumulators in
registers, and memories at the prices of `energy.MEMORY_TABLE`. Other banks do the same for other pixels, so energy does
not depend on their number. ZigZag then chooses the order of the loops: without registers for weights (as in the table,
every row is read for every pixel), and with a register file of R sums a lane, where it may keep a weight for R pixels.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ..hw.config import EngineConfig
from ..model.cost.energy import access, add, estimate, multiply
from ..model.cost.sensitivity import file_pj, reuse
from ..model.errors import OneSpikeError
from ..model.mapping.mapper import fit_config, map_network
from ..model.network.operations import is_copy
from ..model.network.spec import SpikeNet


def workload(net: SpikeNet) -> list[dict[str, Any]]:
    """The network's layers as ZigZag reads them: one convolution for each source with weights."""
    layers: list[dict[str, Any]] = []
    for layer in net.layers:
        _, height, width = net.conv_shapes[layer.name]
        for source in layer.sources:
            if is_copy(source):
                continue
            if source.groups != 1:
                raise OneSpikeError(f"Layer {layer.name!r} has a kernel in groups, which this comparison does not map.")
            outputs, inputs, tall, wide = source.weights.shape
            sizes = {"B": 1, "K": outputs, "C": inputs, "OY": height, "OX": width, "FY": tall, "FX": wide}
            (down, across), (gap_y, gap_x) = source.stride, source.dilation
            layers.append(
                {
                    "id": len(layers),
                    "name": f"{layer.name}_{source.tensor}",
                    "operator_type": "Conv",
                    "equation": "O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]",
                    "dimension_relations": [f"ix={across}*ox+{gap_x}*fx", f"iy={down}*oy+{gap_y}*fy"],
                    "loop_dims": list(sizes),
                    "loop_sizes": list(sizes.values()),
                    "operand_precision": {"W": 8, "I": 8, "O": 32, "O_final": 8},
                    "operand_source": {"I": len(layers), "W": len(layers)},
                }
            )
    return layers


def accelerator(config: EngineConfig, sums: int) -> dict[str, Any]:
    """One bank with a file of so many sums in each lane, and with `sums` > 1 a register for its weight."""
    lanes, acc = config.lanes, config.acc_bits
    word = access(config.spike_depth * config.word_bits) * 8
    row = access(config.weight_depth * lanes * 8) * 8 * lanes
    held = file_pj(sums, acc) * acc
    file = _memory(sums * 32, 32, held, ["O"], [["O, fh", "O, tl", "O, fl", "O, th"]], [])
    memories = {
        "file": file,
        "weights": _memory(1 << 24, 8 * lanes, row, ["I2"], [["I2, tl"]], ["D1"]),
        "values": _memory(1 << 26, 8, word, ["I1", "O"], [["I1, tl", "O, fh", "O, tl", "O, fl", "O, th"]], ["D1"]),
    }
    if sums > 1:
        register = _memory(8, 8, 0.0, ["I2"], [["I2, fh", "I2, tl"]], [])
        memories = {"register": register, **memories}
    array = {"unit_energy": multiply(8, 8) + add(acc), "unit_area": 1, "dimensions": ["D1"], "sizes": [lanes]}
    return {"name": "bank", "memories": memories, "operational_array": {"input_precision": [8, 8], **array}}


def _memory(
    bits: int, width: int, pj: float, operands: list[str], ports: list[list[str]], served: list[str]
) -> dict[str, Any]:
    """A memory as ZigZag reads it, whose accesses of `width` bits cost `pj`; ports that read and write."""
    port = {"type": "read_write", "bandwidth_min": width, "bandwidth_max": width}
    return {
        "size": bits, "r_cost": pj, "w_cost": pj, "area": 0, "latency": 1, "auto_cost_extraction": False,
        "operands": operands, "served_dimensions": served,
        "ports": [{"name": f"rw_port_{i + 1}", **port, "allocation": p} for i, p in enumerate(ports)],
    }  # fmt: skip


def second_opinion(net: SpikeNet, config: EngineConfig, sums: int, folder: Path) -> tuple[float, float]:
    """uJ and MACs of an image of the dense network. OneSpikeError where ZigZag is missing."""
    try:
        import yaml  # type: ignore[import-untyped]
        from zigzag.api import get_hardware_performance_zigzag  # type: ignore[import-not-found]
    except ImportError as error:
        raise OneSpikeError("The second opinion needs ZigZag: run `pip install zigzag-dse`.") from error
    layers = workload(net)
    mapping = [
        {"name": "default", "spatial_mapping": {"D1": [f"K, {config.lanes}"]},
         "memory_operand_links": {"O": "O", "W": "I2", "I": "I1"}}
    ]  # fmt: skip
    files = {"workload": layers, "bank": accelerator(config, sums), "mapping": mapping}
    for name, contents in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(contents, sort_keys=False))
    pj, *_ = get_hardware_performance_zigzag(
        str(folder / "workload.yaml"), str(folder / "bank.yaml"), str(folder / "mapping.yaml"), opt="energy",
        dump_folder=str(folder / "out"), pickle_filename=str(folder / "out.pickle"), loma_show_progress_bar=False,
    )  # fmt: skip
    macs = sum(_product(layer["loop_sizes"]) for layer in layers)
    return pj * 1e-6, macs


def _product(sizes: list[int]) -> int:
    result = 1
    for size in sizes:
        result *= size
    return result


def main() -> None:
    """Print one line for each number of sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", type=Path, metavar="NET.spike")
    parser.add_argument("--banks", type=int, default=4)
    parser.add_argument("--lanes", type=int, default=16)
    parser.add_argument("--sums", type=int, nargs="+", default=[1, 8])
    args = parser.parse_args()
    net = SpikeNet.load(args.net)
    config = fit_config(net, EngineConfig(banks=args.banks, lanes=args.lanes, fire_lanes=min(8, args.lanes)))
    black = np.zeros((1, *net.image.shape), np.uint8)  # a dense array does the same whatever it sees
    dense = estimate(map_network(net, config), black)["dense"]
    for sums in args.sums:
        with tempfile.TemporaryDirectory() as folder:
            uj, macs = second_opinion(net, config, sums, Path(folder))
        table = reuse(dense, config.acc_bits, sums).total_uj
        print(f"{sums} sums a lane: ZigZag {uj:.3f} uJ, the table {table:.3f} uJ, {macs:,} MACs")


if __name__ == "__main__":
    main()

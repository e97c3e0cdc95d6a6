# SPDX-License-Identifier: Apache-2.0
"""What published networks cost as integer networks: `python tests/support/published_costs.py [NAME ..]`.

Multiplications and weights of the layers (copies and pools have none) over those of the module's convolutions, linear
layers and adjacency matrices (entries that are not zero); cycles of an engine of 4 x 16 lanes, chosen for the first
image, over the module's multiplications / 64.
"""

import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from onespike.hw.config import EngineConfig
from onespike.model.convert.converter import prepare
from onespike.model.cost.choose import choose_for
from onespike.model.cost.cycles import predict_all
from onespike.model.network.operations import count, is_copy
from published import PUBLISHED, normalised

LANES = 4 * 16


@dataclass(frozen=True, kw_only=True)
class Own:
    """Multiplications and weights of a module for one image."""

    macs: int
    weights: int


def own(module: nn.Module, images: torch.Tensor) -> Own:
    macs = weights = 0
    hooks = []

    def saw(layer: nn.Module, _: object, result: torch.Tensor) -> None:
        nonlocal macs, weights
        fan_in = layer.weight[0].numel() if not isinstance(layer, nn.Linear) else layer.in_features
        macs += result[0].numel() * fan_in
        weights += layer.weight.numel()

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv1d | nn.Linear):
            hooks.append(layer.register_forward_hook(saw))
    with torch.no_grad():
        module(images[:1])
    for hook in hooks:
        hook.remove()
    if isinstance(matrix := getattr(module, "a", None), torch.Tensor):
        edges = int((matrix != 0).sum())
        macs += edges * (module.one.out_features + module.two.out_features)
        weights += edges
    return Own(macs=macs, weights=weights)


def calibration(shape: tuple[int, ...], total: int = 16) -> np.ndarray:
    """Smooth random images."""
    rng = np.random.default_rng(0)
    images = rng.random((total, *shape))
    for axis in range(2, images.ndim):
        images = (images + np.roll(images, 1, axis) + np.roll(images, 2, axis)) / 3
    return images.astype(np.float32)


def measure(name: str, cycles: bool = True, **settings: object) -> dict[str, float]:
    make, shape = PUBLISHED[name]
    images = calibration(shape)
    module = normalised(make(), torch.from_numpy(images))
    module_ = own(module, torch.from_numpy(images))
    start = time.perf_counter()
    made = prepare(module, images[:1], images, groups=15, **settings)
    net = made.net
    seconds = time.perf_counter() - start
    one = net.golden(images[:1], layers=True)
    counted = count(net, one.codes)
    held = sum(source.weights.size for layer in net.layers for source in layer.sources if not is_copy(source))
    row = {
        "layers": len(net.layers), "macs": module_.macs, "x": counted.dense_macs / module_.macs,
        "weights": module_.weights, "wx": held / module_.weights, "seconds": seconds,
    }  # fmt: skip
    if cycles:
        mapping = choose_for(net, EngineConfig(banks=4, lanes=16), one)
        found = predict_all(mapping, one)[0]
        row["cycles"] = sum(layer.total for layer in found)
        row["cx"] = row["cycles"] * LANES / module_.macs
        row["net"], row["layers_"], row["mapping"] = net, found, mapping
    row["counted"], row["made"] = counted, made
    return row


if __name__ == "__main__":
    for name in sys.argv[1:] or PUBLISHED:
        row = measure(name)
        print(f"| {name} | {row['layers']} | {row['macs']:,} | {row['x']:.2f} | {row['weights']:,} | {row['wx']:.2f} | "
              f"{row['cycles']:,} | {row['cx']:.2f} | {row['seconds']:.1f} |", flush=True)

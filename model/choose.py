# SPDX-License-Identifier: Apache-2.0
"""Choosing the slices of every layer with the exact cycle model, and the channels of every slice by measured rate."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..hw.config import EngineConfig
from . import golden
from .codes import spikes
from .cycles import predict_all
from .errors import OneSpikeError
from .external import ExternalMemory, with_memory
from .mapper import Mapping, fit_config, map_network
from .spec import INPUT, SpikeNet


def spike_rates(net: SpikeNet, result: golden.Result, code: str = "radix") -> dict[str, np.ndarray]:
    """Mean spikes per value of each channel of each tensor, in the golden model's codes of some images."""
    return {
        name: spikes(values, "unary" if code == "psg" else code, net.top_code[name]).mean((0, 2, 3))
        for name, values in result.codes.items()
        if name != INPUT
    }


def choose_mapping(
    net: SpikeNet,
    config: EngineConfig,
    codes: np.ndarray,
    *,
    fit: bool = True,
    image_code: str = "auto",
    memory: ExternalMemory | None = None,
) -> Mapping:
    """The mapping with the fewest cycles on the images `codes` uint8 [N, C, H, W] (one or two suffice)."""
    result = golden.run(net, codes, layers=True, trains=config.code == "psg")
    return choose_for(net, config, result, fit=fit, image_code=image_code, memory=memory)


def choose_for(
    net: SpikeNet,
    config: EngineConfig,
    result: golden.Result,
    *,
    fit: bool = True,
    image_code: str = "auto",
    memory: ExternalMemory | None = None,
) -> Mapping:
    """The mapping with the fewest cycles on tensors as the golden model gives them.

    Every number of slices is tried for all layers at once; then each set of layers that must agree (they read the same
    tensor) takes its best. With `fit` the configuration's memories are sized for the result. memory: delivers the
    weights, where they are streamed; waiting for it counts.
    """
    memory = memory or ExternalMemory()
    options: dict[str, Any] = {"rates": spike_rates(net, result, config.code), "image_code": image_code}
    cost: dict[int, np.ndarray] = {}
    refused = ""
    for slices in (2**i for i in range(config.banks.bit_length())):
        try:
            mapping = _mapping(net, config, slices, fit, options)
        except OneSpikeError as error:
            refused = refused or str(error)
            continue
        cost[slices] = _cycles(mapping, result, memory)
    if not cost:
        raise OneSpikeError(refused)
    chosen: dict[str, int] = {}
    for group in _readers(net):
        members = [i for i, layer in enumerate(net.layers) if layer.name in group]
        best = min(cost, key=lambda s: (cost[s][members].sum(), s))
        chosen |= {net.layers[i].name: best for i in members}
    uniform = min(cost, key=lambda s: (cost[s].sum(), s))
    try:
        mixed = _mapping(net, config, chosen, fit, options)
        if _cycles(mixed, result, memory).sum() <= cost[uniform].sum():
            return mixed
    except OneSpikeError:
        pass  # each layer's best does not fit together; the best single choice does
    return _mapping(net, config, uniform, fit, options)


def _mapping(
    net: SpikeNet, config: EngineConfig, slices: int | dict[str, int], fit: bool, options: dict[str, Any]
) -> Mapping:
    if fit:
        config = fit_config(net, config, slices=slices, **options)
    return map_network(net, config, slices=slices, **options)


def _cycles(mapping: Mapping, result: golden.Result, memory: ExternalMemory) -> np.ndarray:
    """Cycles of every layer of the network, all images together."""
    found = np.zeros(len(mapping.net.layers), int)
    for image in with_memory(mapping, predict_all(mapping, result), memory):
        for mapped, layer in zip(mapping.layers, image, strict=True):
            found[mapped.index] += layer.total
    return found


def _readers(net: SpikeNet) -> list[set[str]]:
    """Sets of layers that must have equal slices, because they read a common tensor."""
    groups: list[tuple[set[str], set[str]]] = []  # layers, tensors
    for layer in net.layers:
        layers, tensors = {layer.name}, {source.tensor for source in layer.sources}
        for other in [g for g in groups if g[1] & tensors]:
            groups.remove(other)
            layers |= other[0]
            tensors |= other[1]
        groups.append((layers, tensors))
    return [layers for layers, _ in groups]

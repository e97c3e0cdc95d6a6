# SPDX-License-Identifier: Apache-2.0
"""How many words the banks' spike memories need, and what fills them where an engine has too few."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...hw.config import EngineConfig
from ..errors import OneSpikeError
from ..network.spec import INPUT, SpikeNet
from .layout import TensorLayout

SHOWN = 4  # tensors that the sentence names


def spike_words(tensors: Mapping[str, TensorLayout], image_double: bool) -> int:
    """Words of each bank's spike memory."""
    return max(t.base + _words(t, image_double) for t in tensors.values())


def what_fills(
    net: SpikeNet,
    config: EngineConfig,
    tensors: Mapping[str, TensorLayout],
    image_double: bool,
    needs: Callable[[int], int],
) -> str:
    """Which tensors live at once where they need most, in KiB of all banks, and whether other slices need less.

    needs: words of each bank with so many slices in every layer; OneSpikeError where there is no such mapping.
    """
    index = {layer.name: number for number, layer in enumerate(net.layers)}
    first = {name: index.get(name, 0) for name in tensors}
    last = {s.tensor: number for number, layer in enumerate(net.layers) for s in layer.sources} | {INPUT: len(index)}
    alive = [[name for name in tensors if first[name] <= at <= last[name]] for at in range(len(net.layers))]
    words = {name: _words(t, image_double) for name, t in tensors.items()}
    fullest = max(range(len(alive)), key=lambda at: sum(words[name] for name in alive[at]))
    found = sorted(alive[fullest], key=lambda name: -words[name])
    shown = [f"{name!r} {'x'.join(map(str, net.shapes[name]))} {_kib(config, words[name])}" for name in found[:SHOWN]]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    needed = spike_words(tensors, image_double)
    return (
        f"While layer {net.layers[fullest].name!r} computes, {', '.join(shown)}{more} live at once; all banks together "
        f"need {_kib(config, needed)} and have {_kib(config, config.spike_depth)}. {_way_out(config, needed, needs)}"
    )


def _way_out(config: EngineConfig, needed: int, needs: Callable[[int], int]) -> str:
    """What mapping with other slices comes to, which deal the channels to more banks: tried one by one."""
    tried: dict[int, int] = {}
    for slices in (1 << i for i in range(config.banks.bit_length())):
        try:
            tried[slices] = needs(slices)
        except OneSpikeError:
            continue
        if tried[slices] <= config.spike_depth:
            return f"With slices = {slices} in every layer it is enough."
    least = min(tried, key=lambda slices: tried[slices], default=0)
    if not tried or tried[least] >= needed:
        return "No other slices need less; counts of fewer groups or smaller images do."
    return (
        f"Most of that is saved by slices = {least} in every layer, which need spike_depth = {tried[least]} "
        f"({_kib(config, tried[least])}); counts of fewer groups or smaller images need less."
    )


def _words(tensor: TensorLayout, image_double: bool) -> int:
    return tensor.size * (2 if tensor.name == INPUT and image_double else 1)


def _kib(config: EngineConfig, words: int) -> str:
    """So many words of every bank, as KiB of all of them."""
    kib = config.banks * words * config.word_bits / 8192
    return f"{kib:,.0f} KiB" if kib >= 10 else f"{kib:.1f} KiB"

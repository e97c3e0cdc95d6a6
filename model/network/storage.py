# SPDX-License-Identifier: Apache-2.0
"""How an engine that writes values in binary holds each tensor: by the least and largest value, or by its table.

| values of a hidden tensor                                          | code, field                        |
|--------------------------------------------------------------------|------------------------------------|
| counts 0..top                                                      | radix                              |
| with a sign, at least -128, at most 127                            | twos, 4 bits (-8..7) or 8          |
| a table of at most 16 levels, none with more terms than a digit    | levels, 4 bits                     |
| the same of at most 31, none below 0, where lanes only add         | levels, 8 bits                     |
| another table, 0..255 or -128..127                                 | signed or twos, 8 bits: the level  |

A sum pool adds levels: what it makes are counts again.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import OneSpikeError
from . import codes
from .spec import Layer, SpikeNet


@dataclass(frozen=True)
class Storage:
    """A code of `codes.py` for values up to top; levels: of the levels code alone."""

    code: str
    top: int
    levels: tuple[int, ...] = ()

    @property
    def field(self) -> int:
        """Bits of a value."""
        return codes.field_width(self.code, self.top, self.levels)


def held(net: SpikeNet, layer: Layer, code: str, multiples: tuple[int, ...]) -> Storage:
    """How an engine of this code, not only a binary one, holds the output of a layer that fires."""
    return hidden(net, layer, multiples) if code == "radix" else Storage(code, net.top_code[layer.name])


def hidden(net: SpikeNet, layer: Layer, multiples: tuple[int, ...]) -> Storage:
    """How the output of a layer that fires is held; OneSpikeError, by layer and value, where it cannot be."""
    low, top = net.ranges[layer.name]
    summed = layer.pool is not None and layer.pool.kind == "sum"
    if layer.levels is not None and not summed:
        levels = layer.levels.levels
        hard = [level for level in levels if codes.level_terms(level, multiples) is None]
        wide = codes.MOST_NUMBERS if low >= 0 and not codes.multiplies(multiples) else 0
        if len(levels) <= max(1 << codes.CHUNK, wide) and not hard:
            return Storage("levels", top, levels)
        if not (low >= 0 and top <= 255) and not (low >= -128 and top <= 127):
            why = f"{len(levels)} levels are more than the {1 << codes.CHUNK} of a 4-bit field"
            if len(levels) <= 1 << codes.CHUNK:
                most = codes.most_terms(multiples)
                why = f"the level {hard[0]} needs more than the {most} events of an engine with multiples {multiples}"
            raise OneSpikeError(
                f"Layer {layer.name!r}: {why}, and {low}..{top} fit no 8-bit field (0..255, or -128..127); use fewer, "
                f"smaller or simpler levels."
            )
        if low >= 0:
            return Storage("signed", top)
    if low < 0:
        if low < -128 or top > 127:
            what = "a sum pool's values" if summed else "values"
            raise OneSpikeError(
                f"Layer {layer.name!r}: {what} in {low}..{top} do not fit the 8 bits (-128..127) of a value with a "
                f"sign; use fewer groups{', or a smaller pool' if summed else ''}."
            )
        return Storage("twos", 7 if low >= -8 and top <= 7 else 127)
    return Storage("radix", top)

# SPDX-License-Identifier: Apache-2.0
"""Larger maps: every place of a tensor becomes a field of places, which hold its value, or zeros but for the first.

The first is nearest upsampling, the second what a transposed convolution reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import OneSpikeError

if TYPE_CHECKING:
    from .source import Source
    from .spec import SpikeNet

MOST_UP = 16  # places along each side


def spread(values: np.ndarray, source: Source, first: int = 1) -> np.ndarray:
    """The map that a source reads of a tensor's, whose axes `first` and the next are height and width."""
    if source.up == (1, 1):
        return values
    if source.held:
        return values.repeat(source.up[0], first).repeat(source.up[1], first + 1)
    shape = list(values.shape)
    shape[first], shape[first + 1] = shape[first] * source.up[0], shape[first + 1] * source.up[1]
    found = np.zeros(shape, values.dtype)
    found[(slice(None),) * first + (slice(None, None, source.up[0]), slice(None, None, source.up[1]))] = values
    return found


def require_size(net: SpikeNet, what: str) -> None:
    """OneSpikeError, about `what`, where a layer of the network makes a map larger."""
    for layer in net.layers:
        if any(source.up != (1, 1) for source in layer.sources):
            raise OneSpikeError(
                f"{what} cannot hold layer {layer.name!r}, which makes a map larger; take the .spike file, or end the "
                f"network before it."
            )

# SPDX-License-Identifier: Apache-2.0
"""Damaged memories and stuck layers, in a whole engine whose host is played."""

import dataclasses

import numpy as np
import pytest

from onespike.hw.engine.faults import FAULTS
from onespike.hw.engine.load import stored_widths
from onespike.model.cost.cycles import predict_all
from onespike.model.machine.parity import with_parity
from onespike.model.mapping.images import memory_images
from onespike.model.mapping.mapper import map_network
from onespike.model.network import golden
from played_engine import Played, kept_memories
from small_engine import SMALL, small_net

NET = small_net(1, 12, 12, 5, 8)
CODES = np.random.default_rng(0).integers(0, 256, (2, 1, 12, 12), dtype=np.uint8)
RIGHT = NET.golden(CODES).tolist()


def longest(mapping) -> int:
    """Cycles of the longest layer."""
    images = predict_all(mapping, golden.run(NET, CODES, layers=True))
    return max(layer.cycles for image in images for layer in image)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_layer_that_is_too_long(more: int) -> None:
    """By one cycle, it is given up: no logit comes, whatever is offered, until `enable` falls; then images are right."""
    net, config = NET, dataclasses.replace(SMALL, watchdog=longest(map_network(NET, SMALL)) + more)
    mapping = map_network(net, config)
    played = Played(config)

    async def play(ctx):
        await played.load(ctx, mapping)
        await played.image(ctx, mapping, CODES[0])
        logits = await played.answer(ctx, 5)
        if more >= 0:
            assert (logits, played.faults(ctx)) == (RIGHT[0], set())
            return
        assert (logits, played.faults(ctx)) == ([], {"watchdog"})
        ctx.set(played.dut.image.valid, 1)
        for _ in range(300):
            await played.tick(ctx)
            assert not ctx.get(played.dut.image.ready) and not played.logits
        ctx.set(played.dut.image.valid, 0)
        await played.stop(ctx)
        assert played.faults(ctx) == set()

    played.run(play)

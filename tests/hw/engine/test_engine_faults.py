# SPDX-License-Identifier: Apache-2.0
"""Damaged memories and stuck layers, in a whole engine whose host is played."""

import dataclasses

import numpy as np
import pytest

from onespike.hw.engine.load import stored_widths
from onespike.hw.program import WORD, header_words, layer_fields, layer_words, layout
from onespike.model.cost.cycles import predict_all
from onespike.model.mapping.images import load_words, memory_images
from onespike.model.mapping.mapper import map_network
from onespike.model.network import golden
from onespike.model.network.spec import INPUT
from played_engine import Played, kept_memories
from small_engine import SMALL, small_net

ENGINE = dataclasses.replace(SMALL, spike_depth=256, weight_depth=512)
NET = small_net(1, 12, 12, 5, 8)
SHORT = small_net(1, 8, 6, 5, 8)
CODES = np.random.default_rng(0).integers(0, 256, (2, 1, 12, 12), dtype=np.uint8)
EMPTY = np.zeros_like(CODES[0])
RIGHT = NET.golden(CODES).tolist()


def longest(mapping) -> int:
    """Cycles of the longest layer."""
    images = predict_all(mapping, golden.run(NET, CODES, layers=True))
    return max(layer.cycles for image in images for layer in image)


def test_a_layer_that_is_one_cycle_too_long() -> None:
    """It is given up: nothing comes, nothing is taken, until `enable` falls; an image with less to do is right then."""
    config = dataclasses.replace(ENGINE, watchdog=longest(map_network(NET, ENGINE)) - 1)
    mapping, played = map_network(NET, config), Played(config)

    async def play(ctx):
        await played.load(ctx, mapping)
        await played.image(ctx, mapping, CODES[0])
        await played.image(ctx, mapping, CODES[1])
        assert (await played.answer(ctx, 5), played.faults(ctx)) == ([], {"watchdog"})
        ctx.set(played.dut.image.valid, 1)
        for _ in range(300):
            await played.tick(ctx)
            assert not ctx.get(played.dut.image.ready) and not played.logits
        ctx.set(played.dut.image.valid, 0)
        await played.stop(ctx)
        assert played.faults(ctx) == set()
        ctx.set(played.dut.enable, 1)
        await played.image(ctx, mapping, EMPTY)
        assert (await played.answer(ctx, 5), played.faults(ctx)) == (NET.golden(EMPTY[None])[0].tolist(), set())

    played.run(play)


def test_a_layer_as_long_as_may_be() -> None:
    """Nor does it matter how long the host takes. Of a program with a job too many, no layer ends; loaded again, it is
    right."""
    config = dataclasses.replace(ENGINE, watchdog=longest(map_network(NET, ENGINE)))
    mapping, played = map_network(NET, config), Played(config)
    images = memory_images(mapping)
    pixels = header_words(config) * WORD + layout(layer_fields(config))["pixels"].offset
    images.program[pixels // WORD] ^= 1 << pixels % WORD
    damaged = load_words(images, config)

    async def play(ctx):
        await played.load(ctx, mapping)
        await played.image(ctx, mapping, CODES[0], pause=6)
        assert (await played.answer(ctx, 5), played.faults(ctx)) == (RIGHT[0], set())
        played.takes = False
        await played.image(ctx, mapping, CODES[1])
        for _ in range(config.watchdog + 100):
            await played.tick(ctx)
        played.takes = True
        assert (await played.answer(ctx, 5), played.faults(ctx)) == (RIGHT[1], set())
        await played.load(ctx, mapping, damaged)
        await played.image(ctx, mapping, CODES[0])
        assert (await played.answer(ctx, 5), played.faults(ctx)) == ([], {"watchdog"})
        await played.load(ctx, mapping)
        await played.image(ctx, mapping, CODES[0])
        assert (await played.answer(ctx, 5), played.faults(ctx)) == (RIGHT[0], set())

    played.run(play)


def test_a_bit_in_every_memory(monkeypatch) -> None:
    """Each memory names itself before the last logit has left, and only until `enable` falls."""
    config = dataclasses.replace(ENGINE, parity=True, tables=1, row_masks=True, mask_depth=128)
    mapping = map_network(SHORT, config)
    images, codes = memory_images(mapping), CODES[:, :, :8, :8]
    right = SHORT.golden(codes).tolist()
    tensor = mapping.tensors[INPUT]
    second = header_words(config) + layer_words(config)  # the record of the last layer
    depths = {"program": config.program_depth, "channels": config.channel_depth, "tables": config.table_rows,
              "weights": config.weight_depth, "masks": config.mask_depth}  # fmt: skip
    places = {"program": second, "rows": len(images.rows) - 1, "columns": len(images.columns) - 1}
    widths = stored_widths(config) | {"spikes": config.stored_bits(config.word_bits)}
    played = Played(config)

    def damage(ctx, kind: str) -> None:
        depth = config.spike_depth if kind == "spikes" else depths.get(kind, config.walk_depth)
        alike = [memory for memory in memories if (memory.shape, memory.depth) == (widths[kind], depth)]
        memory = alike[kind == "columns" and widths["columns"] == widths["rows"]]
        rows = range(2 * tensor.size) if kind == "spikes" else [places.get(kind, 0)]
        bit = 0 if kind in ("spikes", "weights") else widths[kind] - 1  # a wrong program may stop everything
        for row in rows:
            ctx.set(memory.data[row], ctx.get(memory.data[row]) ^ 1 << bit)

    async def play(ctx):
        await played.load(ctx, mapping)
        await played.image(ctx, mapping, codes[0])
        assert (await played.answer(ctx, 5), played.faults(ctx)) == (right[0], set())
        for kind in widths:
            if kind != "spikes":
                damage(ctx, kind)
                await played.image(ctx, mapping, codes[1])
            else:
                await played.image(ctx, mapping, codes[1], before_last=lambda: damage(ctx, "spikes"))
            logits = await played.answer(ctx, 5)
            assert played.faults(ctx) == {kind} and len(logits) == 5
            assert logits == right[1] or kind in ("spikes", "weights")
            if kind != "spikes":
                damage(ctx, kind)
            await played.stop(ctx)
            assert played.faults(ctx) == set()
            ctx.set(played.dut.enable, 1)
        await played.image(ctx, mapping, codes[0])
        assert (await played.answer(ctx, 5), played.faults(ctx)) == (right[0], set())

    with kept_memories(monkeypatch) as memories:
        played.run(play)


@pytest.mark.parametrize("interval", [None, pytest.param(20, marks=pytest.mark.slow), 300])
def test_external_memory_that_is_slow_or_never_answers(interval: int | None) -> None:
    """A beat now and then is progress, however long it takes in all; none for so many cycles ends the image."""
    config = dataclasses.replace(ENGINE, external_weights=32, burst=4, bursts=2, watchdog=256)
    mapping = map_network(SHORT, config)
    beats, codes = memory_images(mapping).external, CODES[:1, :, :8, :8]
    assert 20 * len(beats) > 4 * config.watchdog
    played = Played(config, patience=60_000)
    wanted: list[int] = []
    waits, taken = False, False  # the request of the cycle before

    async def memory(ctx):
        nonlocal waits, taken
        dut, ready, valid = played.dut, played.cycle % 3 > 0, bool(ctx.get(played.dut.m_axi_arvalid))
        assert valid or not waits, "a request was withdrawn"
        assert not (valid and taken), "a request that had been taken was offered again"
        waits, taken = valid and not ready, valid and ready
        if taken:
            first = (ctx.get(dut.m_axi_araddr) - 0x1000) // 4
            wanted.extend(range(first, first + ctx.get(dut.m_axi_arlen) + 1))
        ctx.set(dut.m_axi_arready, ready)
        given = interval is not None and played.cycle % interval == 0 and bool(wanted)
        ctx.set(dut.m_axi_rvalid, given)
        if given:
            ctx.set(dut.m_axi_rdata, beats[wanted.pop(0)])

    async def play(ctx):
        played.each = memory
        ctx.set(played.dut.weight_address, 0x1000)
        await played.load(ctx, mapping)
        await played.image(ctx, mapping, codes[0])
        if interval == 20:
            assert (await played.answer(ctx, 5, 50_000), played.faults(ctx)) == (SHORT.golden(codes)[0].tolist(), set())
        else:
            assert (await played.answer(ctx, 5, 50_000), played.faults(ctx)) == ([], {"watchdog"})
            assert not ctx.get(played.dut.m_axi_arvalid) or wanted  # what has been asked for stands

    played.run(play)

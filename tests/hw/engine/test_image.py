# SPDX-License-Identifier: Apache-2.0
import random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from blocks import pattern, random_bits, random_mapping
from onespike.hw.config import EngineConfig
from onespike.hw.engine.image import ImageLoader
from onespike.hw.program import header_fields, layout
from onespike.model.machine.walk import records
from onespike.model.mapping.images import image_beats, memory_images
from onespike.model.network.codes import encode
from onespike.sim.stream import run_pipeline, run_stream


class Harness(wiring.Component):
    """The loader with the write port blocked, and waiting images taken, as patterns say."""

    def __init__(self, config: EngineConfig, blocked: list[int], takes: list[int]):
        self.config, self.blocked, self.takes = config, blocked, takes
        write = {"address": config.spike_addr_bits, "data": config.word_bits, "slice": 6, "blocked": 1}
        super().__init__(
            {
                "header": In(layout(header_fields(config))),
                "image": In(stream.Signature(config.word_bits)),
                "writes": Out(stream.Signature(data.StructLayout(write), always_ready=True)),
                "taken": Out(stream.Signature(1, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.loader = dut = ImageLoader(self.config)
        wiring.connect(m, wiring.flipped(self.image), dut.image)
        write = self.writes.payload
        m.d.comb += [
            dut.header.eq(self.header),
            dut.ready.eq(1),
            dut.blocked.eq(~pattern(m, "blocked", [1 - bit for bit in self.blocked])),
            dut.begun.eq(dut.available & pattern(m, "takes", self.takes)),
            dut.taken.eq(dut.begun),
            self.writes.valid.eq(dut.enable),
            write.address.eq(dut.address),
            write.data.eq(dut.data),
            write.slice.eq(dut.slice),
            write.blocked.eq(dut.blocked),
            self.taken.valid.eq(dut.taken),
        ]
        return m


def header(*, slices=1, double=1, words=1, base=0, stride=None) -> dict[str, int]:
    values = {
        "image_slices": slices - 1, "image_double": double, "image_words": words - 1,
        "image_base": base, "image_stride": words if stride is None else stride,
    }  # fmt: skip
    return dict.fromkeys(header_fields(EngineConfig()), 0) | values


def golden(config: EngineConfig, head: dict[str, int], images: list[list[int]]) -> list[tuple[int, int, int]]:
    """Writes (address, data, slice) of beats, in order: slice by slice, into one buffer and the other."""
    writes = []
    words = head["image_words"] + 1
    for number, beats in enumerate(images):
        base = head["image_base"] + (head["image_stride"] if head["image_double"] and number & 1 else 0)
        assert len(beats) == words * (head["image_slices"] + 1)
        for place, beat in enumerate(beats):
            writes.append((base + place % words, beat, place // words))
    return writes


def rtl(config, head, images, *, blocked=(), takes=(), **options):
    """Writes, and the cycles in which beats came, words were written, images were taken."""
    beats = [beat for image in images for beat in image]
    harness = Harness(config, list(blocked), list(takes))
    stamps = run_stream(
        harness, {"image": beats}, {"writes": len(beats), "taken": len(images)}, stamps=True,
        fixed={"header": head}, **options,
    )  # fmt: skip
    payloads = [t.payload for t in stamps["writes"]]
    assert not any(p.blocked for p in payloads), "wrote into a blocked port"
    cycles = {name: [t.cycle for t in transfers] for name, transfers in stamps.items()}
    return [(p.address, p.data, p.slice) for p in payloads], cycles


@pytest.mark.parametrize("double", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_random(double, seed):
    """Several images, gaps in the stream, a blocked port, images taken late: every word goes to its place once."""
    rng = random.Random(str((double, seed)))
    config = EngineConfig(word_bits=rng.choice([16, 32]), spike_depth=100)
    slices, words = rng.choice([1, 2, 4]), rng.randint(1, 9)
    head = header(slices=slices, double=double, words=words, base=rng.randrange(50))
    images = [[rng.getrandbits(config.word_bits) for _ in range(slices * words)] for _ in range(5)]
    blocked, takes = random_bits(rng, 600, 0.4), random_bits(rng, 600, 0.03)
    writes, cycles = rtl(config, head, images, blocked=blocked, takes=takes, seed=seed, stall=rng.choice([0, 0.5]))
    assert writes == golden(config, head, images)
    # A word is written in the cycle of its beat; the buffer is only written once its image has been taken.
    assert cycles["writes"] == cycles["image"]
    size, buffers = slices * words, 1 + double
    for number in range(buffers, len(images)):
        assert cycles["writes"][number * size] > cycles["taken"][number - buffers]
    for number, cycle in enumerate(cycles["taken"]):
        assert cycle > cycles["writes"][(number + 1) * size - 1]


@pytest.mark.parametrize("double", [0, 1])
def test_throughput_and_buffers(double):
    """A word in every cycle, until all buffers are full; the cycle after an image was taken, on again."""
    config = EngineConfig(word_bits=16, spike_depth=100)
    images = [[i * 10 + j for j in range(6)] for i in range(4)]
    takes = [0] * 40 + [1] + [0] * 39 + [1] * 60
    head = header(double=double, words=3, slices=2)
    writes, cycles = rtl(config, head, images, takes=takes, stall=0)
    assert writes == golden(config, head, images)
    ahead = 6 * (1 + double)
    assert cycles["image"][: ahead + 1] == [*range(ahead), 41]
    assert cycles["image"][ahead : ahead + 6] == list(range(41, 47))


def test_taken_while_the_next_one_ends():
    """Images of one word, each taken in the cycle in which the next one is written."""
    config = EngineConfig(word_bits=16, spike_depth=16)
    head = header(words=1, base=3)
    images = [[i] for i in range(6)]
    writes, cycles = rtl(config, head, images, stall=0)
    assert writes == golden(config, head, images)
    assert cycles["writes"] == list(range(6)) and cycles["taken"] == list(range(1, 7))


def test_not_ready_starts_over():
    """While the header is unknown nothing is taken, and what was loaded is forgotten."""
    config = EngineConfig(word_bits=16, spike_depth=16)
    head = header(words=2, base=4)
    # One image and a half; not ready for two cycles; then images into both buffers, from the first one on.
    ready = [1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1]
    valid = [1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1]
    inputs = {"header": [head] * 11, "ready": ready, "image": [5] * 11, "image_valid": valid}

    class Flat(wiring.Component):
        header: In(layout(header_fields(config)))
        ready: In(1)
        image: In(16)
        image_valid: In(1)
        enable: Out(1)
        address: Out(4)
        available: Out(1)

        def elaborate(self, platform):
            m = Module()
            m.submodules.loader = dut = ImageLoader(config)
            m.d.comb += [dut.header.eq(self.header), dut.ready.eq(self.ready)]
            m.d.comb += [getattr(self, n).eq(getattr(dut, n)) for n in ("enable", "address", "available")]
            m.d.comb += [dut.image.payload.eq(self.image), dut.image.valid.eq(self.image_valid)]
            return m

    out = run_pipeline(Flat(), inputs, ["enable", "address", "available"])
    assert out["enable"] == [1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 0]
    assert [a for a, e in zip(out["address"], out["enable"], strict=True) if e] == [4, 5, 6, 4, 5, 6, 7]
    assert out["available"] == [0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("seed", range(4))
def test_beats_of_a_network(seed):
    """`image_beats` through the loader is the image as the mapper lays it out, border included."""
    rng = random.Random(seed)
    mapping = random_mapping(rng)
    image = mapping.tensors["input"]
    shape = mapping.net.image.shape
    codes = np.random.default_rng(seed).integers(0, 1 << mapping.net.image.bits, (2, *shape)).astype(np.uint8)
    head, _ = records(mapping.config, memory_images(mapping).program)
    writes, _ = rtl(mapping.config, head, image_beats(mapping, codes).tolist())
    unroll = image.unroll
    left, right = image.pad[2:] if unroll is None else (unroll.left, unroll.right)
    padded = np.empty((2, shape[0], image.height, shape[2] + left + right), np.int64)
    padded[:] = np.array(mapping.net.image.pad_code).reshape(1, -1, 1, 1)
    padded[:, :, image.pad[0] : image.height - image.pad[1], left : left + shape[2]] = codes
    stored = padded if unroll is None else unroll.values(padded)
    for number, fields in enumerate(encode(stored - image.offset, image.code, image.top)):
        words = image.pack(fields, mapping.config.word_bits)
        expected = [
            (image.base + number * image.size + place, int(word), s)
            for s, part in enumerate(words)
            for place, word in enumerate(part.reshape(-1))
        ]
        size = len(writes) // 2
        assert writes[number * size : (number + 1) * size] == expected

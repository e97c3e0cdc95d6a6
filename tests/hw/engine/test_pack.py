# SPDX-License-Identifier: Apache-2.0
import random

import numpy as np
import pytest
from amaranth.hdl import Const

from blocks import random_mapping
from onespike.hw.config import EngineConfig
from onespike.hw.engine.drain import code_width
from onespike.hw.engine.pack import Pack, slice_mask
from onespike.hw.program import layer_fields
from onespike.model.machine.pack import Write, pack
from onespike.model.machine.walk import records
from onespike.model.mapping.images import expected_writes, memory_images
from onespike.model.network.codes import encode
from onespike.sim.stream import run_pipeline


def rtl(config: EngineConfig, layers, *, gap: float = 0, seed: int = 0) -> tuple[list[list[Write]], list[int]]:
    """Writes of each (record, codes [pixels, places]) in turn, and the cycles of `done`.

    Rows come as fast as the drain lets them: as many cycles apart as F codes fill words.
    """
    rng = random.Random(seed)
    width = config.fire_lanes
    blank = [0] * width
    idle = dict.fromkeys(("row", "first", "last", "row_last", "layer_last"), 0)
    steps: list[tuple] = []
    borders, ends = [], []
    for record, codes in layers:
        borders.append(len(steps))
        steps.append((record, 1, 0, blank, idle))
        for pixel, values in enumerate(codes):
            rows = len(values) // width
            for row in range(rows):
                while rng.random() < gap:
                    noise = [rng.getrandbits(code_width(config)) for _ in range(width)]
                    steps.append((record, 0, 0, noise, idle | {"row_last": 1, "layer_last": 1}))
                tag = idle | {"row": row, "first": 1, "last": 1, "row_last": row == rows - 1}
                tag["layer_last"] = int(row == rows - 1 and pixel == len(codes) - 1)
                steps.append((record, 0, 1, list(values[row * width : (row + 1) * width]), tag))
                for _ in range(record["dest_group_words"]):
                    noise = [rng.getrandbits(code_width(config)) for _ in range(width)]
                    steps.append((record, 0, 0, noise, idle | {"row_last": rng.getrandbits(1)}))
        ends.append(len(steps) - 1)
        steps += [(record, 0, 0, blank, idle)] * 3
    names = ("layer", "start", "valid", "codes", "tag")
    inputs = {name: [step[i] for step in steps] for i, name in enumerate(names)}
    ports = ["enable", "address", "data", "slice", "done"]
    out = run_pipeline(Pack(config), inputs, ports, latency=1)
    rows = list(zip(*(out[port] for port in ports), strict=True))
    writes = [
        [Write(address, data, number) for enable, address, data, number, _ in rows[start:stop] if enable]
        for start, stop in zip(borders, [*borders[1:], len(rows)], strict=True)
    ]
    done = [cycle for cycle, row in enumerate(rows) if row[4]]
    assert done == ends
    return writes, done


def physical(layer, fields: np.ndarray, rng: random.Random, top: int) -> list[list[int]]:
    """Codes as they come from the fire units: places that hold no channel are 0, those after the slices are noise."""
    flat = fields.reshape(len(fields), -1).T.tolist()
    kept = len(layer.output.order)

    def place(pixel: list[int], index: int, channel: int) -> int:
        stored = pixel[channel] if channel >= 0 else 0
        return stored if index < kept else rng.randrange(top)

    return [[place(pixel, i, c) for i, c in enumerate(layer.order)] for pixel in flat]


@pytest.mark.parametrize("code", ["radix", "unary"])
@pytest.mark.parametrize("seed", range(6))
def test_mapped_layers(code, seed):
    """The writes of all layers of a random network: RTL, golden function and memory images agree."""
    rng = random.Random(seed)
    mapping = random_mapping(rng, code=code)
    config = mapping.config
    fields = {}
    for name, tensor in mapping.tensors.items():
        count = (sum(c >= 0 for c in tensor.order), tensor.height, tensor.width)
        values = [rng.choice([0, tensor.top, rng.randint(0, tensor.top)]) for _ in range(int(np.prod(count)))]
        fields[name] = encode(np.array(values).reshape(count), tensor.code, tensor.top)
    _, program = records(config, memory_images(mapping).program)
    expected = list(expected_writes(mapping, {name: f[None] for name, f in fields.items()}, 0))
    layers = []
    for layer, record in zip(mapping.layers[:-1], program, strict=False):
        codes = physical(layer, fields[layer.layer.name], rng, 1 << code_width(config))
        layers.append((record.layer, codes))
    writes, _ = rtl(config, layers, gap=rng.choice([0, 0.4]), seed=seed)
    for (record, codes), got, wanted in zip(layers, writes, expected, strict=True):
        golden = pack(config, record, codes)
        assert golden == [Write(*row) for row in wanted.tolist()]
        assert got == golden


FIELDS = [(16, 1, 2), (16, 2, 0), (16, 2, 3), (16, 4, 1), (16, 4, 2)]
FIELDS += [(32, 4, 3), (32, 2, 4), (32, 1, 5), (32, 8, 2), (32, 4, 0)]
FIELDS += [(16, 2, 4), (16, 4, 3), (16, 8, 4), (32, 2, 5), (32, 16, 2), (32, 8, 5)]  # F codes fill several words


@pytest.mark.parametrize(("word_bits", "fire_lanes", "field"), FIELDS)
def test_every_field_width(word_bits, fire_lanes, field):
    """Words that are filled, partly filled and one short, two or more slices, padding behind them."""
    rng = random.Random(field)
    config = EngineConfig(word_bits=word_bits, lanes=fire_lanes, fire_lanes=fire_lanes, code="unary", max_code=32,
                          max_groups=32, spike_depth=500)  # fmt: skip
    per_word, parts = max(1, word_bits // (fire_lanes << field)), max(1, (fire_lanes << field) // word_bits)
    layers = []
    for groups, slices, spare in [(1, 1, 0), (per_word, 2, 1), (per_word + 1, 4, 3), (max(1, per_word - 1), 1, 2)]:
        record = dict.fromkeys(layer_fields(config), 0) | {
            "dest_base": rng.randrange(100), "dest_words": -(-groups // per_word) * parts, "dest_field": field,
            "dest_slices": slices - 1, "dest_slice_groups": groups - 1,
            "dest_word_groups": per_word - 1,
            "dest_group_words": parts - 1,
        }  # fmt: skip
        top = min(1 << (1 << field), 1 << code_width(config))
        codes = [[rng.randrange(top) for _ in range((groups * slices + spare) * fire_lanes)] for _ in range(4)]
        layers.append((record, codes))
    writes, _ = rtl(config, layers, gap=0.2, seed=field)
    assert writes == [pack(config, *layer) for layer in layers]


@pytest.mark.parametrize(("word_bits", "fire_lanes", "field"), [(16, 2, 1), (32, 4, 3), (16, 4, 3)])
@pytest.mark.parametrize("slices", [1, 4])
def test_parts_of_a_layer(word_bits, fire_lanes, field, slices):
    """A layer in two parts, cut at every word of every slice, with padding behind the last one: together they write
    what the whole layer writes."""
    rng = random.Random(slices)
    config = EngineConfig(banks=4, word_bits=word_bits, lanes=fire_lanes, fire_lanes=fire_lanes, code="unary",
                          max_code=32, max_groups=32, spike_depth=500, external_weights=32)  # fmt: skip
    per_word, words = max(1, word_bits // (fire_lanes << field)), max(1, (fire_lanes << field) // word_bits)
    groups, spare, top = per_word + 1, per_word + 1, 1 << min(1 << field, code_width(config))
    whole = dict.fromkeys(layer_fields(config), 0) | {
        "dest_base": 17, "dest_words": -(-groups // per_word) * words, "dest_field": field, "dest_slices": slices - 1,
        "dest_slice_groups": groups - 1, "dest_word_groups": per_word - 1, "dest_group_words": words - 1,
        "first_slice_groups": groups - 1,
    }  # fmt: skip
    codes = [[rng.randrange(top) for _ in range((groups * slices + spare) * fire_lanes)] for _ in range(2)]
    layers = [(whole, codes)]
    for slice_, begin in ((s, g) for s in range(slices) for g in range(0, groups, per_word) if s or g):
        cut = (slice_ * groups + begin) * fire_lanes
        rest = {"first_slice": slice_, "first_word": begin // per_word * words,
                "first_slice_groups": groups - begin - 1}  # fmt: skip
        layers += [(whole, [pixel[:cut] for pixel in codes]), (whole | rest, [pixel[cut:] for pixel in codes])]
    writes, _ = rtl(config, layers, gap=0.2, seed=field)
    assert writes == [pack(config, *layer) for layer in layers]
    for first, second in zip(writes[1::2], writes[2::2], strict=True):
        assert sorted(first + second) == sorted(writes[0])


@pytest.mark.parametrize(("max_code", "field"), [(15, 2), (255, 3), (255, 2), (31, 3)])
def test_negative_codes(max_code, field):
    """A field holds the low bits of a code, below zero too; one wider than the code gets copies of its sign."""
    rng = random.Random(field)
    config = EngineConfig(
        word_bits=32, lanes=4, fire_lanes=4, signed_codes=True, max_code=max_code, spike_depth=500, tables=1
    )
    per_word = 32 // (4 << field)
    record = dict.fromkeys(layer_fields(config), 0) | {
        "dest_base": 3, "dest_words": 2, "dest_field": field, "dest_slice_groups": 2 * per_word - 1,
        "dest_word_groups": per_word - 1,
    }  # fmt: skip
    half = 1 << (1 << field) - 1
    low, top = max(-half, -max_code - 1), min(half, max_code)
    codes = [[rng.choice([low, -1, 0, top, rng.randint(low, top)]) for _ in range(8 * per_word)] for _ in range(6)]
    writes, _ = rtl(config, [(record, codes)], gap=0.2)
    assert writes == [pack(config, record, codes)]


def test_the_last_layer_writes_nothing():
    config = EngineConfig(lanes=2, fire_lanes=2)
    record = dict.fromkeys(layer_fields(config), 0) | {"final": 1, "dest_field": 2}
    writes, done = rtl(config, [(record, [[1, 2], [3, 4]])])
    assert writes == [[]] == [pack(config, record, [[1, 2], [3, 4]])] and len(done) == 1


@pytest.mark.parametrize(
    ("codes", "message"),
    [([[16, 0]], "a code of pixel 0 exceeds 4 bits"), ([[1]], "codes must come in rows of 2"),
     ([[1, 1], []], "pixel 1 has no codes for slice 0")],
)  # fmt: skip
def test_golden_ranges(codes, message):
    config = EngineConfig(lanes=2, fire_lanes=2)
    record = dict.fromkeys(layer_fields(config), 0) | {"dest_field": 2, "dest_words": 1}
    with pytest.raises(AssertionError, match=message):
        pack(config, record, codes)


def test_slice_mask():
    """Slice s of S lies in every bank b with b mod S = s."""
    for banks in (1, 2, 4, 8):
        for log2 in range(banks.bit_length()):
            slices = 1 << log2
            for s in range(slices):
                mask = slice_mask(banks, s, slices - 1)
                assert [Const.cast(bit).value for bit in mask] == [int(b % slices == s) for b in range(banks)]


@pytest.mark.parametrize(("lanes", "fire_lanes", "word_bits"), [(16, 8, 32), (16, 16, 32), (8, 8, 32), (8, 4, 16)])
@pytest.mark.parametrize("columns", [1, 2, 3])
def test_pixels_side_by_side(lanes, fire_lanes, word_bits, columns):
    """Jobs of several pixels: rows of one to three jobs, of which the first two overlap or do not; two slices."""
    rng = random.Random(columns)
    config = EngineConfig(banks=2, lanes=lanes, fire_lanes=fire_lanes, word_bits=word_bits, spike_depth=600,
                          row_masks=True, depthwise=True, signed_codes=True)  # fmt: skip
    per_word, places = word_bits // 4, config.own_places
    layers = []
    for words, slices, overlap in [(1, 1, 0), (3, 1, places - 1), (2, 2, places // 2)]:
        overlap, dest_words = overlap if columns > 1 else 0, words + rng.randrange(2)
        record = dict.fromkeys(layer_fields(config), 0) | {
            "dest_base": 40, "dest_words": dest_words, "dest_field": 2, "dest_slices": slices - 1,
            "dest_slice_groups": words * places * per_word // fire_lanes - 1, "dest_word_groups": 0,
            "dest_group_words": fire_lanes // per_word - 1, "columns": columns - 1, "places": places - 1,
            "dest_back": (places - 1) * dest_words,
            "dest_second": (1 - overlap) * dest_words % (1 << config.spike_addr_bits),
        }  # fmt: skip
        codes = [[rng.randrange(-8, 8) for _ in range(words * slices * lanes)] for _ in range(2 * columns)]
        layers.append((record, codes))
    plain = layers[0][0] | {"places": 0, "dest_back": 0, "dest_second": 7, "dest_words": lanes // per_word,
                            "dest_slice_groups": lanes // fire_lanes - 1}  # fmt: skip
    layers.append((plain, [[rng.randrange(8) for _ in range(lanes)] for _ in range(3)]))  # and a layer of single pixels
    writes, _ = rtl(config, layers, gap=0.2, seed=columns)
    assert writes == [pack(config, *layer) for layer in layers]
    written = {write.address for write in writes[1]}
    assert len(written) == 2 * 3 * (columns * places - (places - 1) * (columns > 1))

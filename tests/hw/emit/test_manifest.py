# SPDX-License-Identifier: Apache-2.0
"""The manifest's words are enough: a reader that knows them alone makes the image stream, and decodes the program."""

import json
import random

import numpy as np
import pytest

from blocks import random_mapping, random_net
from onespike.hw.config import EngineConfig
from onespike.hw.emit.manifest import COUNTS, image_of
from onespike.hw.program import header_fields, layer_fields, segment_fields
from onespike.model.mapping.images import image_beats
from onespike.model.mapping.mapper import fit_config, map_network


def beats(image: dict, codes: np.ndarray) -> list[int]:
    """The stream of one image [C, H, W], from the manifest's words."""
    channels, height, width = image["shape"]
    top, _, left, _ = image["border"]
    unroll = image["unroll"]

    def code(channel: int, y: int, x: int) -> int:
        inside = 0 <= y < height and 0 <= x < width
        return int(codes[channel, y, x]) if inside else image["pad_code"][channel]

    def value(slice_: int, row: int, column: int, number: int) -> int:
        if image["flat"]:
            return int(codes.reshape(-1)[number])
        if unroll is None:
            return code(number, row - top, column - left)
        tap, channel = divmod(number, channels)
        x = column * unroll["turns"] + slice_ % unroll["turns"]
        inside = x < unroll["columns"]
        place = x * unroll["step"] + tap * unroll["gap"] - unroll["left"]
        return code(channel, row - top, place) if inside else image["offset"]

    found, per_word = [], image["word_bits"] // image["field"]
    for slice_, numbers in enumerate(image["slices"]):
        for row in range(image["height"]):
            for column in range(image["width"]):
                fields = [
                    (value(slice_, row, column, n) - image["offset"]) % (1 << image["field"]) for n in numbers
                ] + [0] * (image["words_per_pixel"] * per_word - len(numbers))
                for word in range(image["words_per_pixel"]):
                    part = fields[word * per_word : (word + 1) * per_word]
                    found.append(sum(field << (place * image["field"]) for place, field in enumerate(part)))
    return found


def test_a_reader_of_the_manifest_makes_the_stream() -> None:
    kinds = set()
    for seed in range(60):
        mapping = random_mapping(random.Random(seed))
        image = json.loads(json.dumps(image_of(mapping)))
        codes = np.random.default_rng(seed).integers(0, 1 << image["bits"], (1, *image["shape"]))
        expected = image_beats(mapping, codes)[0]
        assert beats(image, codes[0]) == expected.tolist(), seed
        assert len(expected) == image["beats"]
        kinds |= {"unrolled" if image["unroll"] else "plain", "signed" if image["image_signed"] else "as it is"}
        kinds |= {"in turn"} if image["unroll"] and image["unroll"]["turns"] > 1 else set()
        kinds |= {"flat"} if image["flat"] else set()
    assert kinds >= {"unrolled", "plain", "signed", "as it is"}


@pytest.mark.parametrize("seed", range(3))
def test_real_numbers_become_the_nearest_code(seed: int) -> None:
    net = random_net(random.Random(seed))
    image = image_of(map_network(net, fit_config(net, EngineConfig(banks=1, lanes=4, fire_lanes=4))))
    scale, offset = (np.array(image[name]).reshape(1, -1, 1, 1) for name in ("pixel_scale", "pixel_offset"))
    codes = np.random.default_rng(seed).integers(image["first_code"], 1 << image["bits"], (2, *image["shape"]))
    assert (net.image.quantise(codes * scale + offset) == codes).all()


def test_counts_are_fields_of_the_program() -> None:
    config = EngineConfig(row_masks=True, depthwise=True, maps=True, external_weights=64)
    fields = {*header_fields(config), *layer_fields(config), *segment_fields(config)}
    assert set(COUNTS) <= fields

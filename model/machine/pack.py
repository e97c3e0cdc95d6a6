# SPDX-License-Identifier: Apache-2.0
"""Pack: the codes of a layer become spike words at the addresses where the next layer expects them."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

from ...hw.config import EngineConfig


class Write(NamedTuple):
    """One spike word, into every bank that holds the slice."""

    address: int
    data: int
    slice: int


def pack(config: EngineConfig, layer: Mapping[str, int], codes: Sequence[Sequence[int]]) -> list[Write]:
    """The writes of a layer in order; codes: per pixel one code for each physical place, whole rows of F.

    A code may be negative where the engine's values are: its field holds it in two's complement.

    layer: the record's fields. Places after the last slice are padding and dropped. The last layer writes nothing.
    Where it has jobs of several pixels, codes has as many times the places for each of these jobs. Golden function of
    :class:`onespike.hw.engine.pack.Pack`.
    """
    if layer["final"]:
        return []
    if layer.get("places"):
        return _side_by_side(config, layer, codes)
    bits = 1 << layer["dest_field"]
    places = (layer["dest_slice_groups"] + 1) * config.fire_lanes
    per_word = (layer["dest_word_groups"] + 1) * config.fire_lanes // (layer["dest_group_words"] + 1)
    assert per_word * bits <= config.word_bits, f"{per_word} fields of {bits} bits exceed a word of {config.word_bits}"
    part = "first_slice" in layer  # the layer may be computed in parts: this one begins at place `first`
    first = places * (layer["first_slice"] + 1) - (layer["first_slice_groups"] + 1) * config.fire_lanes if part else 0
    writes: list[Write] = []
    for pixel, values in enumerate(codes):
        assert len(values) % config.fire_lanes == 0, f"codes must come in rows of {config.fire_lanes}"
        for number, word in product(range(layer["dest_slices"] + 1), range(-(-places // per_word))):
            begin, end = (number * places + min(places, at * per_word) - first for at in (word, word + 1))
            if part and not 0 <= begin < len(values):
                continue  # a word of another part
            assert end <= len(values), f"pixel {pixel} has no codes for slice {number}"
            fields = values[begin:end]
            low = -(1 << bits - 1) if config.signed_values else 0
            assert all(low <= code < 1 << bits for code in fields), f"a code of pixel {pixel} exceeds {bits} bits"
            address = layer["dest_base"] + pixel * layer["dest_words"] + word
            assert address < config.spike_depth, f"spike word {address} lies outside the memory"
            writes.append(
                Write(address, sum((code & (1 << bits) - 1) << i * bits for i, code in enumerate(fields)), number)
            )
    return writes


def _side_by_side(config: EngineConfig, layer: Mapping[str, int], codes: Sequence[Sequence[int]]) -> list[Write]:
    """The writes of jobs that have a word of each of several pixels, one after the other."""
    bits = 1 << layer["dest_field"]
    per_word, pixels, jobs = config.word_bits // bits, layer["places"] + 1, layer["columns"] + 1
    slices = layer["dest_slices"] + 1
    words = (layer["dest_slice_groups"] + 1) * config.fire_lanes // (per_word * pixels)
    address = layer["dest_base"]
    writes: list[Write] = []
    for job, values in enumerate(codes):
        assert len(values) >= slices * words * pixels * per_word, f"job {job} has too few codes"
        for number, word, pixel in product(range(slices), range(words), range(pixels)):
            at = ((number * words + word) * pixels + pixel) * per_word
            fields = values[at : at + per_word]
            assert all(code < 1 << bits for code in fields), f"a code of job {job} exceeds {bits} bits"
            data = sum((code & (1 << bits) - 1) << i * bits for i, code in enumerate(fields))
            writes.append(Write(address + pixel * layer["dest_words"] + word, data, number))
        first = job % jobs == 0
        address += layer["dest_back"] + layer["dest_second" if first else "dest_words"]
        address %= 1 << config.spike_addr_bits
    return writes

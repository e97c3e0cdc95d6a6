# SPDX-License-Identifier: Apache-2.0
"""SpikeNet: networks validate themselves, and their hash covers their arithmetic."""

import dataclasses
import json

import numpy as np
import pytest

from described import layer, network, source
from onespike.model.errors import OneSpikeError
from onespike.model.network.spec import INPUT, Image, Pool, Source, signed_bits
from onespike.model.network.spike_file import contents


def test_hash_covers_arithmetic_and_not_meta():
    net = network()
    assert network(meta={}).hash == net.hash
    changed = dataclasses.replace(net.layers[0], bias=net.layers[0].bias + 1)
    assert network(layers=(changed, *net.layers[1:])).hash != net.hash
    strided = dataclasses.replace(net.layers[0].sources[0], padding=(1, 0, 2, 1))
    assert network(layers=(dataclasses.replace(net.layers[0], sources=(strided,)), *net.layers[1:])).hash != net.hash


INVALID = {
    "bias of floats": (
        lambda: layer("a", source(), bias=np.zeros(4)),
        r"^The bias of layer 'a' must be an integer array of 1 dimensions, not float64 \(4,\)\.$",
    ),
    "wide weights": (
        lambda: Source(tensor=INPUT, weights=np.full((1, 1, 1, 1), 40000)),
        r"^Weights on 'input' must lie in \[-32768, 32767\], but holds 40000 to 40000\.$",
    ),
    "weights beyond their bits": (
        lambda: network(weight_bits=6),
        r"^Layer 'a': weights do not fit in 6 bits\.$",
    ),
    "last layer that fires": (
        lambda: network(layers=(layer("a", source()),)),
        r"^Layer 'a': every layer but the last must fire, and the last must not\.$",
    ),
    "later source": (
        lambda: network(layers=(layer("a", source("c")), layer("c", source("a"), groups=0))),
        r"^Layer 'a' reads 'c', which no earlier layer makes\.$",
    ),
    "channels": (
        lambda: network(layers=(layer("a", source(shape=(4, 3, 1, 1)), groups=0),)),
        r"^Layer 'a' expects 3 channels of 'input', which has 2\.$",
    ),
    "no layers": (lambda: network(layers=()), r"^A SpikeNet needs at least one layer\.$"),
    "last layer with a pool": (
        lambda: layer("a", source(), groups=0, pool=Pool(kind="max", kernel=(2, 2), stride=(2, 2))),
        r"^Layer 'a' does not fire, so it can have neither a pool nor a shift, low end or levels\.$",
    ),
    "pool padding": (
        lambda: Pool(kind="max", kernel=(2, 2), stride=(2, 2), padding=(2, 0, 0, 0)),
        r"^Pool padding \(2, 0, 0, 0\) must be smaller than the kernel \(2, 2\)\.$",
    ),
    "pool kind": (
        lambda: Pool(kind="mean", kernel=(2, 2), stride=(2, 2)),
        r"^Pool kind must be 'max' or 'sum', not 'mean'\.$",
    ),
    "pad code": (
        lambda: Image(shape=(1, 2, 2), bits=4, pad_code=(16,)),
        r"^The pad code must be 1 codes in 0\.\.15, not \(16,\)\.$",
    ),
    "scale": (
        lambda: Image(shape=(1, 2, 2), scale=(-1.0,)),
        r"^The image scale must be positive, not \(-1\.0,\)\.$",
    ),
}

POOL = {"kind": "max", "kernel": (2, 2), "stride": (2, 2)}
WRONG_TYPES = {
    "groups 8.0": (lambda: layer("a", source(), groups=8.0), r"^Layer 'a': groups must be an integer, not 8\.0\.$"),
    "stride 1.5": (
        lambda: source(stride=(1.5, 1)),
        r"^Every number of the stride of a source must be an integer, not 1\.5\.$",
    ),
    "padding of three": (
        lambda: source(padding=(1, 1, 1)),
        r"^The padding of a source must be 4 integers, not \(1, 1, 1\)\.$",
    ),
    "dilation without end": (
        lambda: source(dilation=(1, 10**400)),
        r"^Every number of the dilation .* must be at most 65535, not a number of more than 64 bits\.$",
    ),
    "shift False": (lambda: source(shift=False), r"^The shift of a source must be an integer, not False\.$"),
    "tensor None": (lambda: source(None), r"^The tensor of a source must be a text of printable .* not None\.$"),
    "name 5": (lambda: layer(5, source()), r"^The name of a layer must be a text of printable characters, not 5\.$"),
    "name of two lines": (lambda: layer("a\nb", source()), r"must be a text of printable characters, not 'a\\nb'\.$"),
    "step NaN": (lambda: layer("a", source(), step=float("nan")), r"^Layer 'a': the step must be a finite number, not"),
    "step True": (lambda: layer("a", source(), step=True), r"^Layer 'a': the step must be a number, not True\.$"),
    "kernel of a pool": (lambda: Pool(**POOL | {"kernel": (2.0, 2)}), r"^Every number of the pool's kernel must be an"),
    "bits": (lambda: Image(shape=(1, 2, 2), bits=8.0), r"^The bits of a pixel must be an integer, not 8\.0\.$"),
    "shape": (lambda: Image(shape=5), r"^The image shape must be a list of numbers, not 5\.$"),
    "scale": (lambda: Image(shape=(1, 2, 2), scale=("x",)), r"^Every number of the image scale must be a number,"),
    "weight bits": (lambda: network(weight_bits=8.0), r"^Weight bits must be an integer, not 8\.0\.$"),
    "meta": (lambda: network(meta=None), r"^The facts of a network \(meta\) must be a dictionary, not NoneType\.$"),
    "too large a map": (
        lambda: network(image=Image(shape=(2, 65535, 65535))),
        r"^Layer 'a' has a map of 2 x 65536 x 65538 values, more than 268,435,456; use smaller images\.$",
    ),
}
INVALID |= WRONG_TYPES


def test_integers_of_numpy_are_integers():
    net = network(layers=(layer("a", source(shift=np.int64(2), stride=[np.int8(1), 1]), groups=np.int64(0)),))
    assert json.loads(json.dumps(contents(net)[0]))["layers"][0]["sources"][0]["stride"] == [1, 1]


def test_bounds_of_sums_have_no_width():
    """Biases and sum pools beyond 64 bits do not wrap around."""
    top = 2**63 - 1
    wide = layer("a", source(shape=(4, 2, 1, 1)), groups=65535, bias=np.full(4, -top),
                 pool=Pool(kind="sum", kernel=(8, 8), stride=(8, 8)))  # fmt: skip
    net = network(layers=(wide, layer("c", source("a", (3, 4, 1, 1), shift=15), groups=0, bias=np.full(3, top))))
    assert net.accumulator_range(net.layers[0])[0] < -top - 1 and net.accumulator_bits > 64
    with pytest.raises(OneSpikeError, match=r"^The accumulators need \d+ bits, more than the 53"):
        net.golden(np.zeros((1, 2, 8, 8)))


@pytest.mark.parametrize("name", INVALID)
def test_invalid_networks(name):
    make, message = INVALID[name]
    with pytest.raises(OneSpikeError, match=message):
        make()


def test_pad_code_is_nearest_to_zero():
    image = Image(shape=(3, 1, 1), scale=(1 / 255 / 0.229,) * 3, offset=(-0.485 / 0.229, 0.1, -9.0))
    assert image.pad_code == (round(0.485 * 255), 0, 255)
    codes = image.quantise(np.zeros((1, 3, 1, 1)))
    np.testing.assert_array_equal(codes.ravel(), image.pad_code)


def test_signed_bits():
    for low, high, bits in [(0, 0, 1), (0, 1, 2), (-1, 0, 1), (-2, 1, 2), (-128, 127, 8), (-129, 0, 9), (0, 128, 9)]:
        assert signed_bits(low, high) == bits

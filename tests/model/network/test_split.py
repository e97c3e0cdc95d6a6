# SPDX-License-Identifier: Apache-2.0
"""A network cut in parts gives the integers of the whole one, wherever it can be cut."""

import dataclasses
import itertools

import numpy as np
import pytest

from command_line import small_net
from networks import float_graph, grouped_network, random_codes, random_network, residual
from onespike.model.convert.converter import convert
from onespike.model.errors import OneSpikeError
from onespike.model.network import golden
from onespike.model.network.spec import INPUT, Layer, Source, SpikeNet
from onespike.model.network.split import cannot_cut, cuts, fire, live, run, split


@pytest.mark.parametrize("seed", range(12))
def test_random_networks(seed):
    rng = np.random.default_rng(seed)
    net = random_network(rng, (3, 8, 15), 60)
    codes = random_codes(rng, net, 3)
    expected = golden.run(net, codes)
    for cut in cuts(net):
        np.testing.assert_array_equal(run(split(net, [cut]), codes), expected)


@pytest.mark.parametrize("low", [0, -5])
def test_shortcuts_go_through(low):
    """Across every cut or two; the image, too, with what its padding holds."""
    net = residual(low)
    codes = random_codes(np.random.default_rng(1), net, 4)
    expected, places = golden.run(net, codes), cuts(net)
    assert places == [1, 2, 3] and live(net, 2) == [INPUT, "a", "b"]
    for number in (1, 2, 3):
        for at in itertools.combinations(places, number):
            parts = split(net, at)
            assert [(part.begin, part.end) for part in parts] == list(itertools.pairwise([0, *at, 4]))
            np.testing.assert_array_equal(run(parts, codes), expected)
    assert split(net, [2])[1].net.image.shape == (2 + 3 + 4, 5, 6)


def test_networks_of_converters_and_of_groups():
    graph, images = float_graph()
    for net in (convert(graph, None, images[:64]), grouped_network(grouped=True)):
        codes = random_codes(np.random.default_rng(2), net, 3)
        assert cuts(net)
        for cut in cuts(net):
            np.testing.assert_array_equal(run(split(net, [cut]), codes), golden.run(net, codes))


def test_fire_at_the_threshold():
    layer = small_net().layers[0]
    layer = dataclasses.replace(layer, pool=None)
    steps = np.array([-129, -128, -1, 0, 127, 128, 8 * 128 - 1, 8 * 128, 8 * 128 + 1])  # shift 7, groups 8
    sums = np.broadcast_to(steps, (1, 5, 1, len(steps)))
    assert fire(layer, sums)[0, 0, 0].tolist() == [0, 0, 0, 0, 0, 1, 7, 8, 8]


def test_what_cannot_be_cut():
    net = residual()
    strided = dataclasses.replace(net.layers[1].sources[0], stride=(2, 2))
    pooled = dataclasses.replace(net.layers[1], sources=(strided,))
    last = dataclasses.replace(net.layers[3], sources=(
        Source(tensor="b", weights=np.ones((3, 4, 1, 1), np.int64), stride=(1, 1)),
    ))  # fmt: skip
    other = Layer(name="c", sources=(Source(tensor="a", weights=np.ones((5, 3, 1, 1), np.int64), stride=(2, 2)),
                                     Source(tensor="b", weights=np.ones((5, 4, 1, 1), np.int64))),
                  bias=np.zeros(5, int), shift=np.zeros(5, int), groups=3)  # fmt: skip
    net = SpikeNet(image=net.image, layers=(net.layers[0], pooled, other, last), weight_bits=4)
    assert cannot_cut(net, 2) == "'a', which is read behind it, too, has another size than the sums of 'b'"
    sentence = (r"^The network cannot be cut in front of layer 'c': 'a', which is read behind it, too, has another "
                r"size than the sums of 'b'; it can be in front of 1 \(b\), 3 \(d\)\.$")  # fmt: skip
    with pytest.raises(OneSpikeError, match=sentence):
        split(net, [2])
    for at in ([0], [4], [2, 1], [1, 1]):
        with pytest.raises(OneSpikeError, match=r"^Cuts must be rising numbers of layers in 1\.\.3, not "):
            split(net, at)

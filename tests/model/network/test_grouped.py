# SPDX-License-Identifier: Apache-2.0
"""Kernels in groups: the groups that zeros allow, the dense kernel of them, and sums that equal those of it."""

import dataclasses
import json
import zipfile

import numpy as np
import pytest

from networks import grouped_network
from onespike.model.errors import OneSpikeError
from onespike.model.network import golden, stepped
from onespike.model.network.grouped import compact, spread
from onespike.model.network.operations import count, dense_macs, is_copy, reads
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet
from onespike.model.network.spike_file import contents
from onespike.model.network.spikes import count_spikes

RNG = np.random.default_rng(5)


def blocks(groups: int, outputs: int, inputs: int, *kernel: int) -> np.ndarray:
    """Weights without a zero of a grouped kernel."""
    weights = RNG.integers(1, 100, (outputs, inputs // groups, *kernel))
    return (weights * RNG.choice([-1, 1], weights.shape)).astype(np.int16)


@pytest.mark.parametrize(
    ("groups", "outputs", "inputs"), [(1, 6, 4), (2, 6, 4), (6, 6, 6), (6, 12, 6), (3, 6, 12), (12, 12, 12), (1, 1, 1)]
)
def test_most_groups_are_found(groups, outputs, inputs):
    """The dense kernel by its definition, and back."""
    weights = blocks(groups, outputs, inputs, 2, 3)
    dense = spread(weights, groups)
    for output in range(outputs):
        for channel in range(inputs):
            group = output * groups // outputs
            inside = group == channel * groups // inputs
            wanted = weights[output, channel - group * (inputs // groups)] if inside else 0
            assert (dense[output, channel] == wanted).all()
    found = compact(dense)
    assert found[0] == groups and np.array_equal(found[1], weights)


def test_zeros_inside_groups_split_them_further():
    dense = np.zeros((4, 4, 1, 1), np.int16)
    dense[0, 1] = dense[3, 2] = 5
    assert compact(dense)[0] == 2
    dense[0, 1], dense[1, 1] = 0, 7
    assert compact(dense)[0] == 2  # outputs 2 and 3 still share
    dense[3, 2], dense[3, 3] = 0, 7
    assert compact(dense)[0] == 4
    dense[0, 3] = 1
    assert compact(dense) == (1, dense)
    assert compact(np.zeros((6, 4, 1, 1), np.int16))[0] == 2


def test_shares_need_a_divisor():
    """Block-diagonal, but in blocks that a number of equal groups does not make."""
    dense = np.zeros((4, 4, 1, 1), np.int16)
    dense[:1, :1], dense[1:, 1:] = 1, 1
    assert compact(dense)[0] == 1


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("own", [1, 2])
def test_sums_equal_those_of_the_dense_kernel(groups, own):
    """All geometries, image padding included; in float32 and float64."""
    for _ in range(12):
        source = Source(
            tensor=INPUT,
            weights=blocks(groups, 6 * own, 6, *RNG.integers(1, 4, 2)),
            groups=groups,
            stride=tuple(RNG.integers(1, 4, 2).tolist()),
            dilation=tuple(RNG.integers(1, 3, 2).tolist()),
            padding=tuple(RNG.integers(0, 3, 4).tolist()),
            shift=int(RNG.integers(0, 3)),
        )
        if min(source.output_shape(7, 9)) < 1:
            continue
        dense = dataclasses.replace(source, weights=source.dense, groups=1)
        pad = RNG.integers(0, 9, 6)
        for dtype in (np.float32, np.float64):
            codes, scale = RNG.integers(0, 16, (3, 7, 9, 6)).astype(dtype), np.ldexp(1.0, -RNG.integers(0, 9, 6 * own))
            found, wanted = (
                golden.accumulate(codes, one, golden.matrix_of(one, dtype, scale), pad) for one in (source, dense)
            )
            assert found.dtype == dtype and np.array_equal(found, wanted)


def test_a_network_means_the_same_but_costs_less():
    """Logits, bounds and spikes are those of the dense kernels; MACs and additions only those of the groups."""
    net, dense = grouped_network(grouped=True), grouped_network(grouped=False)
    codes = RNG.integers(0, 256, (5, 3, 6, 5)).astype(np.uint8)
    found, wanted = net.golden(codes, layers=True, operations=True), dense.golden(codes, layers=True, operations=True)
    assert np.array_equal(found.logits, wanted.logits)
    assert all(np.array_equal(found.codes[name], wanted.codes[name]) for name in wanted.codes)
    assert found.codes["b"].any() and (found.codes["b"] < 7).any()
    for mine, other in zip(net.layers, dense.layers, strict=True):
        assert net.accumulator_range(mine) == dense.accumulator_range(other)
    assert [dense_macs(net, layer) for layer in net.layers] == [30 * 6 * 9, 30 * 6 * 2 * 4, 4 * 6 * 30]
    first, last = found.operations.layers[0], wanted.operations.layers[0]
    for name in ("macs", "macs_nonzero", "events_radix", "additions_radix", "additions_unary"):
        assert getattr(last, name) == 3 * getattr(first, name) > 0
    assert (first.spikes_radix, first.neurons_fired) == (last.spikes_radix, last.neurons_fired)
    assert count(net, found.codes) == found.operations
    assert is_copy(net.layers[1].sources[1]) and not is_copy(net.layers[1].sources[0])


def test_a_kernel_too_large_to_write_out():
    """Its sums are computed all the same; whoever needs its zeros says so in a sentence."""
    source = Source(tensor=INPUT, weights=np.ones((20_000, 1, 1, 1), int), groups=20_000)
    found = golden.accumulate(np.ones((1, 1, 1, 20_000)), source, golden.matrix_of(source, np.float64))
    assert np.array_equal(found, np.ones((1, 1, 1, 20_000)))
    with pytest.raises(OneSpikeError, match=r"^The kernel on 'input', in 20000 groups, has 400,000,000 weights with"):
        _ = source.dense


def test_hash_and_file(tmp_path):
    """A dense network's geometry does not name groups, so that its hash stays; a grouped one's comes back."""
    net, dense = grouped_network(grouped=True), grouped_network(grouped=False)
    assert net.hash != dense.hash
    assert "groups" not in contents(dense)[0]["layers"][0]["sources"][0]
    assert [s["groups"] for s in contents(net)[0]["layers"][1]["sources"]] == [3, 6]
    for one, version in ((net, 4), (dense, 1)):
        one.save(tmp_path / "net.spike")
        with zipfile.ZipFile(tmp_path / "net.spike") as archive:
            assert json.loads(archive.read("manifest.json"))["version"] == version
        again = SpikeNet.load(tmp_path / "net.spike")
        assert again.hash == one.hash
        for mine, other in zip(again.layers, one.layers, strict=True):
            for loaded, source in zip(mine.sources, other.sources, strict=True):
                assert loaded.groups == source.groups and np.array_equal(loaded.weights, source.weights)


def test_over_steps():
    """The T-step network computes the same sums, and counts the spikes that reach an output of their group."""
    nets = []
    for grouped in (True, False):
        net = grouped_network(grouped=grouped)
        layers = (dataclasses.replace(layer, groups=8 if layer.fires else 0) for layer in net.layers)
        nets.append(dataclasses.replace(net, layers=tuple(layers)))
    codes = RNG.integers(0, 256, (5, 3, 6, 5)).astype(np.uint8)
    found, wanted = (stepped.run(net, codes, totals=True) for net in nets)
    assert np.array_equal(found.logits, wanted.logits) and found.fired == wanted.fired
    assert 0 < found.totals["b"].mean() < 8
    one = nets[0].layers[1].sources
    for net, factors in zip(nets, ((1 / 3, 1 / 6), (1, 1)), strict=True):
        counts = net.golden(codes, layers=True).codes["a"]
        passed = [reads(counts, source, range(6), range(5)) for source in one]
        additions = sum(6 * factor * number for factor, number in zip(factors, passed, strict=True))
        assert count_spikes(net, codes).layers[1].additions == pytest.approx(additions)


@pytest.mark.parametrize(
    ("weights", "groups", "message"),
    [
        ((4, 1, 1, 1), 3, r"^Layer 'a': groups = 3 on 'input' must divide its 3 input and its 4 output channels; take"),
        ((4, 3, 1, 1), 2, r"^Layer 'a': groups = 2 on 'input' must divide its 3 input and its 4 output channels; take"),
        ((6, 2, 1, 1), 3, r"^Layer 'a' expects 6 channels of 'input', which has 3\.$"),
        ((4, 3, 1, 1), 0, r"^The groups of a source must be at least 1, not 0\.$"),
        ((4, 3, 1, 1), 1.0, r"^The groups of a source must be an integer, not 1\.0\.$"),
    ],
)
def test_groups_that_do_not_share_out_the_channels(weights, groups, message):
    def build() -> SpikeNet:
        source = Source(tensor=INPUT, weights=np.ones(weights, int), groups=groups)
        zero = np.zeros(weights[0], int)
        last = Layer(name="a", sources=(source,), bias=zero, shift=zero, groups=0)
        return SpikeNet(image=Image(shape=(3, 2, 2)), layers=(last,))

    with pytest.raises(OneSpikeError, match=message):
        build()

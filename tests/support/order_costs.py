# SPDX-License-Identifier: Apache-2.0
"""What the order of channels saves: `python tests/support/order_costs.py NODES ..`, or `.. NET.spike SHARE ..`.

On 4 x 16 lanes. Of graph convolution networks of so many nodes, cycles and bytes of weights as before there was an
order, with X W stored in the first layer alone, and as they are now; of a network of 3x3 convolutions, cycles on one
random image with that share of each such kernel's smallest weights taken away, without an order and with it.
"""

import dataclasses
import sys
from unittest import mock

import numpy as np

from onespike.hw.config import EngineConfig
from onespike.model.convert.converter import prepare
from onespike.model.cost import choose
from onespike.model.cost.cycles import predict_all
from onespike.model.frontend.node_costs import Mixing
from onespike.model.network import golden
from onespike.model.network.spec import INPUT, SpikeNet
from onespike.model.training.gcn import train_gcn
from onespike.model.training.graphs import synthetic

ENGINE = EngineConfig(banks=4, lanes=16, fire_lanes=8)


def costs(net: SpikeNet, images: np.ndarray, ordered: bool) -> tuple[float, int]:
    """Cycles of an image, and bytes of weight rows in all banks that hold different ones."""
    result = golden.run(net, net.image.quantise(images), layers=True)
    with mock.patch.object(choose, "orderable", choose.orderable if ordered else lambda *_: frozenset()):
        mapping = choose.choose_for(net, ENGINE, result)
    cycles = [sum(layer.total for layer in image) for image in predict_all(mapping, result)]
    return float(np.mean(cycles)), sum(sum(layer.stored_rows) for layer in mapping.layers) * ENGINE.lanes


def graph(nodes: int) -> None:
    train, test = synthetic("train", nodes, 0), synthetic("test", nodes, 0)
    module = train_gcn(train)
    edges, (features, hidden, classes) = int((train.matrix != 0).sum()), (16, 8, 4)
    print(nodes, "nodes,", nodes * hidden * (features + classes) + edges * (hidden + classes), "multiplications")
    for ordered in (False, True):
        alone = mock.patch.object(Mixing, "apart", lambda self, *_: 0.0 if self.is_map else float("inf"))
        if ordered:
            net = prepare(module, calibration=train.features).net
        else:
            with alone:
                net = prepare(module, calibration=train.features).net
        weights = sum(source.weights.size for layer in net.layers for source in layer.sources)
        found = costs(net, test.features[:4], ordered)
        print("  now" if ordered else "  before", weights, "weights; cycles, bytes", found)


def pruned(net: SpikeNet, share: float) -> SpikeNet:
    """The network without the smallest weights of each 3x3 kernel behind the first layer."""
    layers = []
    for layer in net.layers:
        sources = []
        for source in layer.sources:
            weights = source.weights.copy()
            if weights.shape[2:] == (3, 3) and source.tensor != INPUT:
                weights[np.abs(weights) <= np.quantile(np.abs(weights), share)] = 0
            sources.append(dataclasses.replace(source, weights=weights))
        layers.append(dataclasses.replace(layer, sources=tuple(sources)))
    return dataclasses.replace(net, layers=tuple(layers))


def main(first: str, *rest: str) -> None:
    if first.isdigit():
        for nodes in (first, *rest):
            graph(int(nodes))
        return
    whole = SpikeNet.load(first)
    image = np.random.default_rng(0).integers(0, 1 << whole.image.bits, (1, *whole.image.shape))
    for share in rest:
        net = pruned(whole, float(share))
        print(share, *(costs(net, image, ordered) for ordered in (False, True)))


if __name__ == "__main__":
    main(*sys.argv[1:])

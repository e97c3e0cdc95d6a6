# SPDX-License-Identifier: Apache-2.0
"""A network with a single output."""

import numpy as np

from command_line import small_net
from onespike.model.network.spec import INPUT, Layer, Source, SpikeNet


def one_output(path):
    """small_net with one output that is positive for light pictures."""
    net = small_net()
    hidden, last = net.layers
    source = Source(tensor=hidden.name, weights=np.ones((1, *net.shapes[hidden.name]), int))
    conv = Layer(
        name=hidden.name,
        sources=(Source(tensor=INPUT, weights=np.ones((5, 1, 3, 3), int), padding=(1, 1, 1, 1)),),
        bias=np.zeros(5, int), shift=hidden.shift, groups=8, pool=hidden.pool,
    )  # fmt: skip
    head = Layer(name=last.name, sources=(source,), bias=np.array([-300]), shift=np.array([0]), groups=0)
    net = SpikeNet(image=net.image, layers=(conv, head), weight_bits=4)
    net.save(path)
    return net

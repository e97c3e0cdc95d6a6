# SPDX-License-Identifier: Apache-2.0
"""A network in which every field of a specification says something."""

import numpy as np

from onespike.model.network.spec import INPUT, Image, Layer, Pool, Source, SpikeNet


def source(tensor=INPUT, shape=(4, 2, 3, 3), **options):
    return Source(tensor=tensor, weights=np.arange(np.prod(shape)).reshape(shape) % 100 - 50, **options)


def layer(name, *sources, groups=8, **options):
    channels = sources[0].weights.shape[0]
    defaults = {"bias": np.arange(channels) - 2, "shift": np.full(channels, 4 if groups else 0)}
    return Layer(name=name, sources=sources, groups=groups, **(defaults | options))


def network(**changes):
    pool = Pool(kind="sum", kernel=(2, 2), stride=(2, 1), padding=(0, 1, 1, 0))
    layers = (
        layer("a", source(padding=(0, 1, 2, 1), dilation=(1, 2)), pool=pool, step=0.25),
        layer("b", source("a", (4, 4, 1, 1), shift=2), source("a", (4, 4, 1, 1)), groups=5),
        layer("c", source("b", (3, 4, 4, 7)), groups=0),
    )
    image = Image(shape=(2, 8, 8), bits=7, scale=(0.5, 0.25), offset=(-1.0, -2.0))
    return SpikeNet(**({"image": image, "layers": layers, "meta": {"accuracy": 0.5}} | changes))

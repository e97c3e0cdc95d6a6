# SPDX-License-Identifier: Apache-2.0
"""NIR graphs as other frameworks write them."""

import itertools

import nir
import numpy as np

TWO = {"kernel_size": np.array([2, 2]), "stride": np.array([2, 2]), "padding": np.array([0, 0])}


def fires(*shape, **options):
    """IF with thresholds of 1, as sinabs and norse write it."""
    return nir.IF(**{"r": np.ones(shape), "v_threshold": np.ones(shape), "v_reset": np.zeros(shape)} | options)


def leaks(size, beta, dt=1e-4):
    """Leaky of snnTorch, as it writes it."""
    with np.errstate(divide="ignore"):
        tau = np.full(size, dt) / (1 - np.full(size, beta))
    return nir.LIF(tau=tau, r=tau / dt, v_leak=np.zeros(size), v_threshold=np.ones(size), v_reset=np.zeros(size))


def affine(rng, outputs, inputs, low=-4, high=5):
    weight = rng.integers(low, high, (outputs, inputs)) / 8
    return nir.Affine(weight=weight, bias=rng.integers(-2, 3, outputs) / 8)


def conv(rng, outputs, inputs, size, **options):
    given = {"input_shape": (size, size), "stride": 1, "padding": 1, "dilation": 1, "groups": 1}
    weight = rng.integers(-4, 6, (outputs, inputs // options.get("groups", 1), 3, 3)) / 8
    return nir.Conv2d(weight=weight, bias=rng.integers(-2, 3, outputs) / 8, **(given | options))


def pictures(rng, *shape, of=8):
    """Images in steps of 1 / of, so that sums often equal a threshold."""
    return rng.integers(0, of + 1, shape) / of


def convolutional(rng):
    """Padding, groups, both pools, a skip connection and a scale."""
    nodes = {
        "input": nir.Input(np.array([1, 8, 8])),
        "c1": conv(rng, 4, 1, 8), "s1": fires(4, 8, 8), "p1": nir.AvgPool2d(**TWO),
        "c2": conv(rng, 4, 4, 4, groups=2), "s2": fires(4, 4, 4, v_threshold=np.full((4, 4, 4), 2.0)),
        "c3": conv(rng, 4, 4, 4, padding="same"), "s3": fires(4, 4, 4), "p2": nir.SumPool2d(**TWO),
        "scale": nir.Scale(scale=np.full((4, 2, 2), 0.5)), "flat": nir.Flatten(np.array([4, 2, 2]), 0),
        "head": affine(rng, 3, 16), "output": nir.Output(np.array([3])),
    }  # fmt: skip
    edges = [*itertools.pairwise(nodes), ("c2", "s3")]
    return nir.NIRGraph(nodes, edges, type_check=False), (1, 8, 8)


def sequential(rng):
    nodes = [
        nir.Input(np.array([2, 9])),
        nir.Conv1d(9, rng.integers(-4, 6, (4, 2, 3)) / 8, 2, 1, 1, 1, np.zeros(4)), fires(4, 5),
        nir.Flatten(np.array([4, 5]), 0), affine(rng, 6, 20), fires(6), affine(rng, 3, 6),
    ]  # fmt: skip
    return nir.NIRGraph.from_list(*nodes), (2, 9)


NETWORKS = {"convolutions": convolutional, "one dimension": sequential}

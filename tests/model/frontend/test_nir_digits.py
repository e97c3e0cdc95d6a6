# SPDX-License-Identifier: Apache-2.0
"""A spiking network on real digits: its one timestep against a simulation of its T steps."""

import nir
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from onespike.model.convert.converter import prepare
from onespike.model.frontend import nir_reference
from onespike.model.frontend.nir_graph import plan, read
from onespike.model.frontend.nir_ladders import with_ladders
from onespike.model.training.data import load


class Rate(torch.autograd.Function):
    """The share of `steps` in which a neuron with this current fires."""

    @staticmethod
    def forward(context, current, steps):
        context.save_for_backward(current)
        return torch.clamp(torch.ceil(current * steps - 1e-6) - 1, 0, steps) / steps

    @staticmethod
    def backward(context, gradient):
        (current,) = context.saved_tensors
        return gradient * ((current > 0) & (current < 1)), None


def trained(steps, images, labels, epochs=5):
    """Two convolutions and two linear layers, and their NIR graph."""
    torch.manual_seed(0)
    a, b, c, d = layers = nn.Conv2d(1, 8, 5), nn.Conv2d(8, 16, 3), nn.Linear(400, 64), nn.Linear(64, 10)

    def forward(x):
        for layer in (a, b):
            x = F.avg_pool2d(Rate.apply(layer(x), steps), 2)
        return d(Rate.apply(c(x.flatten(1)), steps))

    optimiser = torch.optim.Adam([p for layer in layers for p in layer.parameters()])
    for epoch in range(epochs):
        optimiser.param_groups[0]["lr"] = 2e-3 * (1 - epoch / epochs)
        for part in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            F.cross_entropy(forward(images[part]), labels[part]).backward()
            optimiser.step()
    wa, wb, wc, wd = ([p.detach().numpy() for p in layer.parameters()] for layer in layers)
    pool = {"kernel_size": np.array([2, 2]), "stride": np.array([2, 2]), "padding": np.array([0, 0])}
    fires = lambda *shape: nir.IF(r=np.ones(shape), v_threshold=np.ones(shape))  # noqa: E731
    return nir.NIRGraph.from_list(
        nir.Input(np.array([1, 28, 28])),
        nir.Conv2d((28, 28), wa[0], 1, 0, 1, 1, wa[1]), fires(8, 24, 24), nir.AvgPool2d(**pool),
        nir.Conv2d((12, 12), wb[0], 1, 0, 1, 1, wb[1]), fires(16, 10, 10), nir.AvgPool2d(**pool),
        nir.Flatten(np.array([16, 5, 5]), 0), nir.Affine(*wc), fires(64), nir.Affine(*wd),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "equal"), [(4, 0.98), (8, 0.985)])
def test_classes_of_one_timestep_are_mostly_those_of_all_steps(steps, equal, capsys):
    train, test = load("digits", "train"), load("digits", "test")
    images = torch.from_numpy(np.asarray(train.images, np.float32))
    graph = trained(steps, images, torch.from_numpy(np.asarray(train.labels)).long())
    net = prepare(graph, None, images[:500].numpy(), network_steps=steps).net
    digits = np.asarray(test.images, np.float64)
    ours = net.golden(digits.astype(np.float32)).argmax(1)
    at = with_ladders(plan(*read(graph)))
    theirs = nir_reference.evaluate(at, digits, steps, 1.0, stepped=True).argmax(1)
    right, wanted = ((found == np.asarray(test.labels)).mean() for found in (ours, theirs))
    with capsys.disabled():
        print(f"\nT = {steps}: {100 * right:.1f} % right, {100 * wanted:.1f} % over T steps; "
              f"{100 * (ours == theirs).mean():.1f} % of the classes are equal")  # fmt: skip
    assert (ours == theirs).mean() > equal and right > wanted - 0.01

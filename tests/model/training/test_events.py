# SPDX-License-Identifier: Apache-2.0
"""The price of events: forward what `operations.count` counts, backward a slope that makes them fewer."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from onespike.model.convert.converter import prepare
from onespike.model.errors import OneSpikeError
from onespike.model.network import codes as coding
from onespike.model.network import golden, operations
from onespike.model.network.spec import INPUT
from onespike.model.training.clamped import ClampQuantised
from onespike.model.training.data import Dataset
from onespike.model.training.events import PART, Price, fire, pay, prices
from onespike.model.training.finetune import finetune

pytestmark = pytest.mark.usefixtures("one_thread")


class Small(nn.Module):
    """A stride, a grouped layer, a shortcut, both pools, a tensor that two layers read."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1, groups=3)
        self.d, self.c = nn.Conv2d(6, 6, 3, stride=2, padding=1), nn.Linear(6 * 4, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.a(x)), 2)
        x = F.relu(self.b(x) + x)
        return self.c(F.relu(self.d(x)).flatten(1))


class Pooled(Small):
    """The same with sums over windows, whose counts are larger than g."""

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.a(x)), 2)
        return self.c(F.avg_pool2d(F.relu(self.b(x) + x), 2).flatten(1))


def noise(number, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.random((number, 1, 8, 8), np.float32)
    return Dataset(name="noise", images=images, labels=(images.mean((1, 2, 3)) * 1000).astype(np.int64) % 4)


@pytest.fixture(scope="module", params=[Small, Pooled])
def conversion(request):
    torch.manual_seed(0)
    return prepare(request.param(), calibration=noise(40).images, groups=15)


def test_price_is_what_is_counted(conversion):
    net, images = conversion.net, noise(2 * PART, 1).images
    found = operations.count(net, images)
    tensors = golden.run(net, net.image.quantise(images), layers=True).codes
    priced = prices(net)
    assert INPUT not in priced and len(priced) == len(net.layers) - 1
    total = sum(float(price.events(torch.tensor(tensors[name].astype(np.float32)))) for name, price in priced.items())
    image = found.layers[0].events_radix / found.images
    assert total == pytest.approx((found.events_radix - image) / found.dense_macs, rel=1e-5)
    model = ClampQuantised(conversion, priced)
    model(torch.from_numpy(np.roll(images, 2, 0)))  # of which the first two are priced
    found = operations.count(net, images[-2:])
    image = found.layers[0].events_radix / found.images
    assert float(model.cost.detach()) == pytest.approx((found.events_radix - image) / found.dense_macs, rel=1e-5)


def test_slopes():
    """Between 0 and 1 towards 0; 7 takes two events, 6 and 8 one; nothing beyond the clamp."""
    price = Price(np.ones((1, 1)), np.arange(9), coding.spikes(np.arange(9), "radix", 8, (1, 3, 5)))
    real = torch.tensor([-0.6, -0.1, 0.1, 0.9, 1.2, 5.9, 6.1, 6.9, 7.1, 7.9, 8.2, 9.0])
    sums = (real + 0.5).view(1, -1, 1, 1).requires_grad_()
    counts, cost = fire(sums, 8, price)
    assert counts.flatten().tolist() == [0, 0, 0, 1, 1, 6, 6, 7, 7, 8, 8, 8]
    assert float(cost.detach()) == 1 + 1 + 1 + 1 + 2 + 2 + 1 + 1 + 1
    (slopes,) = torch.autograd.grad(cost, sums, retain_graph=True)
    assert slopes.flatten().tolist() == [0, 0, 1, 1, 0, 0, 1, 1, -1, -1, 0, 0]
    (passed,) = torch.autograd.grad(counts.sum(), sums)
    assert passed.flatten().tolist() == [0, *[1] * 10, 0]
    pooled = torch.tensor([0.0, 1, 2, 6, 7, 8]).view(1, -1, 1, 1).requires_grad_()
    (slopes,) = torch.autograd.grad(pay(pooled, price), pooled)
    assert slopes.flatten().tolist() == [0.5, 0.5, 0, 0.5, 0, -0.5]


def test_events_fall_with_the_weight(conversion):
    data, held_out = noise(200), noise(50, 2)
    nets = [
        finetune(conversion, data, epochs=3, batch=50, shift=0, rate=1e-2, progress=False, **given).net
        for given in ({}, {"events": 0}, {"events": 10.0}, {"events": 100.0})
    ]
    assert nets[0].hash == nets[1].hash
    plain, _, some, few = (operations.count(net, held_out.images).events_radix for net in nets)
    assert plain > some and plain > few
    assert few < 1.005 * some  # where the smaller weight has taken all that there was, the larger one finds no more


def test_weights_of_zero_stay_zero(conversion):
    """A grouped layer or a shortcut that became dense would have other rows, and other dense MACs."""
    tuned = finetune(conversion, noise(100), epochs=2, batch=50, shift=0, rate=1e-2, events=1.0, progress=False)
    for before, after in zip(conversion.graph.nodes, tuned.graph.nodes, strict=True):
        for old, new in zip(before.terms, after.terms, strict=True):
            assert not new.weights[old.weights == 0].any()
            assert before.exact or (new.weights != old.weights)[old.weights != 0].any()


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf")])
def test_bad_weights(conversion, weight):
    with pytest.raises(OneSpikeError, match=rf"^events must be a finite weight of at least 0, not {weight}\.$"):
        finetune(conversion, noise(10), events=weight, progress=False)

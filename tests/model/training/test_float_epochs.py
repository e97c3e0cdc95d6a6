# SPDX-License-Identifier: Apache-2.0
"""Training in float before the conversion: it prunes, goes on after a break, and fine-tuning takes it from there."""

import numpy as np
import pytest
import torch
from tests.model.training.test_prune import LANES, Net, live_rows, noise

from onespike.model.convert.converter import prepare
from onespike.model.errors import OneSpikeError
from onespike.model.training.finetune import finetune
from onespike.model.training.float_epochs import train_float

pytestmark = pytest.mark.usefixtures("one_thread")


def converted(network):
    return prepare(network, calibration=noise(40).images, groups=15)


@pytest.fixture(scope="module")
def conversion():
    torch.manual_seed(0)
    return converted(Net())


def trained(conversion, **more):
    settings = {
        "epochs": 2,
        "batch": 25,
        "shift": 0,
        "prune_rows": 0.5,
        "prune_lanes": LANES,
        "progress": False,
        **more,
    }
    return train_float(conversion, noise(100), converted, **settings)


def rows(conversion):
    return [[live_rows(term.weights) for term in node.terms] for node in conversion.graph.nodes]


def test_fine_tuning_goes_on_with_the_rows_that_are_left(conversion):
    found = trained(conversion)
    assert found.net.meta == {"prune_rows": 0.5, "prune_lanes": LANES}
    assert found.original is conversion.original  # which stays the teacher
    assert found.net.hash == trained(conversion).net.hash != trained(conversion, seed=1).net.hash
    had, has = (sum(kept.sum() for node in rows(of) for kept in node) for of in (conversion, found))
    assert 0.45 < has / had < 0.8  # the first and the last layer, and shortcuts, stay whole
    tuned = finetune(found, noise(100), epochs=2, batch=25, shift=0, rate=1e-2, progress=False)
    assert tuned.net.meta == found.net.meta and tuned.net.hash != found.net.hash
    for before, after in zip(rows(found), rows(tuned), strict=True):
        assert all(map(np.array_equal, before, after))


def test_it_learns():
    """The labels, where nothing is asked of the float network; without rows it keeps all of them."""
    torch.manual_seed(0)
    start = converted(Net())
    data = noise(100)
    found = trained(start, epochs=30, distil=0.0, prune_rows=0.0)
    right = [(of.original.run(data.images).reshape(100, -1).argmax(1) == data.labels).mean() for of in (start,)]
    right += [(of.net.golden(data.images).argmax(1) == data.labels).mean() for of in (start, found)]
    assert right[2] > max(right[:2]) + 0.1
    assert "prune_rows" not in found.net.meta
    had, has = (sum(kept.sum() for node in rows(of) for kept in node) for of in (start, found))
    assert has > 0.95 * had  # refitting leaves out what never fires


def test_it_goes_on_after_a_break(conversion, tmp_path, stop_in_second_epoch):
    wanted = trained(conversion, epochs=3).net.hash
    calls = stop_in_second_epoch()
    with pytest.raises(KeyboardInterrupt):
        trained(conversion, epochs=3, checkpoints=tmp_path)
    other = trained(conversion, epochs=3, prune_rows=0.25, checkpoints=tmp_path)  # does not take the other's state
    assert other.net.meta["prune_rows"] == 0.25 and len(calls) == 5
    assert trained(conversion, epochs=3, checkpoints=tmp_path).net.hash == wanted and len(calls) == 7
    assert trained(conversion, epochs=3, checkpoints=tmp_path).net.hash == wanted and len(calls) == 7  # kept
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"distil": 2}, r"^distil must lie in 0\.\.1, not 2\.$"),
        ({"temperature": 0}, r"^temperature must be positive, not 0\.$"),
        ({"mix": 0.5}, r"^Mixed images have no labels: mix needs distil = 1, not 0\.5\.$"),
        ({"prune_rows": 1}, r"^prune_rows must be at least 0 and below 1, not 1\.$"),
        ({"prune_lanes": 0}, r"^prune_lanes must be a whole number in 1\.\.256, not 0\.$"),
        ({"epochs": 0}, r"^Epochs must be at least 1"),
    ],
)
def test_bad_settings(conversion, setting, message):
    with pytest.raises(OneSpikeError, match=message):
        trained(conversion, **setting)


def test_bad_data(conversion):
    with pytest.raises(OneSpikeError, match=r"^The data set noise is empty\.$"):
        train_float(conversion, noise(10)[:0], converted, epochs=1, progress=False)

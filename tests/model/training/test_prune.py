# SPDX-License-Identifier: Apache-2.0
"""Row pruning: the rows that matter least for the cycles they take go, exactly so many, and never come back."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from onespike.model.convert.converter import prepare
from onespike.model.errors import OneSpikeError
from onespike.model.network import golden, operations
from onespike.model.network.spec import SpikeNet
from onespike.model.training.clamped import ClampQuantised
from onespike.model.training.data import Dataset
from onespike.model.training.finetune import finetune
from onespike.model.training.prune import ROUNDS, RowPruning
from onespike.model.training.row_costs import row_work, rows_of, statistics, terms

pytestmark = pytest.mark.usefixtures("one_thread")

LANES = 4


class Net(nn.Module):
    """A convolution of the image, a stride, a grouped layer, a shortcut, a pool, two linear layers."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.f = nn.Conv2d(6, 6, 3, padding=1)
        self.d = nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2)
        self.e, self.c = nn.Linear(32, 10), nn.Linear(10, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.a(x)), 2)
        x = F.relu(self.f(F.relu(self.b(x))) + x)
        x = F.relu(self.d(x))
        return self.c(F.relu(self.e(x.flatten(1))))


def noise(number, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.random((number, 1, 8, 8), np.float32)
    return Dataset(name="noise", images=images, labels=(images.mean((1, 2, 3)) * 1000).astype(np.int64) % 4)


@pytest.fixture(scope="module")
def conversion():
    torch.manual_seed(0)
    return prepare(Net(), calibration=noise(40).images, groups=15)


def pruned(conversion, share=0.5, **more):
    settings = {"epochs": 2, "batch": 25, "shift": 0, "rate": 1e-2, "progress": False, **more}
    return finetune(conversion, noise(100), prune_rows=share, prune_lanes=LANES, **settings)


def live_rows(weights):
    """By loops: whether each row [blocks, in, kh, kw] has a weight."""
    blocks = range(0, len(weights), LANES)
    return np.array([(weights[start : start + LANES] != 0).any(0) for start in blocks])


def test_events_of_rows_are_those_that_are_counted(conversion):
    """Of every layer, the image's included, by operations.py, which counts an event for each channel of its group."""
    images = noise(8, 1).images
    counted = operations.count(conversion.net, images)
    found = dict.fromkeys(conversion.net.by_name, 0.0)
    for (index, number), rows in statistics(conversion, images).items():
        name = conversion.graph.nodes[index].name
        found[name] += rows.events.sum() * conversion.net.by_name[name].sources[number].fan_out
    for layer, operation in zip(conversion.net.layers, counted.layers, strict=True):
        assert found[layer.name] == pytest.approx(operation.events_radix / len(images))


def test_work_counts_rows_that_exist(conversion):
    images = noise(8, 1).images
    events, rows, found = 0.0, 0, statistics(conversion, images)
    for index, number, _, term in terms(conversion):
        live = live_rows(term.weights)
        rows += live.sum()
        events += (live * found[index, number].events).sum()
    work = row_work(conversion, images, LANES)
    assert work.rows == rows and work.events == pytest.approx(events)
    assert rows < sum(live_rows(np.ones_like(term.weights)).sum() for *_, term in terms(conversion))  # groups, shortcut


def test_the_share_of_every_layer_is_gone(conversion, tmp_path):
    tuned = pruned(conversion)
    assert tuned.net.hash == pruned(conversion).net.hash
    names, found = [], statistics(conversion, noise(100).images)
    nodes = zip(conversion.graph.nodes, tuned.graph.nodes, tuned.net.layers, strict=True)
    for index, (before, after, layer) in enumerate(nodes):
        whole = not before.fires or before is conversion.graph.nodes[0]
        total = gone = most = 0
        for number, (old, new, source) in enumerate(zip(before.terms, after.terms, layer.sources, strict=True)):
            had, has = live_rows(old.weights), live_rows(new.weights)
            assert (has <= had).all()  # zeros of groups and shortcuts stay
            assert (live_rows(source.dense) <= has).all()  # and rows that are gone are zero in integers
            kept = np.repeat(has, LANES, 0)[: len(new.weights)] & (old.weights != 0)
            assert (new.weights != 0)[kept].all()  # in a row that is kept, no weight is
            if whole or old.light:
                assert (has == had).all()
                continue
            cost = np.broadcast_to(found[index, number].events, had.shape)
            total, gone, most = total + cost[had].sum(), gone + cost[had & ~has].sum(), max(most, cost.max())
            assert has.any((1, 2, 3)).all()
        if total:
            names.append(before.name)
            assert total / 2 - most < gone < total / 2 * (1 + 1e-8)
    assert names == ["b", "f", "d", "e"]
    assert tuned.net.meta == {"prune_rows": 0.5, "prune_lanes": LANES} and conversion.net.meta == {}
    tuned.net.save(tmp_path / "net.spike")
    assert SpikeNet.load(tmp_path / "net.spike").meta == tuned.net.meta
    images = noise(20, 2).images
    with torch.no_grad():
        wanted = ClampQuantised(tuned)(torch.from_numpy(images)).numpy() / tuned.net.layers[-1].step
    np.testing.assert_array_equal(np.rint(wanted), tuned.net.golden(images))


def test_the_least_rows_go_first(conversion):
    """All at once, against loops over rows: squares of weights in counts times squares of values, by events."""
    images = noise(32, 3).images
    model = ClampQuantised(conversion, pruning=RowPruning(conversion, images, 0.3, LANES))
    model.pruning.after(1, 1, model.kernels)
    codes = golden.run(conversion.net, conversion.net.image.quantise(images), layers=True).codes
    index = next(i for i, node in enumerate(conversion.graph.nodes) if node.name == "f")
    node = conversion.graph.nodes[index]
    number = next(n for n, term in enumerate(node.terms) if not term.light)
    term, step = node.terms[number], conversion.steps[node.name]
    values = codes[term.tensor] * conversion.steps[term.tensor][:, None, None]
    events = statistics(conversion, images)[index, number].events
    scores = {}
    for block, channel, y, x in np.ndindex(2, 6, 3, 3):
        part = slice(LANES * block, LANES * block + LANES)
        change = ((term.weights[part, channel, y, x] / step[part]) ** 2).sum() * (values[:, channel] ** 2).mean()
        scores[block, channel, y, x] = change / max(events[channel, y, x], 1e-9)
    kept = live_rows(term.weights)
    there = [row for row in scores if kept[row]]
    order = sorted(there, key=scores.get)
    spent = np.cumsum([events[row[1:]] for row in order])
    gone = order[: int((spent <= 0.3 * spent[-1]).sum())]
    assert 5 < len(gone) < 60
    kept[tuple(np.array(gone).T)] = False
    np.testing.assert_array_equal(model.pruning.kept(index, number).numpy(), kept)
    weights = model.kernels(index)[number].detach().numpy()
    np.testing.assert_array_equal(live_rows(weights), kept)


def test_rows_go_gradually_and_stay_gone(conversion):
    """1 - (1 - t)**3 of them in the first half of the steps; none comes back when its weights are the largest."""
    pruning = RowPruning(conversion, noise(10).images, 0.6, LANES)
    rng, before, gone = np.random.default_rng(0), None, []
    nodes, first = conversion.graph.nodes, next(iter(pruning.importance))
    costs = pruning.events[first]
    for done in range(1, 41):
        pruning.after(done, 40, lambda i: [torch.from_numpy(rng.random(t.weights.shape)) for t in nodes[i].terms])
        kept = torch.cat([pruning.kept(i, n).flatten() for i, n in pruning.importance])
        assert before is None or not (kept & ~before).any()
        before = kept
        pruning.after(done, 40, None)  # once a round
        gone.append(float(costs[~pruning.kept(*first)].sum()))
    assert gone[19:] == gone[19:20] * 21
    for done, events in enumerate(gone[:20], 1):
        t = int(done * ROUNDS / 20) / ROUNDS
        wanted = (1 - (1 - t) ** 3) * 0.6 * float(costs.sum())
        assert wanted - float(costs.max()) < events <= wanted * (1 + 1e-8)


@pytest.mark.parametrize("share", [0, 0.25])
def test_a_share_of_nothing_changes_nothing(conversion, share):
    plain = finetune(conversion, noise(100), epochs=2, batch=25, shift=0, rate=1e-2, progress=False)
    assert (pruned(conversion, share).net.hash == plain.net.hash) == (share == 0)


def test_pruning_goes_on_after_a_break(conversion, tmp_path, stop_in_second_epoch):
    wanted = pruned(conversion, epochs=3).net.hash
    calls = stop_in_second_epoch()
    with pytest.raises(KeyboardInterrupt):
        pruned(conversion, epochs=3, checkpoints=tmp_path)
    other = pruned(conversion, 0.25, epochs=3, checkpoints=tmp_path)  # does not take the other's state
    assert other.net.meta["prune_rows"] == 0.25 and len(calls) == 5
    assert pruned(conversion, epochs=3, checkpoints=tmp_path).net.hash == wanted and len(calls) == 7


def test_rows_of():
    values = np.arange(1, 7).reshape(6, 1, 1, 1)
    assert rows_of(values, 4).reshape(2, 4).tolist() == [[1, 2, 3, 4], [5, 6, 0, 0]]


@pytest.mark.parametrize("share", [1, -0.1, float("nan"), True, "half"])
def test_bad_shares(conversion, share):
    with pytest.raises(OneSpikeError, match=rf"^prune_rows must be at least 0 and below 1, not {share!r}\.$"):
        finetune(conversion, noise(10), prune_rows=share, progress=False)


@pytest.mark.parametrize("lanes", [0, 257, 4.0])
def test_bad_lanes(conversion, lanes):
    with pytest.raises(OneSpikeError, match=rf"^prune_lanes must be a whole number in 1\.\.256, not {lanes}\.$"):
        finetune(conversion, noise(10), prune_rows=0.5, prune_lanes=lanes, progress=False)


def test_a_layer_without_rows(conversion):
    """The mended share works: so many rows of the layer are left as it has blocks."""
    message = (
        r"^Pruning 0\.99 of the rows leaves too few in layer '(.)', where one must stay for each 4 output channels; "
    )
    message += r"prune at most (0\.\d+)\.$"
    with pytest.raises(OneSpikeError, match=message) as error:
        pruned(conversion, 0.99)
    name, most = re.match(message, str(error.value)).groups()
    with pytest.raises(OneSpikeError, match=f"in layer '{name}', where"):
        pruned(conversion, float(most) + 0.01)
    tuned = pruned(conversion, float(most), epochs=1)
    layer = next(node for node in tuned.graph.nodes if node.name == name)
    assert all(sum(rows) for rows in zip(*(live_rows(t.weights).sum((1, 2, 3)) for t in layer.terms), strict=True))


def test_nothing_to_prune():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.c = nn.Conv2d(1, 4, 3), nn.Linear(144, 4)

        def forward(self, x):
            return self.c(F.relu(self.a(x)).flatten(1))

    data = noise(20)
    with pytest.raises(OneSpikeError, match=r"^No layer has rows to prune: the last layer, a convolution of the image"):
        finetune(prepare(Plain(), calibration=data.images), data, prune_rows=0.5, progress=False)

# SPDX-License-Identifier: Apache-2.0
"""Windows of a map, and the integer network that runs them one after the other."""

import dataclasses

import numpy as np
import pytest

from onespike import OneSpikeError
from onespike.model.network import windows
from onespike.model.network.windowed import WindowNet, summed
from onespike.model.neurons.fusion import TURN, fusion
from windows import pixels, small_windows


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("dilated", [False, True])
def test_windows_cover_the_map(groups, dilated):
    places = windows.regions(16, 8, groups, dilated)
    covered = np.zeros((16, 8), int)
    for rows, columns in places:
        covered[rows, columns] += 1
        tall, wide = (12, 6) if dilated else (8, 4)
        assert rows.stop - rows.start == (tall if groups > 1 else 16)
        assert columns.stop - columns.start == (wide if groups > 2 else 8)
    assert len(places) == groups and covered.min() == 1
    assert covered.max() == (groups if dilated else 1)
    assert [(r.start, c.start) for r, c in places] == sorted((r.start, c.start) for r, c in places)


def test_median_spikes_above_a_tenth_are_the_or():
    """The paper's (a + b) / 2 and (a + b + c + d) / 4, compared with 0.1."""
    for groups in (2, 4):
        places = windows.regions(4, 4, groups, dilated=True)
        for bits in range(1 << groups):
            spikes = np.array([bits >> w & 1 for w in range(groups)])
            maps = np.broadcast_to(spikes[:, None, None, None, None], (groups, 1, 1, *np.ones((4, 4))[places[0]].shape))
            found = windows.condense(maps, places, 4, 4)
            middle = [int(spikes.sum() / groups > 0.1)] * 4
            assert found[0, 0, 1:3, 1:3].reshape(-1).tolist() == middle
            assert found[0, 0, 0, 0] == spikes[0] and found[0, 0, 3, 3] == spikes[-1]


def test_alternate_layers_or_blocks_and_never_the_last_block():
    assert windows.plan("normal", 4, 3, 3) == [[False] * 3] * 3
    assert windows.plan("dilated", 4, 3, 3) == [[False, True, False], [True, False, True], [False] * 3]
    assert windows.plan("blocks", 2, 4, 3) == [[True] * 3, [False] * 3, [True] * 3, [False] * 3]
    assert windows.plan("dilated", 1, 3, 3) == [[False] * 3] * 3, "one window is the whole map"


def test_numbers_of_windows_that_are_not_known():
    for groups in (0, 3, 5, 8, -1):
        with pytest.raises(OneSpikeError, match=rf"Groups .* must be 1, 2 or 4, not {groups}\."):
            windows.regions(8, 8, groups, False)
    with pytest.raises(OneSpikeError, match="Windows must be one of normal, dilated, blocks, not"):
        windows.plan("wide", 4, 2, 3)
    with pytest.raises(OneSpikeError, match=r"A side of 6 does not divide into dilated windows; .* multiple of 4"):
        windows.regions(8, 6, 4, True)
    assert len(windows.regions(8, 7, 2, True)) == 2, "halves cut the rows alone"


@pytest.mark.parametrize("kind", ["normal", "dilated", "blocks"])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_every_neuron_by_its_definition(groups, kind):
    """Each membrane and spike from its own sum, the window before and the layer before, looked up one by one."""
    net, images = small_windows(5, groups, kind), pixels(1)
    run, rng = net.run(images), np.random.default_rng(0)
    maps = images
    for index, layer in enumerate(net.layers):
        height, width = maps.shape[2:]
        places = windows.regions(height, width, groups, layer.dilated)
        block = maps if layer.opens else block  # noqa: F821
        shape = run.sums[index].shape
        same = index > 0 and run.sums[index - 1].shape == shape
        for _ in range(40):
            w, _, o, y, x = at = tuple(int(rng.integers(0, side)) for side in shape)
            rows, columns = places[w]
            window, other = maps[0][:, rows, columns], block[0][:, rows, columns]
            around = np.pad(window, ((0, 0), (1, 1), (1, 1)))[:, y : y + 3, x : x + 3]
            total = (int((around * layer.weights[o]).sum()) << layer.lift) + int(layer.bias[o])
            if layer.shortcut is not None:
                total += int((other[:, y, x] * layer.shortcut[o, :, 0, 0]).sum())
            assert run.sums[index][at] == total
            own = int(run.membranes[index][w - 1, 0, o, y, x]) if w else 0
            before = int(run.membranes[index - 1][at]) if same else 0
            spike, kept = fusion(total, layer.shift[o], own, before, leak=layer.leak, threshold=layer.threshold,
                                 fraction=net.fraction)  # fmt: skip
            assert (run.spikes[index][at], run.membranes[index][at]) == (spike, kept)
        whole = windows.condense(run.spikes[index], places, height, width)
        pooled = whole.reshape(1, -1, height // 2, 2, width // 2, 2).max((3, 5)) if layer.pool == 2 else whole
        assert np.array_equal(run.maps[index], pooled)
        maps = run.maps[index]
    assert np.array_equal(run.logits[0], net.weights @ maps[0].sum((1, 2)) + net.bias)
    assert any(run.membranes[i].shape == run.membranes[i + 1].shape for i in range(5))


def test_images_do_not_depend_on_each_other():
    net, images = small_windows(2), pixels(6, seed=1)
    together = net.run(images)
    alone = [net.run(images[i : i + 1]) for i in range(6)]
    assert np.array_equal(together.logits, np.concatenate([one.logits for one in alone]))
    assert np.array_equal(together.membranes[3], np.concatenate([one.membranes[3] for one in alone], 1))
    sums = [summed(maps[None], net.layers[0].weights)[0, 0] for maps in (images, images[:1])]
    assert np.array_equal(*sums)
    with pytest.raises(OneSpikeError, match=r"takes images of \(1, 8, 8\), not of \(1, 6, 6\)"):
        net.run(images[..., :6, :6])


@pytest.mark.parametrize("groups", [1, 4])
def test_bits_of_the_membranes(groups):
    """Those that a run keeps of its largest layer: three before the point, for a turn of 8, and the fraction."""
    net = small_windows(5, groups, "dilated")
    most = max(kept[:, 0].size for kept in net.run(pixels(1)).membranes)
    assert net.membrane_bits == most * (net.fraction + TURN)


def test_file_keeps_everything_and_refuses_others(tmp_path):
    net, path = small_windows(3), tmp_path / "net.npz"
    net.save(path)
    found = WindowNet.load(path)
    assert np.array_equal(found.run(pixels(4)).logits, net.run(pixels(4)).logits)
    assert dataclasses.replace(found, layers=(), weights=0, bias=0).image == (1, 8, 8)
    for changes in ({"groups": 3}, {"fraction": 0}, {"layers": []}):
        dataclasses.replace(net, **changes).save(path)
        with pytest.raises(OneSpikeError, match=r"is no network of windows .* write it again with `onespike train"):
            WindowNet.load(path)
    bad = dataclasses.replace(net.layers[1], threshold=-3)
    dataclasses.replace(net, layers=[net.layers[0], bad, *net.layers[2:]]).save(path)
    with pytest.raises(OneSpikeError, match="a threshold must be positive"):
        WindowNet.load(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(OneSpikeError, match="is no network of windows"):
        WindowNet.load(path)
    path.write_bytes(b"PK nothing")
    with pytest.raises(OneSpikeError, match="is no network of windows"):
        WindowNet.load(path)

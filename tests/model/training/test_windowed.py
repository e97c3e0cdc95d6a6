# SPDX-License-Identifier: Apache-2.0
"""Windows that pass membranes on, in torch: the equations, training, and the integers that come of it."""

import math

import numpy as np
import pytest
import torch

from onespike import OneSpikeError
from onespike.model.network import windows
from onespike.model.training.data import Dataset
from onespike.model.training.train import Training
from onespike.model.training.window_integers import compare, integers
from onespike.model.training.window_training import rates, spikes_of, train_windows
from onespike.model.training.windowed import FUSIONS, FusionFire, Reaches, WindowedNet, WindowPlan, condensed, fuse

QUICK = Training(epochs=5, batch=20, rate=0.03, shift=0)
TINY = WindowPlan(widths=(4, 4))
pytestmark = pytest.mark.usefixtures("one_thread")


def blobs(number: int = 120) -> Dataset:
    rng = np.random.default_rng(0)
    labels = np.arange(number) % 4
    images = (rng.random((4, 1, 8, 8))[labels] + 0.2 * rng.random((number, 1, 8, 8))).clip(0, 1)
    return Dataset(name="blobs", images=images.astype(np.float32), labels=labels.astype(np.int64))


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_published_example_and_what_the_ablation_puts_in_its_place():
    a, b = torch.tensor(0.75), torch.tensor(0.5)
    assert fuse("omega", a, b).item() == pytest.approx(1.02656, abs=5e-6)
    assert fuse("sum", a, b).item() == 1.25 and fuse("previous", a, b).item() == 0.75
    assert fuse("none", a, b) is None
    # Without a window before, Omega(0, b) = 0; without a layer before, Omega(a, 0) = 2 sin(pi a / 4).
    assert fuse("omega", None, b) is None and fuse("previous", None, b) is None and fuse("sum", None, b) is b
    assert fuse("omega", a, None).item() == pytest.approx(2 * math.sin(math.pi * 0.75 / 4))


def test_windows_pass_membranes_on_and_fire_at_the_threshold():
    fire = FusionFire(WindowPlan(leak=0.25))
    current = torch.tensor([0.5, 0.4, 0.2, -0.3]).view(4, 1, 1, 1, 1)
    before = torch.tensor([0.0, 0.25, -0.5, 1.0]).view(4, 1, 1, 1, 1)
    spikes, membranes = (found.detach().flatten().tolist() for found in fire(current, before))
    wanted, own = [], 0.0
    for coming, other in zip(current.flatten().tolist(), before.flatten().tolist(), strict=True):
        u = 0.25 * 2 * math.sin(math.pi / 4 * own) * math.cos(math.pi / 4 * other) + coming
        own = u - 0.5 * (u >= 0.5)
        wanted.append((float(u >= 0.5), own))
    assert spikes == [spike for spike, _ in wanted] and spikes[0] == 1, "a tie fires"
    assert membranes == pytest.approx([kept for _, kept in wanted], abs=1e-6)
    # The part of a layer of another shape is 0.
    for shape in ((4, 1, 1, 2, 2), (2, 1, 1, 1, 1), (4, 1, 3, 1, 1)):
        alone = fire(current, None)[1]
        assert torch.equal(fire(current, torch.ones(shape))[1], alone)


@pytest.mark.parametrize("ratio", [-0.5, 0.0, 0.25, 1.0, 1.75, 2.0, 3.0])
def test_surrogate_slope_is_a_triangle_of_area_one(ratio):
    membrane = torch.tensor([ratio * 0.5], requires_grad=True)
    Reaches.apply(membrane, torch.tensor(0.5)).backward()
    assert membrane.grad.item() == pytest.approx(max(0.0, 1 - abs(ratio - 1)) / 0.5)


@pytest.mark.parametrize("dilated", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_condensed_is_the_or(groups, dilated):
    places = windows.regions(8, 8, groups, dilated)
    rows, columns = places[0]
    shape = (groups, 2, 3, rows.stop - rows.start, columns.stop - columns.start)
    spikes = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.4).float().requires_grad_()
    found = condensed(spikes, places, 8, 8)
    wanted = windows.condense(spikes.detach().numpy().astype(np.int64), places, 8, 8)
    assert np.array_equal(found.detach().numpy(), wanted)
    found.sum().backward()
    assert spikes.grad[spikes == 0].min() >= 0 and spikes.grad.max() == 1


def test_quarters_never_meet_in_normal_windows_and_do_in_dilated_ones():
    """A pixel's change in one quarter of the first block reaches the others only over dilated windows."""
    reached = {}
    for kind in windows.KINDS:
        torch.manual_seed(0)
        net = WindowedNet(WindowPlan(widths=(4, 4), windows=kind, fusion="none")).eval()
        with torch.no_grad():
            images = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(1))
            net.train()
            for _ in range(20):  # batch norms see what they norm
                net(images)
            net.eval()
            changed = images.clone()
            changed[:, :, 2:4, 2:4] = 1 - changed[:, :, 2:4, 2:4]
            maps = [net.blocks[0](x, None)[0] for x in (images, changed)]
        differs = (maps[0] != maps[1]).any(0).any(0)
        assert differs[:4, :4].any()
        reached[kind] = bool(differs[4:].any() or differs[:, 4:].any())
    assert reached == {"normal": False, "dilated": True, "blocks": True}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_weight_learns(fusion):
    torch.manual_seed(0)
    net, data = WindowedNet(WindowPlan(widths=(4, 4), fusion=fusion)).train(), blobs()
    net(torch.from_numpy(data.images)).square().sum().backward()
    still = [name for name, value in net.named_parameters() if value.grad is None or not value.grad.any()]
    assert still == ([name for name, _ in net.named_parameters() if "leak" in name] if fusion == "none" else [])


def test_training_learns_goes_on_after_a_break_and_is_found_again(tmp_path, stop_in_second_epoch):
    data, plan = blobs(), WindowPlan(widths=(6, 6))
    net, reused = train_windows(data, plan, QUICK, tmp_path / "whole", progress=False)
    assert not reused
    stop_in_second_epoch()
    with pytest.raises(KeyboardInterrupt):
        train_windows(data, plan, QUICK, tmp_path / "broken", progress=False)
    assert len(list((tmp_path / "broken").glob("*.checkpoint"))) == 1
    other, _ = train_windows(data, plan, QUICK, tmp_path / "broken", progress=False)
    assert same(net, other)
    again, reused = train_windows(data, plan, QUICK, tmp_path / "broken", progress=False)
    assert reused and same(net, again)
    with torch.no_grad():
        right = (net(torch.from_numpy(data.images)).argmax(1).numpy() == data.labels).mean()
    assert right > 0.4
    found = rates(net, torch.from_numpy(data.images))
    assert len(found) == 6 and all(0 < rate < 1 for rate in found)


def test_another_configuration_is_not_resumed(tmp_path, stop_in_second_epoch):
    data = blobs()
    stop_in_second_epoch()
    with pytest.raises(KeyboardInterrupt):
        train_windows(data, TINY, QUICK, tmp_path, progress=False)
    (left,) = tmp_path.glob("*.checkpoint")
    other = WindowPlan(widths=(4, 4), groups=2)
    net, _ = train_windows(data, other, QUICK, tmp_path, progress=False)
    assert left.is_file() and net.plan == other, "each has a state of its own"
    # Even where someone gives one the name of the other.
    (mine,) = tmp_path.glob("*.npz")
    mine.unlink()
    left.rename(mine.with_suffix(".checkpoint"))
    with pytest.raises(OneSpikeError, match=r"has another configuration \(groups 4, not 2\); begin anew in another "):
        train_windows(data, other, QUICK, tmp_path, progress=False)


def test_weights_that_leave_the_numbers_are_told(tmp_path):
    net = WindowedNet(TINY)
    with torch.no_grad():
        net.blocks[1].fire2.leak.fill_(float("nan"))
    with pytest.raises(OneSpikeError, match=r"blocks\.1\.fire2\.leak became NaN or infinite; .* lower --rate"):
        net.check()
    with pytest.raises(OneSpikeError, match="became NaN or infinite"):
        integers(net, (1, 8, 8))
    with pytest.raises(OneSpikeError, match="became NaN or infinite"):
        data = blobs(40)
        data.images[3] = np.nan
        train_windows(data, TINY, QUICK, tmp_path, progress=False)


def test_integers_agree_with_torch():
    data = blobs()
    torch.manual_seed(0)
    net = WindowedNet(WindowPlan(widths=(6, 6)), classes=4).train()
    with torch.no_grad():
        for _ in range(20):
            net(torch.from_numpy(data.images))
    net.eval()
    coarse, fine = (
        compare(net, integers(net, (1, 8, 8), fraction=f, weight_bits=w), data.images, data.labels)
        for f, w in ((4, 5), (12, 16))
    )
    assert min(fine.spikes) > 0.99 and fine.classes > 0.95 and fine.images == 120
    assert min(coarse.spikes) < min(fine.spikes)
    whole = integers(net, (1, 8, 8))
    run, spikes = whole.run(whole.pixels(data.images)), spikes_of(net, torch.from_numpy(data.images))[0]
    assert [one.shape for one in run.spikes] == [tuple(other.shape) for other in spikes]
    assert max(abs(layer.weights).max() for layer in whole.layers) <= 127


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"groups": 3}, r"Groups \(windows of a timestep\) must be 1, 2 or 4, not 3\."),
        ({"windows": "wide"}, "Windows must be one of normal, dilated, blocks, not 'wide'"),
        ({"fusion": "product"}, "Membranes are fused by omega, sum, previous, none, not 'product'"),
        ({"widths": ()}, r"1\.\.1024 each, not \[\]"),
        ({"threshold": float("nan")}, "The threshold must be a positive number, not nan; the paper's is 0.5"),
        ({"threshold": -0.5}, "must be a positive number, not -0.5"),
        ({"threshold": 0.0}, "must be a positive number, not 0"),
        ({"leak": float("nan")}, r"The leak must lie in 0\.\.1, not nan"),
        ({"pad": -1}, r"The padding must lie in 0\.\.64, not -1"),
    ],
)
def test_settings_that_cannot_be(settings, sentence):
    with pytest.raises(OneSpikeError, match=sentence):
        WindowPlan(**settings)


@pytest.mark.parametrize(
    ("settings", "side", "mended"),
    [({}, 28, 2), ({"windows": "normal"}, 28, 2), ({"groups": 1}, 28, 2), ({"widths": (8, 8)}, 30, 1)],
)
def test_images_that_do_not_divide(settings, side, mended, tmp_path):
    """What the sentence says to do, works."""
    sentence = rf"Images of {side} x {side} .* do not divide into windows.* --pad {mended},"
    with pytest.raises(OneSpikeError, match=sentence):
        WindowPlan(**settings).check_image(side, side)
    WindowPlan(**settings, pad=mended).check_image(side, side)
    net = WindowedNet(WindowPlan(**settings, pad=mended)).eval()
    assert net(torch.zeros(1, 1, side, side)).shape == (1, 10)


def test_only_omega_has_integers_and_labels_are_needed(tmp_path):
    with pytest.raises(OneSpikeError, match="Only the fusion 'omega' has an integer network, not 'sum'"):
        integers(WindowedNet(WindowPlan(widths=(4, 4), fusion="sum")), (1, 8, 8))
    with pytest.raises(OneSpikeError, match=r"1\.\.16 fraction bits and weights 2\.\.16, not 0 and 8"):
        integers(WindowedNet(TINY), (1, 8, 8), fraction=0)
    bare = Dataset(name="bare", images=blobs(8).images, labels=np.empty((8, 0), np.int64))
    with pytest.raises(OneSpikeError, match="bare has no class for each image"):
        train_windows(bare, TINY, QUICK, tmp_path, progress=False)

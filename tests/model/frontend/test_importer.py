# SPDX-License-Identifier: Apache-2.0
"""Every supported module becomes a graph that equals it in float64; every other is refused with its source line."""

import re
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from modules import SUPPORTED, Plain, conv, everything, randomise
from onespike.model.convert.converter import prepare
from onespike.model.errors import OneSpikeError
from onespike.model.frontend import importer
from onespike.model.frontend.importer import import_exported, import_module
from onespike.model.network.spec import INPUT
from onespike.model.training.networks import build


@pytest.mark.parametrize("name", SUPPORTED)
def test_graph_equals_the_module_and_converts(name):
    make, shape = SUPPORTED[name]
    torch.manual_seed(1)
    module = randomise(make())
    graph = import_module(module, torch.zeros(shape))  # checks itself to 1e-9
    images = np.random.default_rng(0).random((40, *graph.shape)).astype(np.float32)
    # With fine steps and wide weights the integers follow the float network closely: geometry and folding are right.
    fine = prepare(
        graph, None, images, groups=2047, weight_bits=16, accumulator_bits=48, clip="percentile", percentile=100
    )
    codes = fine.net.image.quantise(images) / 255
    wanted = graph.run(codes)
    found = fine.net.golden(images) * fine.net.layers[-1].step
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


def test_normalised_image_is_padded_with_its_mean():
    graph = import_module(randomise(everything()), torch.zeros(1, 2, 9, 8))
    assert graph.pad == (0.5, 0.5)
    assert prepare(graph, None, np.random.default_rng(0).random((4, 2, 9, 8))).image.pad_code == (128, 128)


def test_nodes_are_as_few_as_can_be():
    graph = import_module(randomise(everything()), torch.zeros(1, 2, 9, 8))
    assert [node.name for node in graph.nodes] == ["a", "b", "b_2", "c", "c.pool", "d"]
    by_name = {node.name: node for node in graph.nodes}
    # Max pool before the ReLU joined its layer; the average pool after it is an exact copy.
    assert by_name["c"].pool is not None and by_name["c"].pool.kind == "max"
    assert by_name["c.pool"].exact and by_name["c.pool"].pool.kind == "sum"
    # The addition reads both tensors.
    assert [term.tensor for term in by_name["b_2"].terms] == ["b", "a"]
    assert by_name["a"].terms[0].tensor == INPUT
    assert "modules.py" in by_name["a"].where


def test_reparameterised_branches_become_one_kernel():
    graph = import_module(randomise(SUPPORTED["RepVGG"][0]()), torch.zeros(1, 1, 4, 4))
    assert [len(node.terms) for node in graph.nodes] == [1, 1, 1]
    assert graph.nodes[1].terms[0].weights.shape == (4, 4, 3, 3)


def test_a_pooled_tensor_that_is_also_read_whole_becomes_a_copy():
    module = Plain(
        lambda m, x: m.c(torch.cat([F.max_pool2d(y := F.relu(m.a(x)), 2).flatten(1), F.relu(m.b(y)).flatten(1)], 1)),
        a=conv(1, 2),
        b=conv(2, 2, 2, stride=2),
        c=nn.Linear(16, 2),
    )
    graph = import_module(module.eval(), torch.zeros(1, 1, 6, 6))
    assert [(node.name, node.exact) for node in graph.nodes] == [
        ("a", False),
        ("a.pool", True),
        ("b", False),
        ("c", False),
    ]


def test_no_result_is_refused():
    class None_(nn.Module):
        def forward(self, x):
            return None, 3

    with pytest.raises(OneSpikeError, match=r"^The network must return one tensor of logits, not 0 tensors\.$"):
        import_module(None_().eval(), torch.zeros(1, 1, 4, 4))


HERE = r"\[\w+\.py, line \d+: .*\]\.$"
REFUSED = {
    "unsupported": (
        lambda: Plain(lambda m, x: m.b(m.act(m.a(x)).flatten(1)), a=conv(1, 2), act=nn.SiLU(), b=nn.Linear(8, 2)),
        r"^Layer 'act' \(SiLU, silu\): this operation is not supported; the nearest supported choice is ReLU " + HERE,
    ),
    "unsupported function": (
        lambda: Plain(lambda m, x: m.b(F.gelu(m.a(x)).flatten(1)), a=conv(1, 2), b=nn.Linear(8, 2)),
        r"^Layer 'gelu' \(gelu\): this operation is not supported; the nearest supported choice is ReLU " + HERE,
    ),
    "average of clipped windows": (
        lambda: nn.Sequential(
            conv(1, 2, 2), nn.ReLU(), nn.AvgPool2d(2, padding=1, count_include_pad=False), conv(2, 2, 2)
        ),
        r"^Layer '3' \(Conv2d, conv2d\): a convolution after an average over uneven windows \(ceil_mode, "
        r"count_include_pad=False or an adaptive pool\) is not supported, only a linear layer over the whole map is; "
        r"use windows that fit the map: ceil_mode=False, count_include_pad=True, an adaptive pool to a size",
    ),
    "circular padding": (
        lambda: nn.Sequential(conv(1, 2, padding=1, padding_mode="circular"), nn.Flatten(), nn.Linear(32, 2)),
        r"^Layer '0' \(Conv2d, pad\): padding with 'circular' is not supported; pad with",
    ),
    "product of activations": (
        lambda: Plain(lambda m, x: m.b((F.relu(y := m.a(x)) * F.relu(-y)).flatten(1)), a=conv(1, 2), b=nn.Linear(8, 2)),
        r"^Layer 'mul' \(mul\): two activations are multiplied; only constants may be factors " + HERE,
    ),
    "softmax inside": (
        lambda: Plain(lambda m, x: m.b(m.a(x).flatten(1).softmax(1)), a=conv(1, 2), b=nn.Linear(8, 2)),
        r"^Layer 'softmax' \(softmax\): this operation is not supported; the nearest supported choice is softmax",
    ),
    "map in another order": (
        lambda: Plain(lambda m, x: m.b(F.relu(m.a(x)).transpose(2, 3)).flatten(1), a=conv(1, 2), b=conv(2, 2, 2)),
        r"^Layer 'b' \(Conv2d, conv2d\): a reshape, permute or upsampling before it leaves a map that is not "
        r"\(channels, height, width\) in place; only a linear layer over the whole map can read that",
    ),
    "different shapes": (
        lambda: Plain(lambda m, x: m.b((m.a(x) + x[:, :, ::2, ::2]).flatten(1)), a=conv(1, 2), b=nn.Linear(8, 2)),
        r"^Layer 'add' \(add\): the added maps have different shapes or orders, \(2, 2, 2\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_layer_kind_and_source_line(name):
    make, message = REFUSED[name]
    with pytest.raises(OneSpikeError) as caught:
        import_module(make().eval(), torch.zeros(1, 1, 4, 4))
    assert re.search(message, str(caught.value)), str(caught.value)


def decides(m, x):
    x = m.a(x)
    return m.b((F.relu(x) if x.sum() > 0 else x).flatten(1))


def one(activation):
    """A network with the activation in the middle."""
    return nn.Sequential(conv(1, 2), activation, nn.Flatten(), nn.Linear(8, 2))


def taking(function):
    return Plain(lambda m, x: m.b(function(F.relu(m.a(x)))), a=conv(1, 2), b=nn.Linear(8, 2))


BATCH = (
    r"mixes the images of a batch, or its shape does not follow the batch; keep the batch first, as in x\.flatten\(1\)"
)
BAD = {
    "GELU": (lambda: one(nn.GELU()), r"^Layer '1' \(GELU, gelu\): .*; the nearest supported choice is ReLU\.$"),
    "softmax": (lambda: one(nn.Softmax(1)), r"^Layer '1' \(Softmax, softmax\): .* softmax only as the last operation"),
    "layer norm": (
        lambda: one(nn.GroupNorm(1, 2)),
        r"^Layer '1' \(GroupNorm, group_norm\): .* choice is batch norm\.$",
    ),
    "batch statistics": (
        lambda: one(nn.BatchNorm2d(2, track_running_stats=False)),
        r"^Layer '1' \(BatchNorm2d, .*\): .* the nearest supported choice is batch norm with running statistics\.$",
    ),
    "data-dependent": (
        lambda: Plain(decides, a=conv(1, 2), b=nn.Linear(8, 2)),
        r"^Plain decides from the values of its data what to compute, but a spiking network is the same for every "
        r"image; compute both ways and add them, or remove the condition \[\w+\.py, line \d+: return m\.b\(",
    ),
    "fixed batch": (lambda: taking(lambda x: x.reshape(1, -1)[:, :8]), f"^Layer 'view' .*: it {BATCH}"),
    "batch as channels": (lambda: taking(lambda x: x.reshape(-1, 4).reshape(-1, 8)), f"^Layer 'view' .*: it {BATCH}"),
    "pixel shuffle": (
        lambda: nn.Sequential(conv(1, 8), nn.ReLU(), nn.PixelShuffle(2), conv(2, 2), nn.Flatten()),
        r"^Layer '3' \(Conv2d, conv2d\): a reshape, permute or upsampling before it leaves a map that is not",
    ),
    "uneven maximum": (
        lambda: nn.Sequential(conv(1, 2, 2), nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(8, 2)),
        r"^Layer '2' \(Adaptive.*\): an adaptive max pool from 3x3 to 2x2 has uneven windows; use MaxPool2d\.$",
    ),
    "wrong shape": (
        lambda: nn.Sequential(conv(1, 2), nn.ReLU(), nn.Flatten(), nn.Linear(9, 2)),
        r"^torch\.export cannot read Sequential with an input of \[1, 1, 4, 4\]: .*$",
    ),
    "mistake in the module": (
        lambda: Plain(lambda m, x: m.absent(x)),
        r"^torch\.export cannot read Plain .*: 'Plain' object has no attribute 'absent' \[\w+\.py, line \d+: ",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name, capfd):
    make, message = BAD[name]
    with pytest.raises(OneSpikeError) as caught:
        import_module(make().eval(), torch.zeros(1, 1, 4, 4))
    assert re.search(message, str(caught.value)) and "\n" not in str(caught.value), str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_network_of_the_size_of_resnet50_imports_in_half_a_minute():
    module = build("resnet50").eval()
    started = time.process_time()
    graph = import_module(module, torch.zeros(1, 3, 224, 224))
    assert time.process_time() - started < 30
    assert len(graph.nodes) == 50 and max(len(node.terms) for node in graph.nodes) == 2


def test_training_mode_is_refused():
    module = nn.Sequential(conv(1, 2), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    with pytest.raises(
        OneSpikeError,
        match=r"^Layer '1' \(BatchNorm2d\) is in training mode; call module.eval\(\) before the import\.$",
    ):
        import_module(module.train(), torch.zeros(2, 1, 4, 4))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(value):
    module = build("mlp").eval()
    module[3].weight.data[1, 2] = value
    with pytest.raises(
        OneSpikeError, match=r"^The parameter '3.weight' holds NaN or infinite values; train the network again\.$"
    ):
        import_module(module, torch.zeros(1, 1, 28, 28))


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (None, r"^The example must be one batch of inputs such as \[1, channels, height, width\], not NoneType\.$"),
        (torch.zeros(784), r"^The example must be one batch of inputs .*, not shape \[784\]\.$"),
        (
            torch.zeros(1, 1, 28, 28, dtype=torch.uint8),
            r"^The example must hold floating-point numbers, not torch.uint8",
        ),
        (torch.zeros(1, 1, 5, 5), r"^torch.export cannot read Mlp with an input of \[1, 1, 5, 5\]: "),
    ],
)
def test_bad_examples(example, message):
    with pytest.raises(OneSpikeError, match=message):
        import_module(build("mlp").eval(), example)


def test_exported_file(tmp_path):
    torch.manual_seed(0)
    module = randomise(everything())
    images = torch.rand(3, 2, 9, 8)
    torch.export.save(torch.export.export(module, (images,)), tmp_path / "net.pt2")
    graph = import_exported(tmp_path / "net.pt2")
    np.testing.assert_allclose(graph.run(images.numpy()), module(images).detach().numpy(), rtol=1e-3, atol=1e-5)
    (tmp_path / "broken.pt2").write_bytes((tmp_path / "net.pt2").read_bytes()[:500])
    with pytest.raises(OneSpikeError, match=r"broken.pt2 is not a .pt2 file of torch.export \(.*\); write it with"):
        import_exported(tmp_path / "broken.pt2")
    with pytest.raises(OneSpikeError, match=r"^Cannot read .*absent.pt2: no such file\.$"):
        import_exported(tmp_path / "absent.pt2")


def test_the_check_would_notice_a_wrong_graph(monkeypatch):
    monkeypatch.setattr(importer, "TOLERANCE", 1e-18)
    with pytest.raises(OneSpikeError, match=r"^The imported graph differs from the module by .* please report"):
        import_module(build("digits").eval(), torch.zeros(1, 1, 28, 28))


def test_more_tensors_than_a_layer_reads():
    """Without values that have a sign; with them, part of the sum is stored."""
    module = Plain(
        lambda m, x: m.z(F.relu(sum(F.relu(a(x)) for a in m.a)).flatten(1)),
        a=nn.ModuleList(conv(1, 2) for _ in range(17)),
        z=nn.Linear(8, 2),
    )
    with pytest.raises(OneSpikeError, match=r"^Layer 'relu_17' \(relu\): it depends on 17 tensors without a ReLU of"):
        import_module(module, torch.zeros(1, 1, 4, 4), False)
    assert max(len(node.terms) for node in import_module(module, torch.zeros(1, 1, 4, 4)).nodes) <= 16


@pytest.mark.parametrize(
    "pool",
    [nn.AvgPool2d(2, ceil_mode=False), nn.AvgPool2d(3, 1, 1, count_include_pad=True), nn.AdaptiveAvgPool2d(3)],
    ids=["ceil_mode=False", "count_include_pad=True", "adaptive size"],
)
def test_ways_out_of_uneven_windows(pool):
    """What the refusal of a convolution behind uneven averages names, on a map of 9 x 9."""
    module = nn.Sequential(conv(1, 2, padding=1), nn.ReLU(), pool, conv(2, 2, 2), nn.ReLU(), nn.Flatten())
    outputs = module(torch.zeros(1, 1, 9, 9)).shape[1]
    graph = import_module(nn.Sequential(module, nn.Linear(outputs, 2)).eval(), torch.zeros(1, 1, 9, 9))
    assert [node.name for node in graph.nodes if not node.exact] == ["0.0", "0.3", "1"]

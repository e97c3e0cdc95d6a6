# SPDX-License-Identifier: Apache-2.0
"""Whatever torch.export can write, and whatever modules return, becomes the graph that the module's own floats say."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

from modules import SUPPORTED, Plain, conv, randomise
from onespike.model.convert.converter import graph_of, prepare
from onespike.model.errors import OneSpikeError
from onespike.model.frontend.importer import import_exported, import_module, import_program

IMAGES = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def network(forward=None, classes=3) -> nn.Module:
    """Convolution, ReLU, linear layer; `forward` takes (module, image, logits) and says what is returned."""
    torch.manual_seed(0)
    layers = {"a": conv(1, 4), "b": nn.Linear(64, classes)}
    whole = lambda m, x: m.b(F.relu(m.a(x)).flatten(1))  # noqa: E731
    return Plain(whole if forward is None else lambda m, x: forward(m, x, whole(m, x)), **layers).eval()


def logits(module: nn.Module) -> np.ndarray:
    """Of the module without what `forward` makes of them."""
    with torch.no_grad():
        return module.b(F.relu(module.a(IMAGES)).flatten(1)).numpy()


def same(graph, wanted: np.ndarray) -> None:
    """The float graph and fine integers give `wanted`."""
    wanted = wanted.reshape(len(IMAGES), -1)
    np.testing.assert_allclose(graph.run(IMAGES.numpy()), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    fine = prepare(graph, None, IMAGES.numpy(), groups=1023, weight_bits=16, accumulator_bits=48, percentile=100,
                   clip="percentile", refit=False)  # fmt: skip
    found = fine.net.golden(IMAGES.numpy()) * fine.net.layers[-1].step
    assert np.abs(found - wanted).max() < 0.03 * np.abs(wanted).max()


BATCHES = {  # how the user's code follows the batch
    "flatten": lambda m, x: m.b(F.relu(m.a(x)).flatten(1)),
    "view": lambda m, x: m.b(F.relu(m.a(x)).view(x.size(0), -1)),
    "reshape of a computed size": lambda m, x: m.b(F.relu(m.a(x)).reshape(x.shape[0], 2 * 32)),
    "view without the size": lambda m, x: m.b(F.relu(m.a(x)).view(-1, 64)),
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_that_is_left_open(name, tmp_path):
    module = Plain(BATCHES[name], **dict(network().named_children())).eval()
    program = torch.export.export(module, (IMAGES[:2],), dynamic_shapes=({0: torch.export.Dim("N")},))
    torch.export.save(program, tmp_path / "net.pt2")
    same(import_exported(tmp_path / "net.pt2"), logits(module))


def test_a_size_that_is_left_open_is_the_one_of_the_export():
    layers = {"a": conv(1, 4), "b": nn.Linear(4, 3)}
    module = Plain(lambda m, x: m.b(F.relu(m.a(x)).mean((2, 3))), **layers).eval()
    sizes = {0: torch.export.Dim("N"), 2: torch.export.Dim("H", min=4), 3: torch.export.Dim("W", min=4)}
    graph = import_program(torch.export.export(module, (IMAGES,), dynamic_shapes=(sizes,)))
    assert graph.notes == ("Images of several sizes fit; this network is for [1, 6, 6], as exported.",)
    with torch.no_grad():
        same(graph, module(IMAGES).numpy())


@pytest.mark.parametrize("name", ["everything", "RepVGG", "one dimension", "mlp", "clamp, mm, weight norm"])
def test_decomposed_programs_are_the_same_graph(name):
    make, shape = SUPPORTED[name]
    torch.manual_seed(1)
    module, example = randomise(make()), torch.rand(2, *shape[1:])
    wanted = import_module(module, example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        program = torch.export.export(module, (example,)).run_decompositions()
    found = graph_of(program)
    assert len(found.nodes) == len(wanted.nodes)
    images = np.random.default_rng(0).random((3, *wanted.shape))
    expected = wanted.run(images)
    assert np.abs(found.run(images) - expected).max() < 1e-9 * np.abs(expected).max()


def test_a_program_stays_the_users():
    module = network()
    program = torch.export.export(module, (IMAGES,))
    same(import_program(program), logits(module))
    assert all(tensor.dtype == torch.float32 for tensor in program.state_dict.values())
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())


def pruned(module):
    prune.l1_unstructured(module.a, "weight", 0.5)
    prune.l1_unstructured(module.b, "weight", 0.5)


def normed(module):
    nn.utils.weight_norm(module.a)
    nn.utils.weight_norm(module.b)


def spectral(module):
    nn.utils.spectral_norm(module.a)


@pytest.mark.parametrize("hook", [pruned, normed, spectral])
@pytest.mark.parametrize("images", [1, 2])
def test_modules_with_hooks(hook, images):
    module = network()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have parametrisations
        hook(module)
    module.eval()
    module(IMAGES)  # as after training: the weights are made tensors, which cannot be copied
    same(import_module(module, IMAGES[:images]), logits(module))
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())


OUTPUTS = {
    "a tuple": lambda m, x, y: (None, y),
    "a dictionary": lambda m, x, y: {"loss": None, "logits": y},
    "the same twice": lambda m, x, y: (y, y),
    "a number beside it": lambda m, x, y: (0.5, y),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_logits_among_other_outputs(name):
    module = network(OUTPUTS[name])
    same(import_module(module, IMAGES[:1]), logits(module))


ENDINGS = {
    "squeeze": (lambda m, x, y: y.squeeze(1), 1),
    "select": (lambda m, x, y: y[:, 0], 1),
    "sigmoid, squeeze": (lambda m, x, y: torch.sigmoid(y).squeeze(-1), 1),
    "argmax that keeps its axis": (lambda m, x, y: y.argmax(1, keepdim=True), 3),
    "argmax, view": (lambda m, x, y: y.argmax(1).view(-1, 1), 3),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_endings(name):
    forward, classes = ENDINGS[name]
    module = network(forward, classes)
    same(import_module(module, IMAGES[:1]), logits(module))


MAPS = {
    "softmax": lambda y: F.softmax(y, 1),
    "log-softmax": lambda y: F.log_softmax(y, 1),
    "argmax": lambda y: y.argmax(1),
    "sigmoid": torch.sigmoid,
    "softmax, flatten": lambda y: F.softmax(y, 1).flatten(1),
    "one channel": lambda y: y[:, :1].squeeze(1),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps_of_classes(name):
    """Segmentation: a class for every place."""
    torch.manual_seed(0)
    layers = {"a": conv(1, 4, padding=1), "c": conv(4, 3, 1)}
    module = Plain(lambda m, x: MAPS[name](m.c(F.relu(m.a(x)))), **layers).eval()
    graph = import_module(module, IMAGES[:1])
    with torch.no_grad():
        wanted = module.c(F.relu(module.a(IMAGES)))
    same(graph, (wanted[:, :1] if name == "one channel" else wanted).numpy())
    if name == "argmax":
        assert graph.notes == ("The last argmax is left out: logits are given, argmax over axis 1 stays the same.",)
        found = graph.run(IMAGES.numpy()).reshape(wanted.shape).argmax(1)
        assert np.array_equal(found, module(IMAGES).numpy())


def test_what_compares_images_is_refused():
    for forward in (lambda m, x, y: F.softmax(y, 0), lambda m, x, y: y.argmax()):
        with pytest.raises(OneSpikeError, match=r"it compares the images of a batch with each other; give it the axis"):
            import_module(network(forward), IMAGES[:1])


FACTORS = {
    "addmm": lambda m, x: torch.addmm(m.k, m.r(x), m.w, beta=0.25, alpha=3),
    "addmm of an activation": lambda m, x: torch.addmm(m.r(x) @ m.w, m.r(x), m.w, beta=-0.5, alpha=2),
    "add": lambda m, x: m.r(x) @ m.w + torch.add(m.b(x.flatten(1)), m.r(x) @ m.w, alpha=2.5),
    "add a constant": lambda m, x: torch.add(m.r(x) @ m.w, m.k, alpha=3),
    "a constant plus": lambda m, x: torch.add(m.k, m.r(x) @ m.w, alpha=-3),
    "sub": lambda m, x: torch.sub(m.r(x) @ m.w, m.b(x.flatten(1)), alpha=0.5),
    "sub a constant": lambda m, x: torch.sub(m.r(x) @ m.w, m.k, alpha=3),
    "rsub": lambda m, x: torch.rsub(m.r(x) @ m.w, m.k, alpha=3),
}


@pytest.mark.parametrize("name", FACTORS)
def test_factors_of_sums(name):
    generator = torch.Generator().manual_seed(1)
    module = Plain(
        FACTORS[name],
        a=nn.Linear(36, 5),
        b=nn.Linear(36, 3),
        k=nn.Parameter(torch.randn(3, generator=generator) * 5),
        w=nn.Parameter(torch.randn(5, 3, generator=generator)),
    ).eval()
    module.r = lambda x: F.relu(module.a(x.flatten(1)))
    graph = import_module(module, IMAGES[:1])
    with torch.no_grad():
        wanted = module(IMAGES).numpy()
    np.testing.assert_allclose(graph.run(IMAGES.numpy()), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_a_factor_per_channel_of_a_map_with_one_axis():
    factor = torch.tensor([[2.0], [0.5], [1.0]])
    module = Plain(
        lambda m, x: m.b(F.relu(m.a(x) * factor + factor).flatten(1)), a=nn.Conv1d(2, 3, 3), b=nn.Linear(18, 2)
    ).eval()
    x = torch.rand(4, 2, 8)
    with torch.no_grad():
        np.testing.assert_allclose(import_module(module, x).run(x.numpy()[:, :, None]), module(x).numpy(), atol=1e-5)


def test_a_module_that_answers_nan_is_refused():
    for forward in (lambda m, x, y: y * float("nan"), lambda m, x, y: y / torch.zeros(3)):
        with pytest.raises(OneSpikeError, match=r"^Layer .*: its numbers make NaN or infinite values; train the"):
            import_module(network(forward), IMAGES[:1])

    class Moody(nn.Module):
        """Infinite where the program that torch reads is not."""

        def __init__(self):
            super().__init__()
            self.a = nn.Linear(36, 3)

        def forward(self, x):
            y = self.a(x.flatten(1))
            return y if torch.compiler.is_compiling() else y * float("nan")

    with pytest.raises(OneSpikeError, match=r"^The module answers NaN or infinite values for random numbers; train"):
        import_module(Moody().eval(), IMAGES[:1])


@pytest.mark.parametrize("layer", [nn.Linear(36, 6), nn.Linear(36, 36)])
def test_a_quantiser_behind_a_linear_layer_is_no_quantiser_of_the_image(layer):
    """On (N, features), where a linear layer is made of single places."""
    fake = torch.fake_quantize_per_tensor_affine
    module = Plain(lambda m, x: m.b(fake(m.a(x), 0.125, 0, 0, 15)), a=layer, b=nn.Linear(layer.out_features, 3)).eval()
    rows = IMAGES.flatten(1)
    graph = import_module(module, rows)
    assert graph.image is None and graph.nodes[0].staircase.groups == 15
    with torch.no_grad():
        np.testing.assert_allclose(graph.run(rows.numpy()[:, :, None, None]), module(rows).numpy(), atol=1e-5)

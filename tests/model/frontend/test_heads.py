# SPDX-License-Identifier: Apache-2.0
"""Networks with maps and with several tensors as outputs: each comes out as the network gives it, by its name."""

import warnings

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modules import Plain
from onespike.model.convert.converter import convert
from onespike.model.errors import OneSpikeError
from onespike.model.frontend.importer import import_module
from onespike.model.frontend.onnx_import import import_onnx

EXAMPLE = torch.rand((16, 1, 6, 4), generator=torch.Generator().manual_seed(0))


def heads(end):
    """Two convolutions with a ReLU; `end` makes outputs of the map y [N, 6, 3, 2] with heads for classes and boxes."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = {
            "a": nn.Conv2d(1, 5, 3, padding=1), "b": nn.Conv2d(5, 6, 3, stride=2, padding=1),
            "cls": nn.Conv2d(6, 3, 1), "box": nn.Conv2d(6, 4, 3, padding=1), "fc": nn.Linear(6, 2),
        }  # fmt: skip
    return Plain(lambda m, x: end(m, F.relu(m.b(F.relu(m.a(x))))), **layers).eval()


CASES = {  # what the network returns, and what its outputs are called: by torch, by ONNX
    "a map": (lambda m, y: m.cls(y), ["output"], ["output"]),
    "a tuple": (lambda m, y: (m.cls(y), m.box(y)), ["output0", "output1"], ["p", "q"]),
    "names": (lambda m, y: {"classes": m.cls(y), "boxes": m.box(y)}, ["classes", "boxes"], ["p", "q"]),
    "nested": (lambda m, y: (None, {"b": [m.box(y), m.cls(y)]}), ["1.b.0", "1.b.1"], ["p", "q"]),
    "channels last": (lambda m, y: m.cls(y).permute(0, 2, 3, 1), ["output"], ["p"]),
    "anchors": (
        lambda m, y: (m.cls(y).permute(0, 2, 3, 1).reshape(len(y), -1, 3), m.box(y).flatten(2).transpose(1, 2)),
        ["output0", "output1"],
        ["p", "q"],
    ),
    "a hidden map": (lambda m, y: (y, m.cls(y)), ["output0", "output1"], ["p", "q"]),
    "two sizes": (
        lambda m, y: (m.cls(y).permute(0, 2, 3, 1), m.box(F.max_pool2d(y, (3, 2)))), ["output0", "output1"], ["p", "q"]
    ),
    "a class beside a map": (lambda m, y: (m.fc(y.mean((2, 3))), m.box(y)), ["output0", "output1"], ["p", "q"]),
    "one place": (lambda m, y: (m.fc(y.mean((2, 3))), m.fc(2 * y.mean((2, 3)))), ["output0", "output1"], ["p", "q"]),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_of_torch(case):
    end, names, _ = CASES[case]
    module = heads(end)
    net = convert(module, EXAMPLE, EXAMPLE.numpy(), groups=255, weight_bits=14, accumulator_bits=40)
    found = net.named(net.golden(EXAMPLE.numpy()) * net.layers[-1].step)
    with torch.no_grad():
        wanted = [leaf for leaf in torch.utils._pytree.tree_leaves(module(EXAMPLE)) if leaf is not None]
    assert list(found) == names
    for one, other in zip(found.values(), wanted, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=0.02)


@pytest.mark.parametrize("case", [case for case in CASES if case != "nested"])
def test_outputs_of_onnx(case, tmp_path):
    end, _, names = CASES[case]
    path = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            heads(end), (EXAMPLE[:1],), path, input_names=["x"], output_names=names, dynamo=False
        )
    net = convert(path, None, EXAMPLE.numpy(), groups=255, weight_bits=14, accumulator_bits=40)
    found = net.named(net.golden(EXAMPLE[:1].numpy()) * net.layers[-1].step)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert list(found) == names
    for one, other in zip(found.values(), session.run(None, {"x": EXAMPLE[:1].numpy()}), strict=True):
        np.testing.assert_allclose(one, other, atol=0.02)


def test_each_output_leaves_its_own_end_out():
    """A softmax of one and a sigmoid of another; both say so."""
    module = heads(lambda m, y: {"classes": F.softmax(m.cls(y), 1), "boxes": torch.sigmoid(m.box(y)).flatten(2)})
    graph = import_module(module, EXAMPLE)  # compared with the module, softmax and sigmoid included
    assert [(output.name, output.shape) for output in graph.outputs] == [("classes", (3, 3, 2)), ("boxes", (4, 3, 2))]
    assert [note.split(" is left out")[0] for note in graph.notes[:2]] == ["The last softmax", "The last sigmoid"]
    assert graph.notes[2] == (
        "The outputs classes, boxes are channels of one last layer, in this order; net.named has each."
    )


REFUSED = {
    "sizes": (
        lambda m, y: (m.cls(y), m.cls(y[:, :, :2])),
        r"the outputs have maps of sizes that do not go together \(output0 3x2, output1 2x2\): they become channels of "
        r"one last layer, in which a place of the smallest map holds a few whole places of each; return those of each "
        r"size from a network of their own",
    ),
    "mirrored": (
        lambda m, y: m.cls(y).flip(2),
        r"the network ends with a reshape or permute that changes the order of its outputs in a way that no reshapes "
        r"and transposes of a whole map give; leave it to whoever reads them",
    ),
    "constant": (
        lambda m, y: (m.cls(y), torch.ones(3)),
        r"^The network returns .*, which does not depend on the image; return what does\.$",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    end, sentence = REFUSED[case]
    with pytest.raises(OneSpikeError, match=sentence):
        import_module(heads(end), EXAMPLE)


def test_a_large_map_is_not_folded():
    """Three channels of 32 x 32 on one place would be 3,072 channels of whole maps."""
    module = heads(lambda m, y: (m.fc(y.mean((2, 3))), m.cls(y)))
    with pytest.raises(OneSpikeError, match=r"do not go together \(output0 1x1, output1 32x32\): "):
        import_module(module, torch.zeros(1, 1, 64, 64))


def test_the_ways_out():
    """Sizes one by one, and the mirror left to the reader."""
    for end in (lambda m, y: m.cls(y), lambda m, y: m.cls(y[:, :, :2])):
        assert not import_module(heads(end), EXAMPLE).outputs


def test_sizes_of_onnx(tmp_path):
    path = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(heads(REFUSED["sizes"][0]), (EXAMPLE[:1],), path, output_names=["p", "q"], dynamo=False)
    with pytest.raises(OneSpikeError, match=r"^Node .*: the outputs have maps of sizes that do .* \(p 3x2, q 2x2\): "):
        import_onnx(path)

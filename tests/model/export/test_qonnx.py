# SPDX-License-Identifier: Apache-2.0
"""Our networks as QONNX: the qonnx package, which nobody here wrote, gives the golden model's logits to the integer."""

import json

import numpy as np
import onnx
import pytest
import torch
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx

from networks import grouped_network, random_codes, random_network
from onespike.cli import main
from onespike.model.convert.converter import convert
from onespike.model.errors import OneSpikeError
from onespike.model.export.onnx_export import export_qonnx, to_qonnx
from onespike.model.network import golden
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet
from onespike.model.training.data import load
from onespike.model.training.networks import build
from onnx_files import run_qonnx

GROUPS = (1, 2, 3, 8, 15, 31, 255)


def in_scale(net: SpikeNet, codes: np.ndarray) -> np.ndarray:
    """Images in the module's own scale."""
    column = (1, -1, 1, 1)
    return codes * np.reshape(net.image.scale, column) + np.reshape(net.image.offset, column)


@pytest.mark.parametrize("seed", range(30))
def test_random_networks(seed, tmp_path):
    rng = np.random.default_rng(seed)
    net = random_network(rng, GROUPS, 2000)
    codes = random_codes(rng, net, 4)
    wanted = golden.run(net, codes)
    found = execute_onnx(ModelWrapper(to_qonnx(net, batch=4)), {INPUT: codes.astype(np.float32)})["logits"]
    assert found.dtype == np.float32 and np.array_equal(found, wanted)
    # And back: two sources on one tensor become one kernel, which may need more bits than both.
    path = tmp_path / "net.onnx"
    export_qonnx(net, path)
    back = convert(path, weight_bits=16)
    assert back.image.scale == net.image.scale and back.image.offset == net.image.offset
    assert np.array_equal(back.golden(in_scale(net, codes)), wanted)


def test_groups_stay_groups(tmp_path):
    """A Conv has them as its attribute; two sources on one tensor, in fewer groups and in more, come back as one."""
    net = grouped_network(grouped=True)
    codes = random_codes(np.random.default_rng(0), net, 5)
    model = to_qonnx(net, batch=5)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert [[a.i for a in node.attribute if a.name == "group"] for node in convolutions] == [[3], [3], [6]]
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    assert [weights[node.input[1]] for node in convolutions] == [(6, 1, 3, 3), (6, 2, 2, 2), (6, 1, 1, 1)]
    found = execute_onnx(ModelWrapper(model), {INPUT: codes.astype(np.float32)})["logits"]
    assert np.array_equal(found, golden.run(net, codes))
    export_qonnx(net, tmp_path / "net.onnx")
    back = convert(tmp_path / "net.onnx", weight_bits=16)
    assert [[source.groups for source in layer.sources] for layer in back.layers] == [[3], [3], [1]]
    assert np.array_equal(golden.run(back, codes), golden.run(net, codes))


@pytest.mark.parametrize("seed", [1, 3, 4, 6, 7, 8, 9, 10, 11])
def test_signed_counts_and_levels(seed):
    """Thresholds that repeat, and an offset, say them; pools keep the sign."""
    rng = np.random.default_rng(seed)
    net = random_network(rng, GROUPS, 2000, tables=True)
    assert any(layer.levels is not None or layer.low for layer in net.layers)
    codes = random_codes(rng, net, 4)
    found = execute_onnx(ModelWrapper(to_qonnx(net, batch=4)), {INPUT: codes.astype(np.float32)})["logits"]
    assert np.array_equal(found, golden.run(net, codes))


@pytest.fixture(scope="module")
def digits():
    """The demo's network, untrained, on real digits."""
    torch.manual_seed(0)
    images = load("digits", "test").images[:60]
    return convert(build("digits").eval(), calibration=images), images


def test_the_demo_network(digits, tmp_path):
    net, images = digits
    path = tmp_path / "digits.onnx"
    export_qonnx(net, path)
    codes = net.image.quantise(images[:8])
    assert np.array_equal(run_qonnx(path, codes), golden.run(net, codes))
    back = convert(path)
    assert [layer.name for layer in back.layers] == [layer.name for layer in net.layers]
    assert [layer.groups for layer in back.layers] == [layer.groups for layer in net.layers]
    assert back.weight_bits == 8 and back.accumulator_bits <= net.accumulator_bits
    assert np.array_equal(back.golden(images), net.golden(images))
    again = tmp_path / "again.onnx"
    export_qonnx(net, again)
    assert again.read_bytes() == path.read_bytes()


def test_what_the_file_says(digits, tmp_path):
    net, _ = digits
    model = to_qonnx(net)
    onnx.checker.check_model(model)
    assert {node.op_type for node in model.graph.node} <= {
        "Conv",
        "MultiThreshold",
        "MaxPool",
        "Flatten",
        "MatMul",
        "Add",
    }
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(facts["onespike.image"])["scale"] == list(net.image.scale)
    wrapper = ModelWrapper(model)
    assert wrapper.get_tensor_datatype(INPUT).name == "UINT8"
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        assert np.array_equal(values, np.rint(values))
    # Without our metadata the image is what QONNX's type of the input says: codes.
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    bare = convert(tmp_path / "bare.onnx")
    assert bare.image.scale == (1.0,) and bare.image.bits == 8
    codes = np.random.default_rng(0).integers(0, 256, (3, 1, 28, 28)).astype(np.uint8)
    assert np.array_equal(golden.run(bare, codes), golden.run(net, codes))


def test_thresholds_lie_where_counts_change():
    """At, one below and one above every threshold: count = clip((sum + bias) >> k, 0, g)."""
    weights = np.array([[1], [1], [-1]]).reshape(3, 1, 1, 1)
    bias, shift = np.array([3, -5, 40]), np.array([0, 3, 2])
    layer = Layer(name="n", sources=(Source(tensor=INPUT, weights=weights),), bias=bias, shift=shift, groups=4)
    same = Source(tensor="n", weights=np.eye(3, dtype=int).reshape(3, 3, 1, 1))
    last = Layer(name="out", sources=(same,), bias=np.zeros(3, int), shift=np.zeros(3, int), groups=0)
    net = SpikeNet(image=Image(shape=(1, 1, 1)), layers=(layer, last))
    codes = np.arange(64, dtype=np.uint8).reshape(64, 1, 1, 1)
    model = ModelWrapper(to_qonnx(net, batch=64))
    found = execute_onnx(model, {INPUT: codes.astype(np.float32)})["logits"]
    sums = codes.reshape(64, 1).astype(int) * weights.reshape(1, 3) + bias
    assert np.array_equal(found, np.clip(sums >> shift, 0, 4)) and len(np.unique(found[:, 1])) == 5


def wide_network() -> SpikeNet:
    weights = np.full((2, 1, 3, 3), 32767)
    zero = np.zeros(2, int)
    layer = Layer(name="out", sources=(Source(tensor=INPUT, weights=weights),), bias=zero, shift=zero, groups=0)
    return SpikeNet(image=Image(shape=(1, 3, 3)), layers=(layer,), weight_bits=16)


def test_sums_that_float32_cannot_hold_are_refused():
    with pytest.raises(
        OneSpikeError, match=r"^The network needs 28-bit accumulators, but the float32 of ONNX runtimes is"
    ):
        to_qonnx(wide_network())


def test_damaged_metadata_are_refused(digits, tmp_path):
    model = to_qonnx(digits[0])
    model.metadata_props[0].value = "{"
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(OneSpikeError, match=r"^The metadata 'onespike.image' of .* is damaged; export it again\.$"):
        convert(tmp_path / "m.onnx")


def test_command_line(digits, tmp_path, capsys):
    """Out as QONNX and back without torch, without calibration; every mistake is one sentence."""
    net, images = digits
    net.save(tmp_path / "net.spike")
    there, back, figures = tmp_path / "net.onnx", tmp_path / "back.spike", tmp_path / "figures.json"
    assert main(["export", str(tmp_path / "net.spike"), "-o", str(there), "--json", str(figures)]) == 0
    assert json.loads(figures.read_text())["format"] == "qonnx"
    assert main(["convert", str(there), "-o", str(back)]) == 0
    assert "All weights are exact." in capsys.readouterr().out
    assert np.array_equal(SpikeNet.load(back).golden(images), net.golden(images))
    wide_network().save(tmp_path / "wide.spike")
    for arguments, sentence in (
        (
            ["export", "net.spike", "-o", "x.txt"],
            "The name 'x.txt' tells no format; end it with .onnx or .nir, or give",
        ),
        (["export", "wide.spike", "-o", "wide.onnx"], "The network needs 28-bit accumulators, but the float32 of ONNX"),
        (["export", "none.spike", "-o", "none.onnx"], "Cannot read"),
        (["convert", "none.onnx", "-o", "none.spike"], "Cannot read"),
        (["convert", "net.onnx", "-o", "none.spike", "--finetune", "1"], "Fine-tuning needs training data; give"),
        (["convert", "net.onnx", "-o", "none.spike", "--mean", "0.5"], "The network quantises its input itself; leave"),
    ):
        assert main([str(tmp_path / a) if a.endswith((".spike", ".onnx")) else a for a in arguments]) == 2
        assert capsys.readouterr().err.startswith(f"onespike: {sentence}")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"net.spike", "net.onnx", "back.spike", "figures.json", "wide.spike"}

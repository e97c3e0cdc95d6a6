# SPDX-License-Identifier: Apache-2.0
"""What fuzzing has found, in its smallest form: each was a traceback, or a sentence that nobody could read."""

import json
import warnings

import nir
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from cited import planetoid
from command_line import small_net
from fuzz.line import Clock, Port
from nir_files import NETWORKS as NIR
from onespike.fpga import link as links
from onespike.fpga import place_route, repack
from onespike.fpga.link import LinkError, SerialLink, SpiLink
from onespike.fpga.protocol import Reply, reply_frame
from onespike.model.errors import OneSpikeError
from onespike.model.frontend.nir_import import import_nir
from onespike.model.frontend.onnx_import import import_onnx
from onespike.model.network.shards import golden_shards
from onespike.model.network.windowed import WindowNet
from onespike.model.system import bounded
from onespike.model.system.files import write_atomically
from onespike.model.training import train
from onespike.model.training.data import load
from onespike.model.training.graphs import load_graph
from onespike.page import measured
from onespike.readme import text_of
from onespike.sim.cells import activities
from onespike.sim.liberty import library
from onnx_files import node, write
from windows import small_windows

RNG = np.random.default_rng(0)


def changed(tmp_path, change, **constants):
    """A network of one convolution, changed by `change`."""
    table = {"w": RNG.normal(size=(3, 2, 3, 3)), "v": RNG.normal(size=(2, 108))} | constants
    nodes = [node("Conv", "x w", "a"), node("Relu", "a", "r"), node("Flatten", "r", "f"),
             node("Gemm", "f v", "y", transB=1)]  # fmt: skip
    path = write(tmp_path / "m.onnx", nodes, table, [1, 2, 8, 8])
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    return path


def renamed(model):
    model.graph.node[1].op_type = "Re\nlu" + "x" * 5000


def doubled(model):
    model.graph.output.append(model.graph.output[0])


def typed(model):
    entry = model.graph.quantization_annotation.add(tensor_name="x")
    entry.quant_parameter_tensor_names.add(key="finn_datatype", value="UINTx")


def test_onnx_names_are_cut_and_on_one_line(tmp_path):
    with pytest.raises(OneSpikeError) as refused:
        import_onnx(changed(tmp_path, renamed))
    assert str(refused.value).isprintable() and len(str(refused.value)) < 400


def test_onnx_outputs_of_one_name(tmp_path):
    with pytest.raises(OneSpikeError, match=r"two outputs have one name: y, y\.$|is not a complete ONNX file"):
        import_onnx(changed(tmp_path, doubled))


def test_onnx_types_that_are_none(tmp_path):
    assert import_onnx(changed(tmp_path, typed)).image is None


@pytest.mark.parametrize("groups", [2, 2**31 - 1])
def test_onnx_groups_that_divide_nothing(tmp_path, groups):
    """Before a kernel of all groups is made, which would take any amount of memory."""

    def grouped(model):
        model.graph.node[0].attribute.append(helper.make_attribute("group", groups))

    with pytest.raises(OneSpikeError, match=f"{groups} groups do not divide 3 output channels"):
        import_onnx(changed(tmp_path, grouped))


@pytest.mark.parametrize("groups", [3, 2**31 - 1])
def test_onnx_groups_of_transposed_kernels(tmp_path, groups):
    def grouped(model):
        (node,) = (node for node in model.graph.node if node.op_type == "Conv")
        node.op_type = "ConvTranspose"
        node.attribute.append(helper.make_attribute("group", groups))
        weights = np.ones((2, 3, 3, 3), np.float32)
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))

    with pytest.raises(OneSpikeError, match=f"{groups} groups do not divide 2 input channels"):
        import_onnx(changed(tmp_path, grouped))


def test_onnx_numbers_that_are_none(tmp_path):
    """A signalling NaN is refused without a warning of NumPy's."""

    def signals(model):
        weights = np.full((3, 2, 3, 3), 0x7FA00000, np.uint32).view(np.float32)
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))

    with warnings.catch_warnings(), pytest.raises(OneSpikeError):
        warnings.simplefilter("error")
        import_onnx(changed(tmp_path, signals))


@pytest.mark.parametrize("bits", [0x7FA00000, 0x7FF4000000000000])
def test_pixels_that_are_no_numbers(tmp_path, bits):
    """The same for data, of either precision."""
    kind = np.float32 if bits < 2**32 else np.float64
    np.save(tmp_path / "a.npy", np.full((2, 6, 6), bits, f"u{np.dtype(kind).itemsize}").view(kind))
    with warnings.catch_warnings(), pytest.raises(OneSpikeError, match="holds NaN"):
        warnings.simplefilter("error")
        load(tmp_path / "a.npy")


def test_onnx_maps_that_are_stored_empty(tmp_path):
    """The sentence names the node, also where its map is stored only behind it."""

    def no_place(model):
        model.graph.node[0].attribute.append(onnx.helper.make_attribute("pads", [0, 0, -3, -3]))

    with pytest.raises(OneSpikeError, match=r"^Node "):
        import_onnx(changed(tmp_path, no_place))


@pytest.mark.parametrize(("name", "key"), [("s1", "v_threshold"), ("p1", "stride")])
def test_nir_text_in_place_of_numbers(name, key):
    graph, _ = NIR["convolutions"](np.random.default_rng(0))
    setattr(graph.nodes[name], key, "IF")
    with pytest.raises(OneSpikeError, match=rf"^Node '{name}' \(\w+\): its {key} holds text, not numbers; export"):
        import_nir(graph, steps=3)


def test_nir_numbers_of_many_axes_are_on_one_line():
    graph, _ = NIR["convolutions"](np.random.default_rng(0))
    graph.nodes["p1"].stride = np.full((2, 3), -1)
    with pytest.raises(OneSpikeError) as refused:
        import_nir(graph, steps=3)
    assert isinstance(graph, nir.NIRGraph) and "[-1, -1, -1, -1, -1, -1]" in str(refused.value)


def test_pickles_that_declare_memory(tmp_path):
    planetoid(tmp_path)
    (tmp_path / "ind.cora.tx").write_bytes(b"\x96" + (1 << 50).to_bytes(8, "little"))
    with pytest.raises(OneSpikeError, match=r"ind\.cora\.tx: it holds a byte array, which no such file does"):
        load_graph(tmp_path)


def test_numbers_of_nodes_that_no_array_holds(tmp_path):
    planetoid(tmp_path)
    (tmp_path / "ind.cora.test.index").write_text("9" * 30)
    with pytest.raises(OneSpikeError, match=r"test\.index holds something else than numbers"):
        load_graph(tmp_path)


@pytest.mark.parametrize("result", [[1], {}, [[1, 2, 3]], None])
def test_kept_results_that_were_changed_are_made_again(tmp_path, result):
    net, codes = small_net(), np.zeros((2, 1, 6, 6), np.uint8)
    wanted = golden_shards(net, codes, keep=tmp_path)
    (kept,) = tmp_path.rglob("*.json")
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"result": result}))
    np.testing.assert_array_equal(golden_shards(net, codes, keep=tmp_path), wanted)
    assert json.loads(kept.read_text())["result"] == wanted.tolist()


def test_damaged_checkpoints_begin_anew(tmp_path):
    import torch

    def parts():
        torch.manual_seed(0)
        module = torch.nn.Linear(3, 2)
        optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
        return module, optimiser, torch.optim.lr_scheduler.ConstantLR(optimiser), torch.Generator()

    path = tmp_path / "a.checkpoint"
    train._keep(path, 3, *parts())
    data = path.read_bytes()
    assert train._restore(path, *parts()) == 3
    for damaged in (data[:-1], data[:200] + b"\xff" + data[201:], b"", data + b"x"):
        path.write_bytes(damaged)
        assert train._restore(path, *parts()) == 0


def test_kept_weights_take_no_more_memory_than_they_are_worth(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(bounded, "ALWAYS", 1 << 20)
    np.savez_compressed(tmp_path / "a.npz", weight=np.zeros((2, 3), np.float32), bias=np.zeros(1 << 22))
    assert not train.recall(tmp_path / "a.npz", torch.nn.Linear(3, 2))


@pytest.mark.parametrize(
    "change",
    [{"weights": RNG.normal(size=(4, 1, 3, 3))}, {"bias": np.ones(4)}, {"leak": 1.5}, {"threshold": "1"},
     {"pool": True}, {"dilated": 1}, {"shift": np.ones((4, 1), int)}, {"lift": None},
     {"shortcut": np.ones((4, 9, 1, 1), int)}],
)  # fmt: skip
def test_networks_of_windows_with_other_types(tmp_path, change):
    net = small_windows()
    for name, value in change.items():
        object.__setattr__(net.layers[0], name, value)
    net.save(tmp_path / "w.npz")
    with pytest.raises(OneSpikeError, match=r"w\.npz is no network of windows \(\w+: .*\); write it again with"):
        WindowNet.load(tmp_path / "w.npz")


@pytest.mark.parametrize("voltage", ["..", "1.2.3", "-", "1e9999"])
def test_numbers_of_liberty_files(voltage):
    text = f'library (a) {{ capacitive_load_unit(1, "pf"); nom_voltage : {voltage};\n'
    try:
        assert np.isfinite(library(text, "a.lib").voltage)
    except OneSpikeError as error:
        assert str(error) == "a.lib names no voltage; take the library's whole file of one corner."


REPORTS = {
    "timing": (lambda path: place_route.timing(path), '{"fmax": {}}', "the router"),
    "cells": (lambda path: place_route.cells(path.parent), '{"design": []}', "Yosys"),
    "repack": (repack.repack, "[]", "Yosys"),
    "saif": (lambda path: activities(path, 0), "(INSTANCE dut\n(NET\n(a (T0 1) (T1 1) (TC 1))\n", "Verilator"),
    "summary": (lambda path: text_of(path, None), "{}", "`onespike demo`"),
    "no text": (lambda path: place_route.timing(path), "\udcff", "the router"),
}


@pytest.mark.parametrize("name", REPORTS)
def test_reports_of_tools_that_are_not_whole(tmp_path, name):
    read, text, tool = REPORTS[name]
    path = tmp_path / "stat.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    sentence = rf"^.*stat\.json is no whole report of {tool} \(.+\); remove the folder .* and repeat the command\.$"
    with pytest.raises(OneSpikeError, match=sentence):
        read(path)


@pytest.mark.parametrize("engine", [[], ["banks"], "banks", 5])
def test_figures_of_an_engine_that_is_none(tmp_path, engine):
    net, path = small_net(), tmp_path / "f.json"
    path.write_text(json.dumps({"network": {"hash": net.hash}, "hardware": engine, "accuracy": {"golden": 1}}))
    with pytest.raises(OneSpikeError, match=r"f\.json does not say which engine it measured; measure it once more\.$"):
        measured.read([path], net, tmp_path)


def test_hashes_that_a_terminal_does_not_show(tmp_path):
    path = tmp_path / "f.json"
    path.write_text(json.dumps({"network": {"hash": "\x1b[31m"}, "accuracy": {"golden": 1}}))
    with pytest.raises(OneSpikeError, match=r"f\.json is of another network \(\?\[31m\) than"):
        measured.read([path], small_net(), tmp_path)


def test_halves_of_letters_are_written(tmp_path):
    write_atomically(tmp_path / "a.md", json.loads('"a\\udc80b"'))
    assert (tmp_path / "a.md").read_text() == "a\\udc80b"


def test_a_status_that_nobody_knows(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(links, "time", clock)
    port = Port(b"", clock)
    port.write = lambda data: setattr(port, "out", reply_frame(Reply(data[1], 7)))
    with pytest.raises(LinkError, match=r"^The board at /dev/ttyFuzz answered with the status 7, which nobody knows"):
        SerialLink(port, timeout=0.5).write(3, [1])


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("bytes must be in range(0, 256)")])
def test_an_spi_device_that_goes(error):
    class Gone:
        def xfer2(self, data):
            raise error

    with pytest.raises(OneSpikeError, match=r"^The board on SPI has gone: .*\.$"):
        SpiLink(Gone(), timeout=0.5).read(0)

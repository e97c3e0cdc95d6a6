# SPDX-License-Identifier: Apache-2.0
"""NIR in: spiking networks of T steps become counts of one; what other frameworks write, and what is refused."""

import json
import sys

import h5py
import nir
import numpy as np
import pytest

import onespike
from networks import random_codes, random_network
from nir_files import NETWORKS, affine, conv, fires, leaks, pictures, sequential
from onespike.cli import main
from onespike.model import frontend
from onespike.model.convert.converter import prepare
from onespike.model.errors import OneSpikeError
from onespike.model.export.nir_export import export_nir, to_nir
from onespike.model.frontend import nir_reference
from onespike.model.frontend.nir_graph import plan, read
from onespike.model.frontend.nir_import import IMAGE_KEY, import_nir
from onespike.model.frontend.nir_ladders import with_ladders
from onespike.model.network import golden


def evaluated(graph, images, steps, **options):
    return nir_reference.evaluate(with_ladders(plan(*read(graph))), images, steps, 1.0, **options)


@pytest.mark.parametrize("steps", [1, 4, 7])
@pytest.mark.parametrize("name", NETWORKS)
def test_integers_are_those_of_the_spikes(name, steps, tmp_path):
    """Thresholds that a sum equals do not fire, those it exceeds by one do."""
    rng = np.random.default_rng(steps)
    graph, shape = NETWORKS[name](rng)
    nir.write(tmp_path / "net.nir", graph)
    images = pictures(rng, 40, *shape)
    settings = {"input_bits": 4, "input_range": (0, 15 / 8), "weight_bits": 12}
    conversion = prepare(tmp_path / "net.nir", network_steps=steps, **settings)
    net = conversion.net
    assert {layer.groups for layer in net.layers if layer.fires and "pool" not in layer.name} == {steps}
    found = net.golden(images.astype(np.float32)) * net.layers[-1].step
    wanted = evaluated(tmp_path / "net.nir", images, steps).reshape(40, -1)
    if steps == 7:  # sevenths are no binary fractions: weights are rounded
        assert np.abs(found - wanted).max() < 0.3 and (found.argmax(1) == wanted.argmax(1)).mean() > 0.9
    else:
        assert "All weights are exact." in conversion.notes
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)


def test_first_layer_counts_the_spikes_of_every_step():
    """Its current is the same in each step; behind it spikes come early or late, and few classes differ."""
    rng = np.random.default_rng(0)
    graph, shape = sequential(rng)
    images = pictures(rng, 200, *shape)
    once, stepped = {}, {}
    one = evaluated(graph, images, 8, counts=once)
    many = evaluated(graph, images, 8, stepped=True, counts=stepped)
    np.testing.assert_allclose(once["if"], stepped["if"], rtol=0, atol=1e-12)
    assert 0.02 < (once["if_1"] != stepped["if_1"]).mean() < 0.5
    assert (one.argmax(1) == many.argmax(1)).mean() > 0.85


def test_our_own_files_come_back(tmp_path):
    """Counts, whose spikes are neurons there, are counts again, with the same logits and the same images."""
    layers = 0
    for seed in (3, 9, 13, 24):
        rng = np.random.default_rng(seed)
        net = random_network(rng, (1, 2, 3, 8), 300)
        codes = random_codes(rng, net, 3)
        export_nir(net, tmp_path / "net.nir")
        again = prepare(tmp_path / "net.nir", weight_bits=16, accumulator_bits=net.accumulator_bits + 2).net
        assert np.array_equal(golden.run(again, codes) * again.layers[-1].step, golden.run(net, codes)), seed
        assert (again.image.bits, again.image.scale) == (net.image.bits, net.image.scale)
        assert [layer.groups for layer in again.layers] == [layer.groups for layer in net.layers]
        layers += len(net.layers)
    assert layers == 14


def test_thresholds_that_are_not_evenly_apart_are_layers_of_their_own():
    """The spikes of one sum, at 1, 2 and 4; at the threshold none, one sixteenth above it one."""
    nodes = {"input": nir.Input(np.array([1])), "a": nir.Affine(np.ones((1, 1)), np.zeros(1))}
    nodes |= {f"t{level}": nir.Threshold(np.array([float(level)])) for level in (1, 2, 4)}
    nodes |= {"z": nir.Linear(np.ones((1, 1))), "output": nir.Output(np.array([1]))}
    edges = [("input", "a"), ("z", "output")] + [e for t in ("t1", "t2", "t4") for e in (("a", t), (t, "z"))]
    net = onespike.convert(nir.NIRGraph(nodes, edges), input_range=(0, 255 / 16))
    images = np.array([15, 16, 17, 32, 33, 64, 65, 255], np.uint8).reshape(-1, 1)
    assert (net.golden(images)[:, 0] * net.layers[-1].step).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def simple(*neurons, size=3, inputs=4, seed=0):
    rng = np.random.default_rng(seed)
    first, last = affine(rng, size, inputs), affine(rng, size, size)
    nodes = [nir.Input(np.array([inputs])), first, neurons[0], last, *neurons[1:]]
    return nir.NIRGraph.from_list(*nodes, type_check=False)


@pytest.mark.parametrize(
    "neuron",
    [
        fires(3, r=np.full(3, 1e4)),  # SpikingJelly: 1 / dt
        leaks(3, 1.0),  # snnTorch, Leaky without leak
        fires(),  # norse: one number for all
        nir.IF(r=np.ones((1, 3)), v_threshold=np.ones((1, 3))),  # sinabs: with a batch
    ],
)
def test_other_frameworks_write_the_same_neuron(neuron):
    """Also at the end, where it is left out."""
    wanted = onespike.convert(simple(fires(3)), network_steps=4)
    found = prepare(simple(neuron, neuron), network_steps=4)
    images = np.random.default_rng(1).integers(0, 256, (50, 4)).astype(np.uint8)
    assert np.array_equal(found.net.golden(images), wanted.golden(images))
    assert any(note.startswith("The last ") and "is left out" in note for note in found.notes)
    assert "4 steps become one" in found.notes[0]


def test_neurons_that_leak_are_counts_of_one_step():
    """A membrane that begins at 0 leaks nothing in its first step; with beta = 0 every step is the first."""
    images = np.random.default_rng(1).integers(0, 256, (50, 4)).astype(np.uint8)
    wanted = onespike.convert(simple(fires(3)), network_steps=1).golden(images)
    for neuron, steps in ((leaks(3, 0.9), 1), (leaks(3, 0.0), 8)):
        net = onespike.convert(simple(neuron), network_steps=steps)
        assert net.layers[0].groups == 1
        assert np.array_equal(net.golden(images), wanted)
    half = nir.LIF(tau=np.full(3, 2.0), r=np.ones(3), v_leak=np.zeros(3), v_threshold=np.full(3, 0.5))  # sinabs
    assert np.array_equal(onespike.convert(simple(half), network_steps=1).golden(images), wanted)
    other = onespike.convert(simple(half), network_steps=1, time_step=2.0).golden(images)
    assert not np.array_equal(other, wanted)


def test_integrators_end_a_network():
    """I adds up what comes, in its own unit; LI does, too, for the order of the outputs, where all leak alike."""
    images = np.random.default_rng(1).integers(0, 256, (50, 4)).astype(np.uint8)
    wanted = onespike.convert(simple(fires(3)), network_steps=4)
    logits = wanted.golden(images) * wanted.layers[-1].step
    slow = nir.LI(tau=np.full(3, 20.0), r=np.ones(3), v_leak=np.zeros(3))
    for last, factor in ((nir.I(r=np.array([1.0, 0.5, 0.25])), [1, 0.5, 0.25]), (slow, [1, 1, 1])):
        net = onespike.convert(simple(fires(3), last), network_steps=4)
        np.testing.assert_allclose(net.golden(images) * net.layers[-1].step, logits * factor, rtol=0, atol=1e-9)
    slow.tau = np.array([20.0, 10.0, 5.0])
    with pytest.raises(OneSpikeError, match=r"^Node 'li' \(LI\): its neurons leak in different ways, which changes"):
        onespike.convert(simple(fires(3), slow), network_steps=4)


def test_subgraphs_are_opened():
    rng = np.random.default_rng(0)
    flat = simple(fires(3))
    parts = list(flat.nodes.values())
    inner = nir.NIRGraph.from_list(*parts[1:3])
    nodes = {"input": parts[0], "part": inner, "z": parts[3], "output": nir.Output(np.array([3]))}
    graph = nir.NIRGraph(nodes, [("input", "part"), ("part", "z"), ("z", "output")], type_check=False)
    images = rng.integers(0, 256, (20, 4)).astype(np.uint8)
    found = onespike.convert(graph, network_steps=3)
    assert np.array_equal(found.golden(images), onespike.convert(flat, network_steps=3).golden(images))
    assert {layer.name for layer in found.layers} == {"part.affine", "z"}


def damaged(change):
    """A graph of two layers after `change` of its nodes and edges."""
    graph = simple(fires(3))
    nodes, edges = dict(graph.nodes), list(graph.edges)
    change(nodes, edges)
    return nir.NIRGraph(nodes, edges, type_check=False)


REFUSED = {
    "steps": (
        simple(fires(3)), {},
        r"Node 'if' \(IF\) integrates over time, and NIR does not say over how many steps; give those that it was "
        r"trained with, --network-steps T \(network_steps=T\)\.",
    ),
    "number of steps": (
        simple(fires(3)), {"network_steps": 0}, r"network_steps must be a whole number in 1\.\.4095, not 0\.",
    ),
    "leak": (
        simple(leaks(3, 0.9)), {"network_steps": 8},
        r"Node 'lif' \(LIF\): its membrane or current leaks in each of 8 steps, and a count of one timestep knows no "
        r"leak; train it with neurons that keep their membrane .* or for one step \(network_steps=1\)\.",
    ),
    "current": (
        simple(nir.CubaLIF(*(np.ones(3) * v for v in (2, 1, 1, 0, 1)))), {"network_steps": 8},
        r"Node 'cubalif' \(CubaLIF\): its membrane or current leaks in each of 8 steps, .*",
    ),
    "reset": (
        simple(fires(3, v_reset=np.full(3, -0.5))), {"network_steps": 8},
        r"Node 'if' \(IF\): its v_reset is -0.5, but a count needs a reset that subtracts the threshold, for which "
        r"v_reset is 0; train it with that one, or for one step \(network_steps=1\)\.",
    ),
    "time step": (
        simple(leaks(3, 0.9)), {"network_steps": 1, "time_step": 0.01},
        r"Node 'lif' \(LIF\): a time constant is shorter than the time step of 0.01; give the step that the network "
        r"was trained with \(time_step, --time-step\)\.",
    ),
    "recurrent": (
        damaged(lambda nodes, edges: edges.append(("if", "affine"))), {"network_steps": 4},
        r"The NIR graph is recurrent \(if <- affine <- if\), but one timestep has no earlier one to read; train it "
        r"without recurrent connections\.",
    ),
    "inputs": (
        damaged(lambda nodes, edges: nodes.update(more=nir.Input(np.array([4])))), {"network_steps": 4},
        r"The NIR graph has 2 Input nodes \(input, more\); a network has one input and one output, so export that part "
        r"alone\.",
    ),
    "edge": (
        damaged(lambda nodes, edges: edges.append(("if", "gone"))), {"network_steps": 4},
        r"The NIR graph has an edge at 'gone', which is no node of it; export it again\.",
    ),
    "twice": (
        damaged(lambda nodes, edges: edges.append(edges[0])), {"network_steps": 4},
        r"The NIR graph has the edge from 'input' to 'affine' twice; export it again\.",
    ),
    "delay": (
        damaged(lambda nodes, edges: nodes.update({"if": nir.Delay(np.ones(3))})), {},
        r"Node 'if' \(Delay\): this node is not supported; the nearest supported choice is a network without delays, "
        r"which one timestep does not know\.",
    ),
    "integrator": (
        damaged(lambda nodes, edges: nodes.update({"if": nir.I(np.ones(3))})), {},
        r"Node 'if' \(I\): this node is not supported; the nearest supported choice is an integrator as the last "
        r"node\.",
    ),
    "threshold": (
        simple(fires(3, v_threshold=np.array([1.0, 0.0, 1.0]))), {"network_steps": 4},
        r"Node 'if' \(IF\): its v_threshold is 0; it must be positive\.",
    ),
    "places": (
        nir.NIRGraph.from_list(
            nir.Input(np.array([1, 2, 2])), conv(np.random.default_rng(0), 1, 1, 2),
            fires(1, 2, 2, v_threshold=np.array([[[1.0, 1], [1, 2]]])), conv(np.random.default_rng(0), 1, 1, 2),
            type_check=False,
        ), {"network_steps": 4},
        r"Node 'if' \(IF\): its r / v_threshold differs from place to place of a map; only one number per channel is "
        r"supported, so take the same for all neurons of a channel\.",
    ),
    "weights": (
        damaged(lambda nodes, edges: nodes.update(affine=nir.Affine(np.ones((3, 5)), np.ones(3)))),
        {"network_steps": 4},
        r"Node 'affine' \(Affine\): its weight \[3, 5\] does not fit an input of \[4\]; it must be \[outputs, 4\]\.",
    ),
    "NaN": (
        damaged(lambda nodes, edges: nodes.update(affine=nir.Affine(np.full((3, 4), np.nan), np.ones(3)))),
        {"network_steps": 4},
        r"Node 'affine' \(Affine\): its weight holds NaN or infinite values; train the network again\.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_count_can_be_is_refused(name):
    graph, settings, sentence = REFUSED[name]
    with pytest.raises(OneSpikeError, match=rf"^{sentence}$"):
        onespike.convert(graph, **settings)


def test_other_networks_have_no_steps(tmp_path):
    with pytest.raises(OneSpikeError, match=r"^network_steps and time_step .* are for networks of NIR, .* leave them"):
        onespike.convert(tmp_path / "net.onnx", network_steps=4)


def test_damaged_files(tmp_path):
    path = tmp_path / "net.nir"
    nir.write(path, simple(fires(3)))
    whole = path.read_bytes()
    for contents in (b"", b"NIR", whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(contents)
        with pytest.raises(OneSpikeError, match=rf"^{path} is not a NIR file \(.*\); write it with nir\.write"):
            import_nir(path, steps=4)
    graph = to_nir(random_network(np.random.default_rng(1), (1, 2, 3, 8), 300))
    graph.metadata = {IMAGE_KEY: json.dumps({"bits": "many"})}
    with pytest.raises(OneSpikeError, match=r"^The metadata 'onespike.image' of The NIR graph is damaged; export it"):
        import_nir(graph)


def test_other_contents_give_a_network_or_a_sentence(tmp_path):
    """Any field gone, or with a text, nothing, NaN, huge, negative or complex numbers in it."""
    path = tmp_path / "net.nir"
    nir.write(path, sequential(np.random.default_rng(0))[0])
    whole, sentences = path.read_bytes(), set()
    with h5py.File(path) as file:
        names: list[str] = []
        file.visit(names.append)
    others = [None, "text", np.zeros(0), np.nan, np.full((2, 2), 1e30), -3, 10**9, np.arange(5), 1 + 2j]
    for index, name in enumerate(names):
        for other in others[index % 3 :: 3]:
            path.write_bytes(whole)
            with h5py.File(path, "r+") as file:
                del file[name]
                if other is not None:
                    file.create_dataset(name, data=other)
            try:
                import_nir(path, steps=4)
            except OneSpikeError as error:
                sentences.add(str(error))
    assert len(sentences) > 40
    assert not [sentence for sentence in sentences if not sentence.endswith(".")]


def test_the_package_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "nir", None)
    monkeypatch.delattr(frontend, "nir_import")
    for name in [name for name in sys.modules if name.startswith("onespike.model.frontend.nir_")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(OneSpikeError, match=r"^NIR files need nir; run `pip install onespike\[nir\]`\.$"):
        onespike.convert("net.nir", network_steps=4)


def test_command_line(tmp_path, capsys):
    nir.write(tmp_path / "net.nir", simple(fires(3)))
    command = ["convert", str(tmp_path / "net.nir"), "-o", str(tmp_path / "net.spike")]
    assert main([*command]) == 2
    assert "--network-steps T" in capsys.readouterr().err
    assert main([*command, "--network-steps", "8"]) == 0
    assert "8 steps become one" in capsys.readouterr().out

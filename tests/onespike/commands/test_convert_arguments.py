# SPDX-License-Identifier: Apache-2.0
"""`convert` says in one sentence what it takes; calibration images may leave the range of pixels by a hair."""

import collections

import numpy as np
import pytest
import torch
from torch import nn

import onespike
from networks import float_graph
from onespike.model.convert.converter import convert, prepare
from onespike.model.convert.image_tensor import check_images
from onespike.model.errors import OneSpikeError
from onespike.model.frontend.graph import Graph, Node, Term
from onespike.model.network.spec import INPUT, Image

GRAPH, IMAGES = float_graph()
FILES = r"\.pt2, \.onnx, \.tflite or \.nir file"
WANTED = rf"give a torch\.nn\.Module in eval mode, an ExportedProgram, or the path of a {FILES}"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (None, rf"^NoneType is not a network; {WANTED}\.$"),
        ({}, r"^dict is not a network: weights alone do not say what it computes; load them into their module with"),
        (collections.OrderedDict(a=1), rf"^OrderedDict is not a network: .*load_state_dict, and {WANTED}\.$"),
        (nn.Linear, rf"^Linear is a class, not a network; {WANTED}: Linear\(\.\.\.\) with its trained weights\.$"),
        (lambda x: x, rf"^function is not a network; {WANTED}\.$"),
        (torch.zeros(1, 2), rf"^Tensor is not a network; {WANTED}\.$"),
        (np.zeros(3), rf"^ndarray is not a network; {WANTED}\.$"),
        (7, rf"^int is not a network; {WANTED}\.$"),
        ("absent.pt2", r"^Cannot read absent\.pt2: no such file\.$"),
        ("absent.onnx", r"^Cannot read absent\.onnx: no such file\.$"),
        (".", r"^Cannot read \.: it is a folder; give the \.pt2, \.onnx or \.tflite file itself\.$"),
        ("a" * 5000 + ".pt2", r"^Cannot read 'a{80}\.\.\.': File name too long\.$"),
        ("a" * 5000 + ".onnx", r"^Cannot read 'a{80}\.\.\.': File name too long\.$"),
    ],
)
def test_what_is_no_network(given, sentence):
    with pytest.raises(OneSpikeError, match=sentence):
        onespike.convert(given, None, IMAGES)


def test_a_file_of_weights_is_refused_with_the_way_to_write_a_program(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "net.pt")
    with pytest.raises(OneSpikeError, match=r"net\.pt is not a \.pt2 file of torch\.export \(\w+\); write it") as error:
        convert(tmp_path / "net.pt", None, IMAGES)
    assert "torch.export.save(torch.export.export(module.eval(), (example,)), 'net.pt2')." in str(error.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"group": 4}, r"^convert takes no argument 'group'; did you mean groups\?$"),
        ({"weightbits": 4}, r"^convert takes no argument 'weightbits'; did you mean weight_bits\?$"),
        ({"calib": IMAGES}, r"^convert takes no argument 'calib'; did you mean calibration\?$"),
        ({"xyz": 1}, r"^convert takes no argument 'xyz'; it takes network, example, calibration, groups, .*\.$"),
        ({"weight_bits": "8"}, r"^weight_bits must lie in 2\.\.16, not '8'\.$"),
        ({"weight_bits": 7.5}, r"^weight_bits must lie in 2\.\.16, not 7\.5\.$"),
        ({"accumulator_bits": None}, r"^accumulator_bits must lie in 8\.\.48, not None\.$"),
        ({"input_bits": 17}, r"^input_bits must lie in 1\.\.16, not 17\.$"),
        ({"budget": "x"}, r"^budget must lie in 1\.\.4095, not 'x'\.$"),
        ({"percentile": "x"}, r"^percentile must lie above 0 and up to 100, not 'x'\.$"),
        ({"percentile": float("nan")}, r"^percentile must lie above 0 and up to 100, not nan\.$"),
        ({"input_range": 255}, r"^input_range must be \(lowest, highest\) of the raw pixels, not 255\.$"),
        ({"input_range": (0, 1, 2)}, r"^input_range must be \(lowest, highest\) of the raw pixels, not \(0, 1, 2\)\.$"),
        ({"mean": "x"}, r"^mean must be one number, or one for each of 2 channels, not x\.$"),
        ({"std": [1, [2]]}, r"^std must be one positive number, or one for each of 2 channels, not"),
        ({"progress": 3}, r"^progress must be a function that takes a layer's name, not 3\.$"),
    ],
)
def test_wrong_arguments(settings, sentence):
    with pytest.raises(OneSpikeError, match=sentence):
        convert(GRAPH, **({"calibration": IMAGES} | settings))


@pytest.mark.parametrize("bits", [8, 4, 1])
def test_what_lies_a_hair_beyond_the_range_is_its_end(bits):
    """As resizing and float32 leave it; more is another scale, however coarse the pixels are."""
    image = Image(shape=(1, 2, 2), bits=bits)
    images = np.array([0.0, 1.0, 0.25, 0.75], np.float32).reshape(1, 1, 2, 2)
    hair = images.copy()
    hair[0, 0, 0] = -0.0038, 1.0038
    assert np.array_equal(check_images(hair, image), images)
    for value in (-0.0041, 1.0041):
        beyond = images.copy()
        beyond[0, 0, 0, 0] = value
        with pytest.raises(OneSpikeError, match=r"^The calibration data ranges from .* pixels range from 0"):
            check_images(beyond, image)


def test_a_hair_beyond_the_range_changes_nothing():
    hair = IMAGES.copy()
    hair[IMAGES == 1] = 1.003
    assert (hair > 1).any()
    assert convert(GRAPH, None, hair).hash == convert(GRAPH, None, IMAGES).hash


def test_a_network_that_quantises_its_own_input_clips_as_it_does_itself():
    image = Image(shape=GRAPH.shape, bits=4, scale=(0.05, 0.05), offset=(0.0, 0.0))
    graph = Graph(shape=GRAPH.shape, nodes=GRAPH.nodes, image=image)
    assert prepare(graph, None, IMAGES).net.hash == convert(graph, None, np.minimum(IMAGES, 0.75)).hash
    with pytest.raises(OneSpikeError, match=r"pixels range from 0 to 0\.75; give images in the scale of its training"):
        convert(graph, None, IMAGES * 255)


def test_pixels_of_one_bit():
    weights = np.random.default_rng(0).normal(size=(3, 16))
    term = Term(tensor=INPUT, weights=weights.reshape(3, 1, 4, 4))
    nodes = (Node(name="y", terms=(term,), bias=np.zeros(3), fires=False),)
    images = np.random.default_rng(1).integers(0, 2, (50, 1, 4, 4)).astype(np.float32)
    net = convert(Graph(shape=(1, 4, 4), nodes=nodes), None, images, input_bits=1, weight_bits=16)
    wanted = images.reshape(50, 16) @ weights.T
    assert np.abs(net.golden(images) * net.layers[-1].step - wanted).max() < 1e-3
    with pytest.raises(OneSpikeError, match=r"^The calibration data spans only 0 to 0\.4 of pixels from 0 to 1; give"):
        convert(Graph(shape=(1, 4, 4), nodes=nodes), None, images * 0.4, input_bits=1)

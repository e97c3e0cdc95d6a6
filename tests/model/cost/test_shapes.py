# SPDX-License-Identifier: Apache-2.0
"""Networks by shape: parameters and MACs to the digit; the estimated cycles lie near those of the exact model."""

import json
import subprocess
import sys

import numpy as np
import pytest

from onespike.cli import main
from onespike.hw.config import EngineConfig
from onespike.model.convert.converter import convert
from onespike.model.cost.choose import choose_mapping
from onespike.model.cost.cycles import predict
from onespike.model.cost.shapes import NAMED, estimate, named
from onespike.model.network import golden
from onespike.model.network.operations import count
from onespike.model.training import shapes as found
from onespike.model.training.networks import IMAGES, NETWORKS, build
from onespike.model.training.shapes import shapes

# name: parameters as published (batch norm not folded), dense MACs
KNOWN = {
    "vgg16": (138_357_544, 15_470_264_320),
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet50": (25_557_032, 4_089_184_256),
    "onespike": (118_109_032, 32_827_297_792),  # Table 2 and 3 of the paper: 118.109 M, 32.827 G
    "resnet20": (269_722, 40_551_040),
    "resnet8": (78_186, 12_501_632),
    "vgg16-cifar": (14_724_042, 313_201_664),
}


def test_every_network_has_an_image():
    assert list(NETWORKS) == list(IMAGES)


@pytest.mark.parametrize("name", KNOWN)
def test_parameters_and_macs_to_the_digit(name):
    module = build(name, device="meta")
    layers = shapes(module, IMAGES[name])
    assert sum(p.numel() for p in module.parameters()) == KNOWN[name][0]
    assert sum(layer.macs for layer in layers) == KNOWN[name][1]
    assert {p.device.type for p in module.parameters()} == {"meta"}


def test_pools_and_shortcuts_are_seen():
    layers = {layer.name: layer for layer in shapes(build("resnet18", device="meta"), IMAGES["resnet18"])}
    stem = layers["stem.0"]
    assert (stem.size, stem.places) == ((112, 112), 9 * 56 * 56)  # 3x3 windows two apart compute places twice
    assert layers["layers.0.body.3"].shortcut == 64
    assert layers["layers.2.body.3"].shortcut == 0 and layers["layers.2.shortcut.0"].macs == 128 * 64 * 28 * 28


@pytest.mark.parametrize(("name", "banks"), [("digits", 4), ("resnet8", 8)])
def test_estimate_is_near_the_exact_cycles(name, banks):
    """With the densities of the very images: what is left is how evenly spikes lie and how well queues even it out."""
    rng = np.random.default_rng(0)
    top = 255.0 if name == "resnet8" else 1.0
    images = (rng.random((2, *IMAGES[name])) * top).astype(np.float32)
    net = convert(build(name).eval(), None, images, groups=8, input_range=(0.0, top))
    result = golden.run(net, net.image.quantise(images), layers=True)
    mapping = choose_mapping(net, EngineConfig(banks=banks, lanes=16), net.image.quantise(images[:1]))
    fields = mapping.golden_fields(result.codes)
    exact = sum(layer.cycles for layer in predict(mapping, {name: field[0] for name, field in fields.items()}))
    first, *hidden = count(net, {name: codes[:1] for name, codes in result.codes.items()}).layers
    layers = shapes(build(name, device="meta"), IMAGES[name])
    rate = sum(layer.events_radix for layer in hidden) / sum(layer.macs for layer in layers[1:])
    found = estimate(layers, mapping.config, rate=rate, image_rate=first.events_radix / layers[0].macs)
    assert 0.85 < sum(layer.cycles for layer in found) / exact < 1.1


def test_the_file_of_shapes_is_up_to_date():
    assert NAMED.read_text() == found.named(), "run python -m onespike.model.training.shapes"
    assert list(named("resnet8").layers) == shapes(build("resnet8", device="meta"), IMAGES["resnet8"])


def test_command_without_torch():
    code = "import sys; sys.modules['torch'] = None; from onespike import cli; sys.exit(cli.main(['shapes', 'digits']))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0


def test_command(tmp_path, capsys):
    assert main(["shapes", "onespike", "--banks", "16", "--json", str(tmp_path / "shapes.json")]) == 0
    out = capsys.readouterr().out
    assert "118,109,032" in out and "32,827,297,792" in out and "an estimate: 0.41 events per dense MAC" in out
    figures = json.loads((tmp_path / "shapes.json").read_text())
    assert figures["dense_macs"] == 32_827_297_792 and len(figures["layers"]) == 49
    assert 0.4 < figures["dense_ratio"] < 0.5
    assert main(["shapes", "resnet34"]) == 2
    assert "There is no network 'resnet34'; choose one of digits, " in capsys.readouterr().err

# SPDX-License-Identifier: Apache-2.0
"""The `.spike` file: what is written is read back, whatever else is refused."""

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest

from described import network
from onespike.model.errors import OneSpikeError
from onespike.model.network.arrangement import Arrangement
from onespike.model.network.levels import Levels
from onespike.model.network.spec import Image, Layer, Source, SpikeNet


def rewritten(path, change, name="manifest.json"):
    """The same file with one member changed."""
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    members[name] = change(members[name])
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            if content is not None:
                archive.writestr(member, content)


def written(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("manifest.json"))


def manifest(**changes):
    return lambda content: json.dumps(json.loads(content) | changes).encode()


@pytest.mark.parametrize(("bits", "version"), [(8, 1), (9, 8), (16, 8)])
def test_wide_pixels_are_version_8(bits, version, tmp_path):
    """Readers of older versions would take their codes for bytes."""
    source = Source(tensor="input", weights=np.ones((2, 1, 1, 1), int))
    last = Layer(name="out", sources=(source,), bias=np.zeros(2, int), shift=np.zeros(2, int), groups=0)
    net = SpikeNet(image=Image(shape=(1, 1, 1), bits=bits), layers=(last,))
    net.save(tmp_path / "net.spike")
    assert written(tmp_path / "net.spike")["version"] == version
    assert SpikeNet.load(tmp_path / "net.spike").image.bits == bits


def test_round_trip(tmp_path):
    net = network()
    assert net.shapes == {"input": (2, 8, 8), "a": (4, 4, 7), "b": (4, 4, 7), "c": (3, 1, 1)}
    net.save(tmp_path / "net.spike")
    again = SpikeNet.load(tmp_path / "net.spike")
    assert again.hash == net.hash
    for key in ("shape", "bits", "scale", "offset", "pad_code"):
        assert getattr(again.image, key) == getattr(net.image, key)
    assert again.meta == net.meta and again.weight_bits == net.weight_bits
    for old, new in zip(net.layers, again.layers, strict=True):
        assert (old.name, old.groups, old.pool, old.step) == (new.name, new.groups, new.pool, new.step)
        np.testing.assert_array_equal(old.bias, new.bias)
        np.testing.assert_array_equal(old.shift, new.shift)
        for s, t in zip(old.sources, new.sources, strict=True):
            np.testing.assert_array_equal(s.weights, t.weights)
            for key in ("tensor", "stride", "padding", "dilation", "shift"):
                assert getattr(s, key) == getattr(t, key)
    images = np.random.default_rng(0).random((3, 2, 8, 8)) * 8
    np.testing.assert_array_equal(net.golden(images), again.golden(images))


def test_rearranged_images(tmp_path):
    """How the host lays images out is version 5, and part of the hash."""
    net = network()
    arrangement = Arrangement(taken=(8, 8, 2), split=(8, 8, 2), axes=(2, 0, 1))
    moved = dataclasses.replace(net, image=dataclasses.replace(net.image, arrangement=arrangement))
    moved.save(tmp_path / "net.spike")
    again, found = SpikeNet.load(tmp_path / "net.spike"), written(tmp_path / "net.spike")
    assert found["version"] == 5 and again.image.arrangement == arrangement and again.hash == moved.hash != net.hash
    codes = np.random.default_rng(0).integers(0, 128, (3, 8, 8, 2))
    np.testing.assert_array_equal(again.golden(codes), net.golden(codes.transpose(0, 3, 1, 2)))


def test_nodes_of_a_graph(tmp_path):
    """Features last, and classes of several nodes as channels, are version 3."""
    net = network()
    image = Image(shape=(2, 1, 64), scale=net.image.scale, offset=net.image.offset, channels_last=True)
    source = Source(tensor="input", weights=np.ones((6, 2, 1, 64), int))
    last = Layer(name="last", sources=(source,), bias=np.arange(6), shift=np.zeros(6, int), groups=0)
    nodes = SpikeNet(image=image, layers=(last,), places=3)
    nodes.save(tmp_path / "net.spike")
    again = SpikeNet.load(tmp_path / "net.spike")
    assert written(tmp_path / "net.spike")["version"] == 3
    assert again.output == (2, 1, 3) and again.image.channels_last and again.hash == nodes.hash
    codes = np.random.default_rng(0).integers(0, 256, (4, 64, 2))
    np.testing.assert_array_equal(again.golden(codes), nodes.golden(codes.transpose(0, 2, 1)[:, :, None]))
    np.testing.assert_array_equal(again.golden(codes[0]), nodes.golden(codes)[:1])
    with pytest.raises(OneSpikeError, match=r"^4 places do not share out 6 outputs at \[1, 1\] places\.$"):
        dataclasses.replace(nodes, places=4)
    with pytest.raises(OneSpikeError, match=r"^channels_last is for images of height 1, not \(2, 8, 8\)\.$"):
        dataclasses.replace(net.image, channels_last=True)


def test_signed_counts_levels_and_narrow_images(tmp_path):
    """They are version 2; what has none of them stays as it was, for readers of version 1."""
    first, second, last = network().layers
    table = Levels((-3, 0, 5), (-2, 4), 1)
    image = dataclasses.replace(network().image, first=1)
    for changes in (
        {"layers": (dataclasses.replace(first, low=-4), second, last)},
        {"layers": (first, dataclasses.replace(second, groups=5, low=-3, levels=table), last)},
        {"image": image},
    ):
        net = network(**changes)
        net.save(tmp_path / "net.spike")
        again = SpikeNet.load(tmp_path / "net.spike")
        assert again.hash == net.hash != network().hash
        assert [(x.low, x.levels) for x in again.layers] == [(x.low, x.levels) for x in net.layers]
        assert again.image.first == net.image.first
        assert written(tmp_path / "net.spike")["version"] == 2
    network().save(tmp_path / "net.spike")
    found = written(tmp_path / "net.spike")
    assert found["version"] == 1 and "first" not in found["image"]
    assert not any({"low", "levels"} & entry.keys() for entry in found["layers"])


def test_writing_is_deterministic(tmp_path):
    network().save(tmp_path / "a.spike")
    network().save(tmp_path / "b.spike")
    assert (tmp_path / "a.spike").read_bytes() == (tmp_path / "b.spike").read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".spike"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_truncated_files_are_refused(tmp_path, share):
    path = tmp_path / "net.spike"
    network().save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(OneSpikeError, match=r"net\.spike is not a complete \.spike file; convert the network again \("):
        SpikeNet.load(path)


def test_every_damaged_byte_is_noticed(tmp_path):
    path = tmp_path / "net.spike"
    network().save(path)
    data, wanted = path.read_bytes(), network().hash
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:  # bytes that zip ignores (dates, say) may pass, but never another network
            assert SpikeNet.load(path).hash == wanted
        except OneSpikeError as error:
            assert str(error).endswith(".")


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        (
            manifest(version=9),
            "manifest.json",
            r"has format version 9, newer than the 8 that this OneSpike reads; upgrade onespike\.$",
        ),
        (
            manifest(format="other"),
            "manifest.json",
            r"is not a complete .* \(the manifest does not name the format\)\.$",
        ),
        (manifest(hash="0"), "manifest.json", r"is not a complete .* \(its contents do not match its hash\)\.$"),
        (manifest(layers=None), "manifest.json", r"is not a complete .* \(TypeError: "),
        (lambda content: b"{", "manifest.json", r"is not a complete .* \(JSONDecodeError: "),
        (lambda content: None, "0.bias.npy", r"is not a complete .* \(0\.bias: it has no member '0\.bias\.npy'\)\.$"),
        (lambda content: content[:-8], "0.bias.npy", r"is not a complete .* \(0\.bias: it declares 32 bytes, but"),
    ],
)
def test_changed_files_are_refused(tmp_path, change, name, message):
    path = tmp_path / "net.spike"
    network().save(path)
    rewritten(path, change, name)
    with pytest.raises(OneSpikeError, match=message):
        SpikeNet.load(path)


def test_pickles_are_never_read(tmp_path):
    path = tmp_path / "net.spike"
    network().save(path)
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], object), allow_pickle=True)
    rewritten(path, lambda content: pickled.getvalue(), "0.bias.npy")
    with pytest.raises(OneSpikeError, match=r"\(0\.bias: it holds values of type object, not numbers\)\.$"):
        SpikeNet.load(path)


def test_paths_that_cannot_be_used(tmp_path):
    with pytest.raises(OneSpikeError, match=r"^Cannot read .*absent\.spike: No such file or directory\.$"):
        SpikeNet.load(tmp_path / "absent.spike")
    (tmp_path / "file").write_text("")
    with pytest.raises(OneSpikeError, match=r"^Cannot write .*; choose an output path that can be written\.$"):
        network().save(tmp_path / "file" / "net.spike")

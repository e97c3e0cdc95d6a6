# SPDX-License-Identifier: Apache-2.0
"""The `.spike` file: what is written is read back, whatever else is refused; networks validate themselves."""

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest

from onespike.model.errors import OneSpikeError
from onespike.model.spec import INPUT, Image, Layer, Pool, Source, SpikeNet, signed_bits


def source(tensor=INPUT, shape=(4, 2, 3, 3), **options):
    return Source(tensor=tensor, weights=np.arange(np.prod(shape)).reshape(shape) % 100 - 50, **options)


def layer(name, *sources, groups=8, **options):
    channels = sources[0].weights.shape[0]
    defaults = {"bias": np.arange(channels) - 2, "shift": np.full(channels, 4 if groups else 0)}
    return Layer(name=name, sources=sources, groups=groups, **(defaults | options))


def network(**changes):
    pool = Pool(kind="sum", kernel=(2, 2), stride=(2, 1), padding=(0, 1, 1, 0))
    layers = (
        layer("a", source(padding=(0, 1, 2, 1), dilation=(1, 2)), pool=pool, step=0.25),
        layer("b", source("a", (4, 4, 1, 1), shift=2), source("a", (4, 4, 1, 1)), groups=5),
        layer("c", source("b", (3, 4, 4, 7)), groups=0),
    )
    image = Image(shape=(2, 8, 8), bits=7, scale=(0.5, 0.25), offset=(-1.0, -2.0))
    return SpikeNet(**({"image": image, "layers": layers, "meta": {"accuracy": 0.5}} | changes))


def rewritten(path, change, name="manifest.json"):
    """The same file with one member changed."""
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    members[name] = change(members[name])
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            if content is not None:
                archive.writestr(member, content)


def manifest(**changes):
    return lambda content: json.dumps(json.loads(content) | changes).encode()


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


def test_writing_is_deterministic(tmp_path):
    network().save(tmp_path / "a.spike")
    network().save(tmp_path / "b.spike")
    assert (tmp_path / "a.spike").read_bytes() == (tmp_path / "b.spike").read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".spike"]


def test_hash_covers_arithmetic_and_not_meta():
    net = network()
    assert network(meta={}).hash == net.hash
    changed = dataclasses.replace(net.layers[0], bias=net.layers[0].bias + 1)
    assert network(layers=(changed, *net.layers[1:])).hash != net.hash
    strided = dataclasses.replace(net.layers[0].sources[0], padding=(1, 0, 2, 1))
    assert network(layers=(dataclasses.replace(net.layers[0], sources=(strided,)), *net.layers[1:])).hash != net.hash


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
            manifest(version=2),
            "manifest.json",
            r"has format version 2, newer than the 1 that this OneSpike reads; upgrade onespike\.$",
        ),
        (
            manifest(format="other"),
            "manifest.json",
            r"is not a complete .* \(the manifest does not name the format\)\.$",
        ),
        (manifest(hash="0"), "manifest.json", r"is not a complete .* \(its contents do not match its hash\)\.$"),
        (manifest(layers=None), "manifest.json", r"is not a complete .* \(TypeError: "),
        (lambda content: b"{", "manifest.json", r"is not a complete .* \(JSONDecodeError: "),
        (lambda content: None, "0.bias.npy", r"is not a complete .* \(KeyError: "),
        (lambda content: content[:-8], "0.bias.npy", r"is not a complete .* \(ValueError: "),
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
    with pytest.raises(OneSpikeError, match=r"ValueError: Object arrays cannot be loaded when allow_pickle=False"):
        SpikeNet.load(path)


def test_paths_that_cannot_be_used(tmp_path):
    with pytest.raises(OneSpikeError, match=r"^Cannot read .*absent\.spike: No such file or directory\.$"):
        SpikeNet.load(tmp_path / "absent.spike")
    (tmp_path / "file").write_text("")
    with pytest.raises(OneSpikeError, match=r"^Cannot write .*; choose an output path that can be written\.$"):
        network().save(tmp_path / "file" / "net.spike")


INVALID = {
    "bias of floats": (
        lambda: layer("a", source(), bias=np.zeros(4)),
        r"^The bias of layer 'a' must be an integer array of 1 dimensions, not float64 \(4,\)\.$",
    ),
    "wide weights": (
        lambda: Source(tensor=INPUT, weights=np.full((1, 1, 1, 1), 40000)),
        r"^Weights on 'input' must lie in \[-32768, 32767\], but holds 40000 to 40000\.$",
    ),
    "weights beyond their bits": (
        lambda: network(weight_bits=6),
        r"^Layer 'a': weights do not fit in 6 bits\.$",
    ),
    "last layer that fires": (
        lambda: network(layers=(layer("a", source()),)),
        r"^Layer 'a': every layer but the last must fire, and the last must not\.$",
    ),
    "later source": (
        lambda: network(layers=(layer("a", source("c")), layer("c", source("a"), groups=0))),
        r"^Layer 'a' reads 'c', which no earlier layer makes\.$",
    ),
    "channels": (
        lambda: network(layers=(layer("a", source(shape=(4, 3, 1, 1)), groups=0),)),
        r"^Layer 'a' expects 3 channels of 'input', which has 2\.$",
    ),
    "no layers": (lambda: network(layers=()), r"^A SpikeNet needs at least one layer\.$"),
    "last layer with a pool": (
        lambda: layer("a", source(), groups=0, pool=Pool(kind="max", kernel=(2, 2), stride=(2, 2))),
        r"^Layer 'a' does not fire, so it can have neither a pool nor a shift\.$",
    ),
    "pool padding": (
        lambda: Pool(kind="max", kernel=(2, 2), stride=(2, 2), padding=(2, 0, 0, 0)),
        r"^Pool padding \(2, 0, 0, 0\) must be smaller than the kernel \(2, 2\)\.$",
    ),
    "pool kind": (
        lambda: Pool(kind="mean", kernel=(2, 2), stride=(2, 2)),
        r"^Pool kind must be 'max' or 'sum', not 'mean'\.$",
    ),
    "pad code": (
        lambda: Image(shape=(1, 2, 2), bits=4, pad_code=(16,)),
        r"^The pad code must be 1 codes in 0\.\.15, not \(16,\)\.$",
    ),
    "scale": (
        lambda: Image(shape=(1, 2, 2), scale=(-1.0,)),
        r"^The image scale must be positive, not \(-1\.0,\)\.$",
    ),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_networks(name):
    make, message = INVALID[name]
    with pytest.raises(OneSpikeError, match=message):
        make()


def test_pad_code_is_nearest_to_zero():
    image = Image(shape=(3, 1, 1), scale=(1 / 255 / 0.229,) * 3, offset=(-0.485 / 0.229, 0.1, -9.0))
    assert image.pad_code == (round(0.485 * 255), 0, 255)
    codes = image.quantise(np.zeros((1, 3, 1, 1)))
    np.testing.assert_array_equal(codes.ravel(), image.pad_code)


def test_signed_bits():
    for low, high, bits in [(0, 0, 1), (0, 1, 2), (-1, 0, 1), (-2, 1, 2), (-128, 127, 8), (-129, 0, 9), (0, 128, 9)]:
        assert signed_bits(low, high) == bits

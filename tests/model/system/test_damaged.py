# SPDX-License-Identifier: Apache-2.0
"""Damaged files of every format that is read: the same result as before, or one sentence; never much memory."""

import gzip
import io
import json
import struct
import tracemalloc
import zipfile
import zlib
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from described import network
from forged import forged
from fuzz.data import GREY, PIXELS, cifar, idx_folder, in_classes, picture, table
from fuzz.own import manifest, project
from fuzz.reader import saved
from networks import grouped_network
from onespike.hw.config import EngineConfig
from onespike.hw.emit import emit
from onespike.model.cost import area
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet
from onespike.model.system import bounded
from onespike.model.targets import find_target
from onespike.model.training.data import load, load_images
from onespike.pictures import load_codes
from onespike.sim.liberty import read_liberty

JUNK = (8.0, 1.5, False, None, "8", "", "[/red]\n", [], {}, -1, 1 << 16, 10**12, 10**400, float("nan"), float("inf"))


# Format -> the file, what reads it, and whether it carries a checksum, so that damage is noticed or does not matter.
FORMATS = {
    "spike": (saved("net.spike", network().save), lambda path: SpikeNet.load(path).hash, True),
    "npy": (saved("a.npy", lambda path: np.save(path, PIXELS)), load_images, False),
    "npz": (saved("a.npz", lambda path: np.savez(path, images=PIXELS)), load_images, True),
    "deflated npz": (saved("b.npz", lambda path: np.savez_compressed(path, PIXELS)), load_images, True),
    "labelled npz": (
        saved("c.npz", lambda path: np.savez(path, x_test=PIXELS, y_test=np.arange(2))),
        lambda path: load(path, "test", (1, 6, 6)).images, True,
    ),
    "csv": (saved("a.csv", table), lambda path: load(path).images, False),
    "csv.gz": (saved("a.csv.gz", table), lambda path: load(path).images, True),
    "jpeg": (in_classes, lambda path: load(path.parent.parent).images, False),
    "idx": (idx_folder, lambda path: load(path.parent, "test").images, False),
    "idx.gz": (lambda folder: idx_folder(folder, ".gz"), lambda path: load(path.parent, "test").images, True),
    "cifar": (cifar, lambda path: load(path.parent, "test").images, False),
    "png": (saved("a.png", picture(PIXELS[0])), lambda path: load_codes(path, GREY), True),
    "16-bit png": (saved("b.png", picture(PIXELS[0] * np.uint16(257))), lambda path: load_codes(path, GREY), True),
    "float tiff": (saved("a.tif", picture(PIXELS[0] / np.float32(255))), lambda path: load_codes(path, GREY), False),
    "bmp": (saved("a.bmp", picture(PIXELS[0])), lambda path: load_codes(path, GREY), False),
    "manifest": (saved("manifest.json", manifest), project, False),
    "area": (
        saved("area.json", lambda path: path.write_bytes(area.FIT.read_bytes())),
        lambda path: area.estimate(EngineConfig(), find_target("ecp5-25k"), area.fitted.__wrapped__()).luts,
        False,
    ),
    "liberty": (
        saved("a.lib.gz", lambda path: path.write_bytes(gzip.compress(b"library (a) {\n}\n" * 9, mtime=0))),
        read_liberty,
        True,
    ),
}


def outcome(read, path: Path, what: str):
    """What reading gives, None where it is refused with one sentence."""
    try:
        return read(path)
    except OneSpikeError as error:
        text = str(error)
        assert text.endswith(".") and text.isprintable() and len(text) < 500, text
        return None
    except BaseException as error:
        error.add_note(what)
        raise


def mutated(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """The bytes cut, flipped, overwritten, with more inside or behind them; and which of it."""
    place = int(rng.integers(0, len(data)))
    kind = rng.choice(["cut", "flip", "overwrite", "insert", "append", "digits"])
    if kind == "cut":
        found = data[:place]
    elif kind == "flip":
        found = bytearray(data)
        for at in rng.integers(0, len(data), 3):
            found[at] ^= int(rng.integers(1, 256))
    elif kind == "overwrite":
        found = data[:place] + bytes([int(rng.choice([0, 255]))]) * 8 + data[place + 8 :]
    elif kind == "digits":  # sizes that are written as text become huge
        found = data.replace(str(int(rng.integers(1, 10))).encode(), b"99999999999", 1)
    else:
        place = place if kind == "insert" else len(data)
        found = data[:place] + rng.bytes(int(rng.integers(1, 20))) + data[place:]
    return bytes(found), f"{kind} at {place}"


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_bytes(tmp_path, monkeypatch, name):
    make, read, checked = FORMATS[name]
    path = make(tmp_path)
    monkeypatch.setattr(area, "FIT", path)
    data, wanted = path.read_bytes(), read(path)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    refused = 0
    for trial in range(60):
        content, what = mutated(data, rng)
        path.write_bytes(content)
        found = outcome(read, path, f"{name}, trial {trial}: {what}")
        refused += found is None
        if found is not None and checked:
            np.testing.assert_array_equal(found, wanted, err_msg=f"trial {trial}: {what}")
    assert refused >= 5, "the damage was not damage"


def places(value) -> list[tuple]:
    """Container and key of every value in a JSON document."""
    keys = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return list(chain.from_iterable([(value, key), *places(child)] for key, child in keys))


def test_swapped_values_in_a_network(tmp_path):
    """With a hash that fits them: what is loaded runs, and whatever has the wrong type is refused at once."""
    network().save(tmp_path / "0.spike")
    grouped_network(grouped=True).save(tmp_path / "1.spike")
    rng = np.random.default_rng(7)
    loaded = 0
    for trial in range(250):
        seen = []

        def swap(contents, seen=seen):
            found = places({key: contents[key] for key in ("image", "layers", "weight_bits", "meta")})
            container, key = found[int(rng.integers(len(found)))]
            old, new = container[key], JUNK[int(rng.integers(len(JUNK)))]
            (contents if key in contents else container)[key] = new
            seen += [key, old, new]

        forged(tmp_path / f"{trial % 2}.spike", tmp_path / "changed.spike", swap)
        key, old, new = seen
        net = outcome(SpikeNet.load, tmp_path / "changed.spike", f"trial {trial}: {key}: {old!r} became {new!r}")
        if net is None:
            continue
        loaded += 1
        floats = isinstance(old, float) or key in ("accuracy", "meta")
        assert floats or type(new) is type(old), f"trial {trial}: {key}: {old!r} became {new!r} and was loaded"
        assert net.golden(np.zeros((1, *net.image.shape))).dtype == np.int64
        outcome(lambda net: map_network(net, fit_config(net, EngineConfig())), net, f"trial {trial}")  # or refused
    assert 5 < loaded < 60


@pytest.mark.parametrize("name", ["manifest", "area"])
def test_swapped_values_elsewhere(tmp_path, monkeypatch, name):
    make, read, _ = FORMATS[name]
    path = make(tmp_path)
    monkeypatch.setattr(area, "FIT", path)
    text, rng = path.read_text(), np.random.default_rng(8)
    for trial in range(60):
        contents = json.loads(text)
        found = places(contents)
        container, key = found[int(rng.integers(len(found)))]
        container[key] = JUNK[int(rng.integers(len(JUNK)))]
        path.write_text(json.dumps(contents))
        outcome(read, path, f"trial {trial}: {key} became {container[key]!r}")
    path.write_text("[" * 100_000)
    assert outcome(read, path, "nested lists") is None


def npy(shape: tuple[int, ...], dtype: str = "|u1", data: bytes = b"") -> bytes:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": dtype, "fortran_order": False, "shape": shape})
    return head.getvalue() + data


def bomb(path: Path, *, lie: bool) -> None:
    """An .npz that unfolds to 16 MiB of zeros; lie: its directory says 1,000 bytes."""
    content = npy((1 << 24,), data=bytes(1 << 24))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", content)
    if lie:
        size = struct.pack("<I", len(content))
        path.write_bytes(path.read_bytes().replace(size, struct.pack("<I", 1000)))


def png(path: Path, side: int) -> None:
    """A grey picture that declares side x side pixels and holds a few."""
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    body = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        body += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(body)


def idx_of(sizes: tuple[int, ...], zeros: int):
    def write(path: Path) -> None:
        content = bytes((0, 0, 8, 3)) + np.array(sizes, ">u4").tobytes() + bytes(zeros)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)

    return write


def spike(change):
    def write(path: Path) -> None:
        network().save(path)
        forged(path, path, change)

    return write


def image_of(shape: list[int]):
    return spike(lambda contents: contents["image"].update(shape=shape, scale=[], offset=[], pad_code=[]))


def folder(path: Path):
    return load(path.parent, "test")


BOMBS = {
    "spike, channels": ("a.spike", image_of([10**8, 1, 1]), SpikeNet.load),
    "spike, wide image": ("a.spike", image_of([2, 65535, 65535]), SpikeNet.load),
    "spike, padding": (
        "a.spike", spike(lambda contents: contents["layers"][0]["sources"][0].update(padding=[65535] * 4)),
        SpikeNet.load,
    ),
    "spike, manifest": (
        "a.spike", spike(lambda contents: contents.update(meta={"text": " " * (9 << 20)})), SpikeNet.load,
    ),
    "spike, nested meta": (
        "a.spike", spike(lambda contents: contents.update(meta=json.loads("[" * 900 + "]" * 900))), SpikeNet.load,
    ),
    "npy, 40 TB": ("a.npy", lambda path: path.write_bytes(npy((10**13,), "<f4", bytes(99))), load_images),
    "npy, 2**64": ("a.npy", lambda path: path.write_bytes(npy((1 << 32, 1 << 32), data=bytes(99))), load_images),
    "npy, empty and endless": ("a.npy", lambda path: path.write_bytes(npy((0, 1 << 62, 1 << 62))), load_images),
    "npz": ("a.npz", lambda path: bomb(path, lie=False), load_images),
    "npz that lies": ("a.npz", lambda path: bomb(path, lie=True), load_images),
    "idx, 2**64": ("t10k-images-idx3-ubyte", idx_of((1 << 30, 1 << 30, 16), 0), folder),
    "idx, 2**64, gzip": ("t10k-images-idx3-ubyte.gz", idx_of((1 << 30, 1 << 30, 16), 0), folder),
    "idx, more than it says": ("t10k-images-idx3-ubyte.gz", idx_of((1, 28, 28), 1 << 24), folder),
    "idx, as it says": ("t10k-images-idx3-ubyte.gz", idx_of((1 << 8, 1 << 8, 1 << 8), 1 << 24), folder),
    "liberty": ("a.lib", lambda path: path.write_bytes(gzip.compress(b"library (" + b" " * (1 << 24))), read_liberty),
    "png": ("a.png", lambda path: png(path, 12000), lambda path: load_codes(path, GREY)),
    "larger png": ("a.png", lambda path: png(path, 1 << 30), lambda path: load_codes(path, GREY)),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_no_memory_for_what_is_not_there(tmp_path, monkeypatch, name):
    """Files of a few kilobytes that declare gigabytes, or unfold to many megabytes, are refused before they do."""
    file, write, read = BOMBS[name]
    monkeypatch.setattr(bounded, "ALWAYS", 1 << 20)
    write(tmp_path / file)
    tracemalloc.start()
    try:
        assert outcome(read, tmp_path / file, name) is None
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_reading_what_we_write_of_zeros(tmp_path, monkeypatch):
    """A network of nearly nothing but zeros compresses like a bomb: it is stored as it is."""
    monkeypatch.setattr(bounded, "ALWAYS", 0)
    source = Source(tensor=INPUT, weights=np.zeros((10, 1, 64, 64), int))
    layer = Layer(name="out", sources=(source,), bias=np.zeros(10, int), shift=np.zeros(10, int), groups=0)
    net = SpikeNet(image=Image(shape=(1, 64, 64)), layers=(layer,))
    net.save(tmp_path / "a.spike")
    assert (tmp_path / "a.spike").stat().st_size > source.weights.nbytes
    assert SpikeNet.load(tmp_path / "a.spike").hash == net.hash


def test_encrypted_and_other_methods(tmp_path):
    for method, flag in ((zipfile.ZIP_BZIP2, 0), (zipfile.ZIP_STORED, 1)):
        with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
            archive.writestr("images.npy", npy((2,), data=b"ab"))
        data = bytearray((tmp_path / "a.npz").read_bytes())
        for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            data[data.index(mark) + at] |= flag
        (tmp_path / "a.npz").write_bytes(data)
        with pytest.raises(OneSpikeError, match=r"its member 'images\.npy' is (encrypted|compressed in another way)"):
            load_images(tmp_path / "a.npz")


def test_damaged_results_are_made_again(tmp_path):
    path = tmp_path / "result.json"

    def build(kept):
        return int(kept["luts"])

    assert bounded.kept(path, build) is None
    for text in ("", "{", "[]", "{}", '{"luts": null}', '{"luts": "many"}', "[" * 100_000, "\udcff"):
        path.write_bytes(text.encode(errors="surrogateescape"))
        assert bounded.kept(path, build) is None, text[:20]
    path.write_text('{"luts": 7}')
    assert bounded.kept(path, build) == 7


def test_damaged_manifests_beside_a_new_engine(tmp_path):
    """What an earlier manifest lists is removed, if these are names of files and the manifest is whole."""
    path = tmp_path / "manifest.json"
    for text in ("{", "[" * 100_000, "{}", '{"format": "onespike-verilog", "files": [5]}', '{"files": ["a.v"]}'):
        path.write_text(text)
        assert emit._listed(path) == set(), text[:50]
    path.write_text(json.dumps({"format": "onespike-verilog", "files": ["a.v", "..", "", "x/y.v", "/a.v", ".git"]}))
    assert emit._listed(path) == {"a.v"}

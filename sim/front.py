# SPDX-License-Identifier: Apache-2.0
"""Simulate an engine behind one of its fronts: the same design that a board would run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from ..hw.config import EngineConfig
from ..hw.emit.front import front_verilog
from ..hw.emit.verilog import TOP, to_verilog
from ..hw.fronts.front import Front
from ..model.system.files import write_atomically

if TYPE_CHECKING:
    from .verilator import Built


def build_front(config: EngineConfig, front: Front, build_dir: str | Path, *, fast: bool = True) -> Built:
    """Compile the front with its engine, memories blank; fast as in `build`."""
    from .verilator import build

    texts = {f"{TOP}.v": to_verilog(config), f"{front.top}.v": front_verilog(config, front)}
    digest = hashlib.sha256("".join(texts.values()).encode()).hexdigest()[:16]
    sources = Path(build_dir) / f"verilog-{digest}"
    for name, text in texts.items():
        write_atomically(sources / name, text)
    files = [sources / name for name in texts]
    return build(files, front.top, build_dir, timing=False, options=["-DONESPIKE_BLANK"], fast=fast)

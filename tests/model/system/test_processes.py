# SPDX-License-Identifier: Apache-2.0
"""No tool outlives what started it: an interrupt, a time limit, a signal, a sudden death."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from marked import marked, until
from onespike.model.system.processes import LOOK, Stopped, children, pool, run

# A tool with a child in the background, as make has compilers; both are known by their environment.
TOOL = ["sh", "-c", "sleep 60 & touch started; sleep 60"]
SCRIPT = f"from onespike.model.system.processes import run; run({TOOL!r})"
POOL = """
import time
from pathlib import Path
from onespike.model.system.processes import pool
if __name__ == "__main__":
    with pool(2, start="spawn") as processes:
        for name in ("one", "two"):
            processes.submit(Path(name).touch)
        while not all(map(Path.exists, map(Path, ("one", "two")))):
            time.sleep(0.05)
        Path("started").touch()
        processes.submit(time.sleep, 60).result()
"""


def started(script: Path | str, tmp_path: Path, **options) -> tuple[subprocess.Popen, str]:
    """A Python process whose tool has just started, and the mark of all that it starts."""
    mark = f"ONESPIKE_MARK={tmp_path}"
    command = [sys.executable, str(script)] if isinstance(script, Path) else [sys.executable, "-c", script]
    process = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"ONESPIKE_MARK": str(tmp_path)}, **options)
    until((tmp_path / "started").exists)
    return process, mark


def test_a_tool_gives_its_output_and_its_code(tmp_path):
    done = run(["sh", "-c", "cat; pwd; echo no >&2; exit 3"], cwd=tmp_path, text="in\n")
    assert (done.code, done.output, done.errors) == (3, f"in\n{tmp_path}\n", "no\n")
    assert run(["sh", "-c", "echo a; echo b >&2"], errors=subprocess.STDOUT).output == "a\nb\n"
    assert run(["sh", "-c", "kill -9 $$"]).code == 128 + 9
    missing = run(["onespike-has-no-such-tool"])
    assert missing.code == 127 and missing.errors == "onespike-has-no-such-tool: No such file or directory\n"


def test_a_tool_dies_of_broken_pipes_as_it_would_without_us():
    (ignored,) = (line for line in run(["cat", "/proc/self/status"]).output.splitlines() if line.startswith("SigIgn"))
    assert not int(ignored.split()[1], 16) & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)


def test_a_tool_is_stopped_when_that_is_asked_for(tmp_path):
    looks = []

    def stop():
        looks.append((tmp_path / "started").exists())
        return len(looks) > 1 and looks[-1]

    with pytest.raises(Stopped):
        run(TOOL, cwd=tmp_path, env=os.environ | {"ONESPIKE_MARK": str(tmp_path)}, stop=stop)
    until(lambda: not marked(f"ONESPIKE_MARK={tmp_path}"))
    assert len(looks) > 1


def test_a_tool_that_need_not_be_stopped_is_as_without_looks(tmp_path):
    done = run(["sh", "-c", f"cat; sleep {2.5 * LOOK}; echo no >&2; exit 3"], text="in\n", stop=lambda: False)
    assert (done.code, done.output, done.errors) == (3, "in\n", "no\n")
    before = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        run(["sleep", "60"], timeout=1.5 * LOOK, stop=lambda: False)
    assert 1.5 * LOOK <= time.monotonic() - before < 30


def test_a_time_limit_ends_all(tmp_path):
    with pytest.raises(subprocess.TimeoutExpired):
        run(TOOL, cwd=tmp_path, env=os.environ | {"ONESPIKE_MARK": str(tmp_path)}, timeout=1)
    until(lambda: not marked(f"ONESPIKE_MARK={tmp_path}"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_a_signal_to_a_program_of_ours_ends_its_tools(tmp_path, number):
    """No handler is needed: the system tells the guard."""
    process, mark = started(SCRIPT, tmp_path, stderr=subprocess.DEVNULL)
    assert len(marked(mark)) >= 4  # the program, the guard, the shell, what it started
    process.send_signal(number)
    process.wait(20)
    until(lambda: not marked(mark))


def test_workers_end_with_their_parent(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(POOL)
    process, mark = started(script, tmp_path, stderr=subprocess.DEVNULL)
    process.kill()
    process.wait(20)
    until(lambda: not marked(mark))


def test_an_exception_ends_workers_at_once():
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), pool(1) as processes:
        processes.submit(time.sleep, 60)
        until(children)
        raise KeyboardInterrupt
    assert time.monotonic() - begun < 30

# SPDX-License-Identifier: Apache-2.0
"""Runs tests in forks of a process that has imported what all of them need, for `mutants.py`; a script by itself.

It never imports our own package, which the forks find in the copy of the tree they stand in. Orders come as lines of
JSON, {"tests": [file or test], "seconds": of processor time for a test, "wall": for all, "log": file, "options": more
of pytest's}; each is answered by one, {"how": "passed", "failed", "timeout" or "error", "test": the first that failed,
"cpu": seconds of processor time}.
"""

import contextlib
import gc
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

import amaranth.sim  # noqa: F401
import hypothesis.strategies  # noqa: F401
import numpy  # noqa: F401
import pytest
import rich.progress  # noqa: F401

BROKEN = 70  # what a fork says that could not begin


class Watch:
    """Puts a first case of every test function before the second ones; gives each test its time; notes what fails."""

    def __init__(self, seconds: float, found: Path) -> None:
        self.seconds, self.found = seconds, found

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        turns: dict[str, int] = {}
        order: list[tuple[int, int]] = []
        for item in items:
            function = item.nodeid.partition("[")[0]
            order.append((turns.setdefault(function, 0), len(order)))
            turns[function] += 1
        items[:] = [items[place] for _, place in sorted(order)]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.found.write_text(nodeid)
        signal.setitimer(signal.ITIMER_VIRTUAL, self.seconds)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.found.write_text(report.nodeid)


def trial(order: dict) -> int:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.set_threshold(50_000, 20, 100)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.setitimer(signal.ITIMER_VIRTUAL, order["seconds"])
    watch = Watch(order["seconds"], Path(order["log"] + ".test"))
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", "--tb=short", *order.get("options", [])]
    return int(pytest.main([*options, *order["tests"]], plugins=[watch]))


def wait(pid: int, seconds: float) -> tuple[int, float]:
    """The exit status of a fork and its processor time; it ends after so many seconds, and all that it has started."""
    end = time.monotonic() + seconds
    ended = 0
    try:
        while not ended and time.monotonic() < end:
            ended, status, used = os.wait4(pid, os.WNOHANG)
            time.sleep(0 if ended else 0.02)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    if not ended:
        _, _, used = os.wait4(pid, 0)
        return -signal.SIGVTALRM, used.ru_utime + used.ru_stime
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    for line in sys.stdin:
        order = json.loads(line)
        noted = Path(order["log"] + ".test")
        noted.write_text("")
        if (pid := os.fork()) == 0:
            code = BROKEN
            try:
                code = trial(order)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        code, cpu = wait(pid, order["wall"])
        how = {0: "passed", 1: "failed", 2: "failed", -signal.SIGVTALRM: "timeout"}.get(code, "error")
        test = noted.read_text()
        how = "error" if how == "failed" and not test else how
        print(json.dumps({"how": how, "code": code, "test": test, "cpu": cpu}), flush=True)


if __name__ == "__main__":
    main()

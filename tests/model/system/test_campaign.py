# SPDX-License-Identifier: Apache-2.0
"""Campaigns: equal results for any workers, kept ones are not made again, and deaths of workers and commands."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import campaign_jobs as jobs
from marked import marked, until
from onespike.model.errors import OneSpikeError
from onespike.model.system import campaign, contents, executors
from onespike.model.system.campaign import Job, run
from paths import SUPPORT


def job(function, *arguments, folder=None) -> Job:
    return Job(name=f"job {arguments[0]}", function=function, arguments=arguments, folder=folder)


def calls(folder: Path) -> list[str]:
    return sorted(path.name.split("-")[0] for path in folder.glob("*-*"))


def test_results_do_not_depend_on_workers_or_on_what_was_kept(tmp_path):
    work = [job(jobs.square, number) for number in (3, 1, 2, 3)]
    told = []
    alone = run(work, "local:1", keep=tmp_path, done=lambda *numbers: told.append(numbers))
    assert alone == [{"square": n * n, "pair": [n, n]} for n in (3, 1, 2, 3)]
    assert told == [(0, 4), (2, 4), (3, 4), (4, 4)]
    assert run(work, "local:2") == alone


def test_a_second_run_skips_what_is_there(tmp_path):
    built, kept = tmp_path / "built", tmp_path / "kept"
    work = [job(jobs.counted, number, folder=built) for number in range(4)]
    run(work[:2], keep=kept)
    assert run(work, keep=kept) == [0, 1, 2, 3] and calls(built) == list("0123")
    (path,) = kept.rglob(f"{work[2].key}.json")
    path.write_text(path.read_text()[:-5])  # damaged: made again
    assert run(work, keep=kept) == [0, 1, 2, 3] and calls(built) == list("01223")
    assert {path.suffix for path in kept.rglob("*") if path.is_file()} == {".json"}  # nothing half-written


def test_keys_are_of_contents(tmp_path, monkeypatch):
    def key(*arguments, **options):
        return job(jobs.square, *arguments, **options).key

    assert key(1) == key(1, folder=tmp_path) == key(np.int64(1)) != key(2)
    assert key(np.arange(4)) != key(np.arange(4).reshape(2, 2)) != key(np.arange(4.0).reshape(2, 2))
    assert key("ab", "c") != key("a", "bc") and key({"a": 1, "b": 2}) == key({"b": 2, "a": 1}) and key(1) != key("1")
    assert key(1) != job(jobs.counted, 1).key
    for unnamed in (tmp_path, lambda: 0, object()):
        with pytest.raises(TypeError, match="has no contents that name it"):
            key(unnamed)
    before = key(1)
    monkeypatch.setattr(contents, "code", lambda module: "another version")
    assert key(1) != before


def test_other_code_is_not_run():
    sentence = "A worker has another version of OneSpike than this command; install the same one on all."
    assert campaign.work(jobs.square, (1,), None, "older", 1) == ("mistake", sentence)


@pytest.mark.parametrize("executor", ["local:1", "local:2"])
def test_the_first_error_is_raised(executor):
    kinds = ("differs", "mistake", "well", "mistake")
    with pytest.raises(AssertionError, match="0 differs"):
        run([job(jobs.failing, number, kinds) for number in range(4)], executor)
    with pytest.raises(OneSpikeError, match=r"^Number 1 is wrong; take another\.$"):
        run([job(jobs.failing, number, ("well", *kinds[1:])) for number in range(4)], executor)


def test_a_killed_worker_is_replaced(tmp_path):
    """Job 1 kills its process twice; the third time it runs alone, and ends."""
    work = [job(jobs.deadly, number, 1, 2, folder=tmp_path / "calls") for number in range(5)]
    assert run(work, "local:2", keep=tmp_path / "kept") == list(range(5))
    assert calls(tmp_path / "calls").count("1") == 1 + executors.RETRIES


def test_a_job_that_always_kills_its_worker_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(executors.Workers, "retries", 1)
    work = [job(jobs.deadly, number, 1, 99, folder=tmp_path / "calls") for number in range(4)]
    with pytest.raises(OneSpikeError, match=r"^The job 'job 1' ended its process 2 times \(out of memory\?\) on 2 pro"):
        run(work, "local:2", keep=tmp_path / "kept")
    assert calls(tmp_path / "calls").count("1") == 2


SCRIPT = """
import sys
from pathlib import Path
import campaign_jobs as jobs
from onespike.model.system.campaign import Job, run
if __name__ == "__main__":
    work = [Job(name=str(n), function=jobs.slow, arguments=(n, 0.1 if n < 2 else 60), folder=Path("calls"))
            for n in range(4)]
    run(work, sys.argv[1], keep=Path("kept"))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_ends_leaves_whole_results_and_no_worker(tmp_path, number):
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(SUPPORT), "ONESPIKE_MARK": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "script.py", "local:2"], cwd=tmp_path, env=environment,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    until(lambda: len(calls(tmp_path / "calls")) == 4, 60)
    process.send_signal(number)
    assert process.wait(20) != 0
    until(lambda: not marked(f"ONESPIKE_MARK={tmp_path}"))
    kept = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert len(kept) == 2 and all(path.suffix == ".json" for path in kept)


def test_what_is_no_executor():
    for text in ("local:0", "local:257", "dask://host", "ssh://host:1", ""):
        with pytest.raises(OneSpikeError, match=r"^The executor must be local, local:N with N in 1\.\.256, or dask://"):
            run([job(jobs.square, 1)], text)


def test_jobs_of_the_program_itself():
    """Workers know them by the name of the program, not as `__main__`."""
    words = [sys.executable, "-m", "campaign_program"]
    environment = os.environ | {"PYTHONPATH": str(SUPPORT)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout == "[9, 16, 25]\n", done.stderr

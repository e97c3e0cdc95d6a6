# SPDX-License-Identifier: Apache-2.0
"""Campaigns on a real Dask cluster: two worker processes of which one is killed, and a scheduler that goes away."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import campaign_jobs as jobs
from marked import until
from onespike.model.errors import OneSpikeError
from onespike.model.system import executors
from onespike.model.system.campaign import Job, run
from paths import SUPPORT

distributed = pytest.importorskip("distributed")


def job(function, *arguments, folder=None) -> Job:
    return Job(name=f"job {arguments[0]}", function=function, arguments=arguments, folder=folder)


def process(folder: Path, command: str, *words: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(SUPPORT)])}
    words = ("-m", f"distributed.cli.dask_{command}", *words, "--no-dashboard")
    return subprocess.Popen([sys.executable, *words], cwd=folder, env=environment, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def cluster(folder: Path, workers: int) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """A scheduler and workers without nannies, each a process of its own: its address, and all of them."""
    file = folder / "scheduler.json"
    words = ("--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
    started = [process(folder, "scheduler", *words)]
    try:
        until(lambda: file.exists() and file.read_text().endswith("}"), 60)
        address = json.loads(file.read_text())["address"]
        for _ in range(workers):
            started.append(process(folder, "worker", address, "--nthreads", "1", "--no-nanny"))
        yield address.replace("tcp://", "dask://"), started
    finally:
        for each in started:
            each.kill()
            each.wait()


def test_a_killed_worker_and_a_lost_scheduler(tmp_path):
    with cluster(tmp_path, 2) as (address, (scheduler, *workers)):
        work = [job(jobs.deadly, number, 1, 1, folder=tmp_path / "calls") for number in range(6)]
        assert run(work, address, keep=tmp_path / "kept") == list(range(6))
        until(lambda: sum(worker.poll() is not None for worker in workers) == 1)
        assert run(work, "local:1", keep=tmp_path / "kept") == list(range(6))  # the results are here
        work = [job(jobs.slow, number, 0.5, folder=tmp_path / "slow") for number in range(40)]
        threading.Timer(1.5, scheduler.kill).start()
        with pytest.raises(OneSpikeError, match=rf"^The Dask cluster at {address[7:]} is gone after \d of 40 jobs"):
            run(work, address, keep=tmp_path / "slow")
        kept = [path for path in (tmp_path / "slow").rglob("*") if path.is_file() and "-" not in path.name]
        assert kept and all(path.suffix == ".json" for path in kept)


def test_a_local_cluster_gives_what_this_process_gives():
    work = [job(jobs.square, number) for number in range(5)]
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as local:
        address = local.scheduler_address.replace("tcp://", "dask://")
        assert run(work, address) == run(work)
        kinds = ("well", "mistake", "differs")
        with pytest.raises(OneSpikeError, match=r"^Number 1 is wrong"):
            run([job(jobs.failing, number, kinds) for number in range(3)], address)


def test_nobody_there(monkeypatch, tmp_path):
    monkeypatch.setattr(executors, "JOIN", 1.0)
    with pytest.raises(OneSpikeError, match=r"^No Dask scheduler answers at 127.0.0.1:9 \(.*\); start one with"):
        run([job(jobs.square, 1)], "dask://127.0.0.1:9")
    with cluster(tmp_path, 0) as (address, _):
        started = time.monotonic()
        with pytest.raises(OneSpikeError, match=r"has no worker; start some with `dask worker 127"):
            run([job(jobs.square, 1)], address)
        assert time.monotonic() - started < 30

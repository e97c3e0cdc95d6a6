# SPDX-License-Identifier: Apache-2.0
"""Results do not depend on how many threads work; BLAS has one thread inside, and its own number again afterwards."""

import math
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from networks import float_graph, random_codes, random_network
from onespike.cli import main
from onespike.model.convert.converter import prepare
from onespike.model.convert.layerwise import layer_losses
from onespike.model.errors import OneSpikeError
from onespike.model.network import golden, operations, stepped
from onespike.model.network.operations import count
from onespike.model.network.spec import SpikeNet
from onespike.model.system import parallel

THREADS = (1, 2, 3, 7)


@pytest.fixture
def small_chunks(monkeypatch):
    """So that a few images are many pieces."""
    monkeypatch.setattr(golden, "CHUNK_BYTES", 1 << 10)
    monkeypatch.setattr(operations, "CHUNK", 4)
    monkeypatch.setattr(stepped, "CHUNK", 4)
    golden._plan.cache_clear()
    yield
    golden._plan.cache_clear()


def blas_threads() -> int:
    (library,) = parallel._blas().info()
    return library["num_threads"]


def net_and_codes() -> tuple[SpikeNet, np.ndarray]:
    rng = np.random.default_rng(11)
    net = random_network(rng, (5,), 60)
    return net, random_codes(rng, net, 37)


def test_golden_on_any_number_of_threads(small_chunks):
    net, codes = net_and_codes()
    assert golden._plan(net).chunk < 10
    wanted = golden.run(net, codes, layers=True, trains=True, threads=1)
    with parallel.use(1):
        counted, alone = count(net, codes), stepped.run(net, codes, layers=True)
    for threads in THREADS:
        done: list[int] = []
        found = golden.run(net, codes, layers=True, trains=True, threads=threads, progress=done.append)
        np.testing.assert_array_equal(found.logits, wanted.logits)
        np.testing.assert_array_equal(golden.run(net, codes, threads=threads), wanted.logits)
        for name in wanted.codes:
            np.testing.assert_array_equal(found.codes[name], wanted.codes[name])
        for name in wanted.trains:
            np.testing.assert_array_equal(found.trains[name], wanted.trains[name])
        assert sum(done) == len(codes) and len(set(done[:-1])) == 1
        with parallel.use(threads):
            assert count(net, codes) == count(net, wanted.codes) == counted
            steps = stepped.run(net, codes, layers=True)
        np.testing.assert_array_equal(steps.logits, alone.logits)
        for step, other in zip(steps.steps, alone.steps, strict=True):
            assert all((step[name] == other[name]).all() for name in other)


def test_one_thread_of_blas_inside_and_as_before_outside():
    with parallel._blas().limit(limits=2):
        inside, both = [], threading.Barrier(2, timeout=10)

        def look(_: int) -> int:
            both.wait()  # two at a time
            inside.append(blas_threads())
            with parallel.one_blas_thread():
                pass
            inside.append(blas_threads())
            return parallel.count()

        with parallel.use(2):
            assert parallel.each(look, range(4)) == [1] * 4
        assert inside == [1] * 8
        assert blas_threads() == 2
        with pytest.raises(ZeroDivisionError), parallel.one_blas_thread():
            assert blas_threads() == 1
            1 / 0  # noqa: B018
        assert blas_threads() == 2
        with parallel.one_blas_thread():  # the last one out restores it, whoever it is
            other = threading.Thread(target=lambda: parallel.each(abs, [1]))
            other.start()
            other.join()
            assert blas_threads() == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_surfaces_once(threads):
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 2:
            raise OneSpikeError("piece 2")
        return item

    done: list[int] = []
    with parallel.use(threads), pytest.raises(OneSpikeError, match=r"^piece 2$"):
        parallel.each(work, range(5000), done.append)
    assert done == [0, 1] and len(begun) <= 3 + parallel.AHEAD * threads
    assert not [t for t in threading.enumerate() if t.name.startswith("onespike")]


def test_an_interrupt_ends_the_work():
    begun: list[int] = []

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with parallel.use(2), pytest.raises(KeyboardInterrupt):
        parallel.each(begun.append, range(50_000), interrupted)
    assert len(begun) <= 2 * parallel.AHEAD
    assert not [t for t in threading.enumerate() if t.name.startswith("onespike")]


def test_workers_see_the_callers_error_state():
    with parallel.use(2), np.errstate(divide="ignore"):
        assert parallel.each(lambda x: float(np.float64(1) / x), [np.float64(0)] * 3) == [math.inf] * 3
    with parallel.use(2), np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        parallel.each(lambda x: float(np.float64(1) / x), [np.float64(0)] * 3)


@pytest.mark.parametrize("bad", [0, -1, 1025, 2.0, True, "2"])
def test_bad_numbers_are_refused(bad):
    net, codes = net_and_codes()
    sentence = rf"^threads must be a whole number in 1\.\.1024, or None for every core, not {bad!r}\.$"
    for call in (
        lambda: golden.run(net, codes, threads=bad),
        lambda: net.golden(np.zeros((1, *net.image.shape)), threads=bad),
        lambda: prepare(float_graph()[0], threads=bad),
    ):
        with pytest.raises(OneSpikeError, match=sentence):
            call()


@pytest.mark.parametrize("bad", ["0", "many", "-2", "1.5", "9" * 5000, "٣x"])
def test_a_bad_environment_is_refused(monkeypatch, bad):
    monkeypatch.setenv("ONESPIKE_THREADS", bad)
    net, codes = net_and_codes()
    with pytest.raises(OneSpikeError, match=r"^ONESPIKE_THREADS must be a whole number in 1\.\.1024, not '.*; unset"):
        golden.run(net, codes)
    golden.run(net, codes, threads=2)  # the nearest place counts


def test_the_command_line(monkeypatch, capsys, tmp_path):
    net, _ = net_and_codes()
    net.save(tmp_path / "net.spike")
    seen = []
    monkeypatch.setattr("onespike.commands.report.run", lambda *_: seen.append(parallel.count()))
    command = ["report", str(tmp_path / "net.spike")]
    monkeypatch.setenv("ONESPIKE_THREADS", " 5 ")
    assert main([*command, "--threads", "3"]) == main(command) == 0 and seen == [3, 5]
    assert main([*command, "--threads", "0"]) == 2
    assert "Argument --threads: must be an integer in 1..1024, not '0'" in capsys.readouterr().err
    monkeypatch.setenv("ONESPIKE_THREADS", "no")
    assert main(command) == 2 and len(seen) == 2
    assert "ONESPIKE_THREADS must be a whole number" in capsys.readouterr().err


def test_cores(monkeypatch, tmp_path):
    monkeypatch.delenv("ONESPIKE_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    for quota, cores in ((math.inf, 6), (2.5, 3), (0.1, 1), (64.0, 6)):
        monkeypatch.setattr(parallel, "quota", lambda *_, quota=quota: quota)
        assert parallel.cores() == parallel.count() == cores


def test_quotas_of_control_groups(tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    (two / "slice/unit").mkdir(parents=True)
    groups = "0::/slice/unit\n"
    assert parallel.quota(two, groups) == math.inf
    (two / "slice/unit/cpu.max").write_text("max 100000\n")
    assert parallel.quota(two, groups) == math.inf
    (two / "slice/cpu.max").write_text("150000 100000\n")  # the group around it
    assert parallel.quota(two, groups) == 1.5
    (two / "slice/unit/cpu.max").write_text("50000 100000\n")
    assert parallel.quota(two, groups) == 0.5
    assert parallel.quota(two, "0::/\n") == parallel.quota(two, "4:memory:/x\n") == math.inf
    (one / "cpu").mkdir(parents=True)
    (one / "cpu/cpu.cfs_period_us").write_text("100000\n")
    for text, cores in (("-1\n", math.inf), ("400000\n", 4.0)):
        (one / "cpu/cpu.cfs_quota_us").write_text(text)
        assert parallel.quota(one, "1:cpu:/\n") == cores


def test_conversion_on_any_number_of_threads(monkeypatch):
    """The integers are the same, and so is what is said of every layer."""
    monkeypatch.setattr("onespike.model.frontend.graph.CHUNK_BYTES", 1 << 18)
    monkeypatch.setattr("onespike.model.convert.refit.BLOCK", 500)
    graph, images = float_graph()
    assert len(list(graph.chunks(64))) > 3
    labels = np.arange(64) % 4
    found = []
    for threads in THREADS:
        conversion = prepare(graph, calibration=images[:64], groups="auto", threads=threads)
        with parallel.use(threads):
            losses = layer_losses(graph, conversion.net, images[:64], labels)
            logits = graph.run(images[:64], np.float32)
        found.append((conversion.net.hash, losses.layers, logits.tobytes()))
    assert all(other == found[0] for other in found[1:])


def test_torch_is_limited_for_a_while_only():
    torch = pytest.importorskip("torch")
    from onespike.model.frontend.torch_threads import torch_threads

    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        1 / 0  # noqa: B018
    with torch_threads(None):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


def test_the_command_line_lets_waiting_threads_sleep():
    """libgomp reads it when torch is imported, which must come later."""
    script = "import os, sys, onespike.cli; assert 'torch' not in sys.modules; print(os.environ['OMP_WAIT_POLICY'])"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-P", "-c", script]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "PASSIVE"

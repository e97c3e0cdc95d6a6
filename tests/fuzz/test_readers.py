# SPDX-License-Identifier: Apache-2.0
"""Damaged inputs of every reader, the same in every run: read, or refused in one sentence. `make fuzz` looks longer."""

import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from fuzz import verdict
from fuzz.mutations import MOST, text_damaged
from fuzz.reader import Reader, saved
from fuzz.readers import READERS
from fuzz.search import Bench, rounds, smaller
from onespike.model.errors import OneSpikeError


@pytest.mark.parametrize("name", READERS)
def test_damaged_inputs(tmp_path, name):
    bench = Bench(READERS[name], tmp_path)
    for seed in bench.seeds:
        assert bench.try_one(seed) is None, "a valid file is refused in a wrong way"
    found = rounds(bench, bench.reader.inputs)
    assert not found, "\n\n".join(one.text() for one in found.values())


def bad(read):
    """A reader that does wrong."""
    return Reader(name="bad", make=saved("bad.txt", lambda path: path.write_text("some words")), read=read,
                  damage=text_damaged)  # fmt: skip


def refuses(text):
    def read(path):
        raise OneSpikeError(text.replace("PATH", str(path)))

    return read


def swallowed(path):
    try:
        bytearray(1 << 40)
    except MemoryError:
        raise OneSpikeError(f"{path} is damaged.") from None


def spins(path):
    while True:
        pass


WRONG = {
    "a traceback": (lambda path: {}["x"], "KeyError in"),
    "two lines": (refuses("PATH is bad.\nVery bad."), "sentence of no good form"),
    "no full stop": (refuses("PATH is bad"), "sentence of no good form"),
    "a long sentence": (refuses("PATH" + " is bad" * 200 + "."), "sentence of no good form"),
    "no file": (refuses("It is bad."), "sentence that names no file"),
    "a plea": (refuses("PATH is odd; please report it."), "sentence that is none"),
    "memory": (lambda path: bytearray(1 << 40), "memory in"),
    "memory, with a sentence": (swallowed, "memory in"),
    "endless": (spins, "hang in"),
    "a file elsewhere": (lambda path: Path("elsewhere").write_text("x"), "outside: open"),
    "a folder elsewhere": (lambda path: Path("elsewhere").mkdir(exist_ok=True), "outside: os.mkdir"),
    "a process": (lambda path: subprocess.run(["true"], check=True), "outside: subprocess.Popen"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_seen(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verdict, "SECONDS", 0.2)
    read, kind = WRONG[name]
    found = Bench(bad(read), tmp_path / "room").try_one(b"x")
    assert found is not None and found.kind.startswith(kind), found


def test_what_is_right_is_let_pass(tmp_path):
    writes = lambda path: (path.parent / "b").write_text("")  # noqa: E731
    for read in (lambda path: path.read_text(), refuses("PATH is bad."), writes):
        bench = Bench(bad(read), tmp_path / "room")
        assert bench.try_one(b"x") is None
        assert [path.name for path in bench.folder.iterdir()] == ["bad.txt"]  # what it left is gone


def test_an_input_becomes_small(tmp_path):
    bench = Bench(bad(lambda path: 1 // (b"q" not in path.read_bytes())), tmp_path)
    data = random.Random(0).randbytes(400).replace(b"q", b"") + b"q" + bytes(300)
    failure = bench.try_one(data)
    found = smaller(bench, data, failure)
    assert found.data == b"q" and found.failure.kind == "ZeroDivisionError in test_readers.py:<lambda>"
    assert "1 bytes" in found.text() and "again: b'q'" in found.text()


def test_damage_follows_the_seed(tmp_path):
    """The same inputs for the same seed, wherever it runs."""
    seen: list[bytes] = []
    reader = bad(lambda path: seen.append(path.read_bytes()))
    for seed in (0, 0, 1):
        rounds(Bench(reader, tmp_path), 20, seed=seed)
    assert seen[:20] == seen[20:40] != seen[40:]


@pytest.mark.parametrize("name", READERS)
def test_damage_is_damage(tmp_path, name):
    """Most inputs differ from what is valid, and from one another."""
    reader = READERS[name]
    data = reader.make(tmp_path).read_bytes()
    made = {reader.damage(data, random.Random(f"{name} {i}")) for i in range(20)} - {data}
    assert len(made) >= 8


@pytest.mark.parametrize("name", READERS)
def test_what_is_damaged_can_be_damaged_further(tmp_path, name):
    """As the guided search does; where an encoder cannot, as bytes."""
    bench, rng = Bench(READERS[name], tmp_path), random.Random(name)
    data = bench.seeds[0]
    for _ in range(12):
        data = bench.damaged(data, rng)
    assert data != bench.seeds[0] and len(data) <= MOST


def test_limits_are_taken_back(tmp_path):
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGPROF)
    Bench(bad(lambda path: None), tmp_path).try_one(b"")
    assert (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGPROF)) == before
    assert os.getpid() and time.monotonic() and signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)

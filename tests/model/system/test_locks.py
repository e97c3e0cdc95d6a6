# SPDX-License-Identifier: Apache-2.0
"""A folder belongs to one run; locks end with the process that holds them."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from onespike.model.errors import OneSpikeError
from onespike.model.system import locks
from onespike.model.system.locks import NAME, in_turn, owned, reserved

HOLD = """
import sys
from onespike.model.system.locks import owned
with owned(sys.argv[1]): print("held", flush=True); input()
"""


def test_one_folder_two_processes(tmp_path):
    folder = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", HOLD, folder], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        sentence = f"The folder {folder} is in use by process {process.pid}: wait until it ends, or choose another "
        with pytest.raises(OneSpikeError) as refused, owned(folder):
            pass
        assert str(refused.value).startswith(sentence)
        process.kill()
    assert (folder / NAME).is_file()  # what a killed run leaves is no obstacle
    with owned(folder), pytest.raises(OneSpikeError, match="in use"), owned(folder):
        pass
    assert list(folder.iterdir()) == []


def test_a_new_folder_that_stays_empty_is_removed(tmp_path):
    with pytest.raises(ValueError), owned(tmp_path / "new"):
        raise ValueError
    assert not (tmp_path / "new").exists()
    with owned(tmp_path / "new") as folder:
        (folder / "file").touch()
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_a_full_disk(tmp_path, monkeypatch):
    def full(number, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(locks.os, "write", full)
    sentence = f"^Cannot write {tmp_path}/new/{NAME}: No space left on device; free some space, or choose an output "
    with pytest.raises(OneSpikeError, match=sentence), owned(tmp_path / "new"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_a_run_left_that_was_cut_off(tmp_path):
    lock = tmp_path / "lock"
    for text, left in (("", False), ("123", True)):
        lock.write_text(text)
        with reserved(lock, "It", "go away") as found:
            assert found is left
        assert not lock.exists()


def test_work_for_all_is_done_in_turn(tmp_path):
    order, inside = [], threading.Event()

    def second():
        inside.wait()
        with in_turn(tmp_path / "new" / "lock"):
            order.append("second")

    thread = threading.Thread(target=second)
    with in_turn(tmp_path / "new" / "lock"):
        thread.start()
        inside.set()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_where_no_lock_can_be_made():
    for lock in (owned, lambda path: in_turn(Path(path) / "lock")):
        with pytest.raises(OneSpikeError, match="Cannot write /proc/onespike"), lock("/proc/onespike"):
            pass

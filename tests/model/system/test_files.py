# SPDX-License-Identifier: Apache-2.0
"""Output files: whole or absent, whatever stands at their path and however the disk fails."""

import errno
import itertools
import json
import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from onespike.model.errors import OneSpikeError
from onespike.model.system import files, reports
from onespike.model.system.files import make_folder, require_room, writable, write_atomically

ACTIONS = (lambda path: writable(path, "it"), lambda path: write_atomically(path, "x"), make_folder)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_once_and_keeps_its_mode(tmp_path):
    path = tmp_path / "new" / "file"
    assert write_atomically(str(path), "one") and not write_atomically(path, b"one")
    path.chmod(0o640)
    assert write_atomically(path, "two") and path.read_text() == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 and names(path.parent) == ["file"]


@pytest.mark.parametrize("text", ["target", "../deep/target", "hop"])
def test_links_are_followed(tmp_path, text):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "hop").symlink_to("target")
    link = tmp_path / "deep" / "link"
    link.symlink_to(text)
    for contents in ("made", "replaced"):
        writable(link, "it")
        assert write_atomically(link, contents) and link.is_symlink()
        assert (tmp_path / "deep" / "target").read_text() == contents


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for action in ACTIONS[:2]:
        with pytest.raises(OneSpikeError, match=r"Cannot write .*: Too many levels of symbolic links"):
            action(tmp_path / "a")


def test_pipes_and_devices_are_written_into(tmp_path):
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    writable(pipe, "it")
    write_atomically(pipe, "through")
    reader.join()
    assert found == [b"through"] and pipe.is_fifo()
    (tmp_path / "null").symlink_to("/dev/null")
    write_atomically(tmp_path / "null", "gone")
    assert Path("/dev/null").is_char_device() and names(tmp_path) == ["null", "pipe"]


def test_the_open_files_of_this_process_are_written_into(tmp_path, capfd):
    print("before")
    write_atomically("/dev/stdout", "figures\n")
    (tmp_path / "link").symlink_to("/dev/stderr")
    write_atomically(tmp_path / "link", "complaints\n")
    assert capfd.readouterr() == ("before\nfigures\n", "complaints\n")
    with (tmp_path / "file").open("w") as file:
        file.write("head, ")
        file.flush()
        write_atomically(f"/dev/fd/{file.fileno()}", "body, ")
        file.write("tail")
    assert (tmp_path / "file").read_text() == "head, body, tail"


def test_a_full_disk(tmp_path, monkeypatch):
    """Nothing is left, what was there stays, and the sentence says why."""
    with pytest.raises(OneSpikeError, match=r"Cannot write /dev/full: No space left on device; free some space, or "):
        write_atomically("/dev/full", "x")
    path = tmp_path / "file"
    path.write_text("kept")

    def full(number, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "write", full)
    with pytest.raises(OneSpikeError, match="No space left on device"):
        write_atomically(path, "new")
    assert path.read_text() == "kept" and names(tmp_path) == ["file"]


def test_an_interrupt_at_any_line(tmp_path):
    """The file is the one before or the new one, and nothing lies beside it."""
    path, place, found = tmp_path / "file", 0, []

    def write(at):
        """Write, interrupted before the line of that number, of all lines that run; whether there is such a line."""
        lines = itertools.count()

        def line(frame, event, _):
            if event == "line" and next(lines) == at:
                raise KeyboardInterrupt
            return line

        before = sys.gettrace()
        sys.settrace(lambda frame, *_: line if frame.f_code.co_filename == files.__file__ else None)
        try:
            write_atomically(path, "new")
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False

    while True:
        path.write_text("old")
        again = write(place)
        assert names(tmp_path) == ["file"], place
        found.append(path.read_text())
        if not again:
            break
        place += 1
    assert place > 30 and found == sorted(found, reverse=True) and set(found) == {"old", "new"}


def test_a_tool_that_hides_a_full_disk(tmp_path, monkeypatch):
    require_room(tmp_path, "error: No targets specified and no makefile found")
    with pytest.raises(OneSpikeError, match="No space left on device; free some space"):
        require_room(tmp_path, "as: No space left on device\nmake: error")

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.tempfile, "TemporaryFile", lambda dir: Full())
    with pytest.raises(OneSpikeError, match="No space left on device; free some space"):
        require_room(tmp_path, "No targets specified and no makefile found")
    (tmp_path / "top.json").write_text('{"modules": ')
    with pytest.raises(OneSpikeError, match="No space left on device; free some space"):
        reports.read(tmp_path / "top.json", "Yosys", json.loads)


def test_two_probes_of_one_path_do_not_meet(tmp_path, monkeypatch):
    """The second run probes between the first one's probe and its removal."""
    path, inside = tmp_path / "file", []
    unlink = Path.unlink

    def slow(self, missing_ok=False):
        if not inside:
            inside.append(1)
            writable(path, "it")
            write_atomically(path, "second")
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", slow)
    writable(path, "it")
    assert names(tmp_path) == ["file"] and path.read_text() == "second"


@pytest.mark.parametrize("path", ["x" * 5000, "y/" * 2500 + "z", "x" * 300])
def test_names_too_long_for_the_system(tmp_path, path):
    for action in ACTIONS:
        with pytest.raises(OneSpikeError, match="File name too long; choose an output path"):
            action(tmp_path / path)
    longest = tmp_path / ("x" * 255)
    assert write_atomically(writable(longest, "it"), "fits") and names(tmp_path) == [longest.name]


def test_a_folder_that_cannot_be_made():
    for action in ACTIONS:
        with pytest.raises(OneSpikeError, match=r"Cannot write /proc/onespike/file: No such file or directory; choose"):
            action("/proc/onespike/file")

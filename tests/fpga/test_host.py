# SPDX-License-Identifier: Apache-2.0
"""From a file to an answer: `onespike run` on a simulated board, and what it says about boards that do not answer."""

import contextlib
import functools
import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
import tty

import numpy as np
import pytest
import serial
from PIL import Image as Picture

from blocks import random_mapping
from command_line import fails, small_net
from fake_board import PIXELS, TAKEN, FakeBoard, other_net
from onespike.cli import main
from onespike.fpga import link as links
from onespike.fpga.host import Board
from onespike.fpga.link import LinkError, MmioLink, SerialLink, SpiLink
from onespike.fpga.protocol import MOST_WORDS, OK, Reply, crc, find_reply, read_request, reply_frame, write_request
from onespike.hw.fronts.packet import BAD_CRC, REFUSED
from onespike.hw.fronts.registers import CONFIG, ID, VERSION, flag, parameter_words, word
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.images import load_words, memory_images
from paths import BUILD


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.spike"
    small_net().save(path)
    return path


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "image.png"
    Picture.fromarray(PIXELS[0]).save(path)
    return path


@pytest.fixture
def board(net, tmp_path):
    """The path of a simulated board's serial port."""
    command = [sys.executable, "-m", "onespike.cli", "board", str(net), "--banks", "1", "--lanes", "4"]
    command += ["-o", str(BUILD), "--pty", str(tmp_path / "ttyBoard")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    # What runs in the background of a shell ignores interrupts, and so does all that it starts.
    listen = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=listen,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            line = next((text for text in process.stdout if text.startswith("Serial port: ")), "")
            assert line == f"Serial port: {tmp_path / 'ttyBoard'}\n"
            yield line.removeprefix("Serial port: ").strip()
        finally:
            process.send_signal(signal.SIGINT)
            try:
                assert process.wait(20) == 130
            finally:
                process.kill()
    assert not (tmp_path / "ttyBoard").is_symlink()


def test_from_a_file_to_an_answer(board, net, picture, tmp_path, capsys):
    expected = small_net().golden(PIXELS[:, None] / np.float32(255))
    np.save(tmp_path / "images.npy", PIXELS)
    (tmp_path / "names.txt").write_text("ant\nbee\nfly\n\n")
    for file, count, held in ((picture, 1, False), (tmp_path / "images.npy", 3, True)):
        arguments = ["run", "--port", board, str(net), str(file), "--timeout", "20", "--clock", "10"]
        arguments += ["--labels", str(tmp_path / "names.txt")] if held else []
        arguments += ["--json", str(tmp_path / "out.json")]
        assert main(arguments) == 0
        found = json.loads((tmp_path / "out.json").read_text())
        assert (found["loaded_words"] == 0) == held
        assert sum(layer["cycles"] for layer in found["counters"]) == found["predicted_cycles"]
        assert 0 < found["images_per_second"]["predicted"] < 115200 / 10 / PIXELS[0].size
        assert found["logits"] == expected[:count].tolist()
        assert found["classes"] == expected[:count].argmax(1).tolist()
        name = f" ({['ant', 'bee', 'fly'][found['classes'][0]]})" if held else ""
        shown = capsys.readouterr()
        assert f"class {found['classes'][0]}{name}, logits {found['logits'][0][0]} " in shown.out
        assert ("the board holds it, nothing was loaded" in shown.err) == held
        assert "115200 baud, 10 MHz)" in shown.out
    # A load that is cut off leaves no network that anybody takes for a whole one.
    with contextlib.closing(SerialLink.open(board, timeout=20)) as link:
        words = load_words(memory_images(Board(link).load(small_net())), Board(link).config)
        link.write(word("control"), [0])
        link.write(word("load"), words[: len(words) // 2], fixed=True)
    assert main([*arguments[:4], str(picture), *arguments[5:]]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["loaded_words"] == len(words) and found["logits"] == expected[:1].tolist()
    capsys.readouterr()
    # One host at a time; one that opens the port in another way is noticed by the host that loses the board.
    with contextlib.closing(SerialLink.open(board, timeout=20)) as link:
        first = Board(link)
        first.load(small_net())
        assert main([str(argument) for argument in run_on(board, net, picture)]) == 2
        sentence = f"Cannot open the serial port {board}: another program uses it; end that one, or close its link."
        assert capsys.readouterr().err == f"onespike: {sentence}\n"
        with serial.Serial(board) as port:
            Board(SerialLink(port, timeout=20)).load(other_net())
        with pytest.raises(OneSpikeError, match=TAKEN):
            first.classify(PIXELS[:1, None])
        first.load(small_net())
        assert np.array_equal(first.classify(PIXELS[:1, None]).logits, expected[:1])
    small_net(16).save(tmp_path / "large.spike")
    np.save(tmp_path / "large.npy", np.zeros((16, 16), np.uint8))
    assert main(["run", "--port", board, str(tmp_path / "large.spike"), str(tmp_path / "large.npy")]) == 2
    assert "does not fit the board (The network needs " in capsys.readouterr().err


@pytest.fixture
def wire():
    """Both ends of a pseudo-terminal: the file descriptor of the far one, the path of the near one."""
    far, near = os.openpty()
    tty.setraw(near)
    yield far, os.ttyname(near)
    os.close(far)
    os.close(near)


def run_on(port, net, picture, *, timeout=0.2):
    return ("run", "--port", port, net, picture, "--timeout", timeout)


def test_a_silent_board(capsys, wire, net, picture):
    sentence = (
        f"The board at {wire[1]} did not answer within 0.2 s: nothing came; check the port, the baud rate and that a "
        f"OneSpike design is running."
    )
    assert main([str(argument) for argument in run_on(wire[1], net, picture)]) == 2
    assert capsys.readouterr().err == f"onespike: {sentence}\n"


def test_a_board_that_talks_nonsense(capsys, wire, net, picture):
    far, port = wire
    ended = threading.Event()

    def babble():
        while not ended.is_set():
            if select.select([far], [], [], 0.02)[0]:
                os.read(far, 100)
                os.write(far, b"login: \x5a\x01")

    speaker = threading.Thread(target=babble)
    speaker.start()
    try:
        assert main([str(argument) for argument in run_on(port, net, picture)]) == 2
    finally:
        ended.set()
        speaker.join()
    assert "did not answer within 0.2 s: only 6c 6f 67 69 6e 3a 20 5a 01 came; check" in capsys.readouterr().err


def test_ports_that_cannot_be_opened(capsys, net, picture, tmp_path):
    sentence = "Cannot open the serial port /dev/ttyNone: there is no such device; name the board's port."
    fails(capsys, sentence, *run_on("/dev/ttyNone", net, picture))


def test_pictures(capsys, net, tmp_path):
    Picture.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "small.png")
    sentence = (
        f"{tmp_path}/small.png holds images of 1 x 4 x 5, but the network takes 1 x 6 x 6 (channels x height x width); "
        f"scale them first."
    )
    fails(capsys, sentence, *run_on("/dev/null", net, tmp_path / "small.png"))
    (tmp_path / "text.png").write_text("no picture")
    fails(capsys, f"{tmp_path}/text.png is no picture; give a PNG file or a .npy file.",
          *run_on("/dev/null", net, tmp_path / "text.png"))  # fmt: skip
    fails(capsys, f"Cannot read {tmp_path}/none.png: No such file or directory.",
          *run_on("/dev/null", net, tmp_path / "none.png"))  # fmt: skip
    np.save(tmp_path / "int.npy", np.zeros((1, 6, 6), int))
    sentence = "must hold uint8 (0..255), uint16 (0..65,535) or floating-point numbers, not int64."
    fails(capsys, f"{tmp_path}/int.npy {sentence}", *run_on("/dev/null", net, tmp_path / "int.npy"))  # fmt: skip


def test_frames_survive_garbage():
    """A reply is found after any garbage, in pieces of any size."""
    reply = Reply(7, OK, (1, 0x5A5A5A5A, 0xFFFFFFFF))
    data = b"\x5a\x00\x5a\x01\x5a" + reply_frame(reply) + b"\x5a\x02"
    for size in range(1, len(data)):
        rest, found = b"", []
        for start in range(0, len(data), size):
            one, rest = find_reply(rest + data[start : start + size])
            found += [one] if one else []
        assert found == [reply] and rest == b"\x5a\x02", size
    assert read_request(1, 2, 3)[:-2].hex() == "a501000203"
    assert write_request(1, 2, [3, 4], fixed=True)[:-2].hex() == "a5010302020300000004000000"
    assert crc(b"123456789") == 0x29B1  # the catalogue's check value of CRC-16/IBM-3740


def test_what_a_board_tells(monkeypatch):
    config = random_mapping(random.Random(1)).config
    board = Board(SpiLink(FakeBoard(config), timeout=0.5))
    assert board.config == config
    with pytest.raises(OneSpikeError, match=r"^No network is loaded; call load\(\) first\.$"):
        board.classify(np.zeros((1, 1, 6, 6)))
    for address, value, message in (
        (0, 5, "What answers is not a OneSpike core: it says 0x00000005 instead of 0x4B505331"),
        *(
            (1, other, f"registers have version {other}, this OneSpike speaks version {VERSION}")
            for other in (VERSION - 1, VERSION + 1)
        ),
        (word("config_code"), 3, "There is no spike code number 3"),
        (word("config_banks"), 3, "banks must be 1, 2, 4"),
    ):
        fake = FakeBoard(config)
        fake.memory[address] = value
        with pytest.raises(OneSpikeError, match=message):
            Board(SpiLink(fake, timeout=0.5))


def test_faults_of_the_line(monkeypatch):
    """One fault is mended by a second attempt; two are reported."""
    monkeypatch.setattr(links, "SHOWN", 4)
    mapping = random_mapping(random.Random(1))
    fake = FakeBoard(mapping.config)
    board = Board(SpiLink(fake, timeout=0.3))
    fake.faults = [OK, BAD_CRC]
    board.load(mapping)
    assert fake.writes[-1] == (word("control"), 1)
    fake.faults = [BAD_CRC, REFUSED]
    with pytest.raises(LinkError, match=r"^The board on SPI refused an access\.$"):
        board.load(mapping)
    fake.xfer2 = lambda data: [0xEE] * len(data)
    with pytest.raises(LinkError, match=r"within 0\.3 s: only ee ee ee ee \.\.\. came"):
        board.status()


def test_a_refused_write_is_noticed_on_a_memory_map():
    """A register bus never faults; the events tell."""
    config = random_mapping(random.Random(1)).config

    class Memory(dict):
        def read(self, offset):
            return self.get(offset, 0)

        def write(self, offset, value):
            self[offset] = value

    memory = Memory({0: ID, 4: VERSION, 8: 0x10} | {CONFIG + 4 * i: v for i, v in enumerate(parameter_words(config))})
    board = Board(MmioLink(memory))
    mapping = random_mapping(random.Random(1))
    memory[4 * word("events")] = flag("events", "refused")
    with pytest.raises(LinkError, match=r"noted a fault while it worked \(events 0x08\)"):
        board.load(mapping)


def test_a_reply_with_too_few_words():
    """Once, it is asked again; twice, it is said."""
    fake = FakeBoard(random_mapping(random.Random(1)).config)
    board = Board(SpiLink(fake, timeout=0.2))
    fake.short = 1
    assert board.status()["running"] is False and fake.short == 0
    fake.short = 2
    with pytest.raises(LinkError, match=r"^The board on SPI answered 1 words instead of 2\.$"):
        board.status()


def test_long_transfers_are_split():
    """No frame has more than MOST_WORDS words."""
    config = random_mapping(random.Random(1)).config
    fake = FakeBoard(config)
    link = SpiLink(fake, timeout=0.5)
    link.write(5, list(range(150)), fixed=True)
    assert fake.writes == [(5, MOST_WORDS), (5, MOST_WORDS), (5, 150 - 2 * MOST_WORDS)]
    assert link.read(CONFIG // 4, 3) == parameter_words(config)[:3]
    assert len(link.read(0, 130, fixed=True)) == 130


def test_missing_pyserial(monkeypatch, capsys, net, picture):
    monkeypatch.setitem(sys.modules, "serial", None)
    sentence = "A serial port needs serial; run `pip install onespike[host]`."
    fails(capsys, sentence, *run_on("/dev/null", net, picture))

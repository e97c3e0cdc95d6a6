# SPDX-License-Identifier: Apache-2.0
"""cocotb test bench of the AXI front, with cocotbext-axi's bus models and random back-pressure on every stream."""

from __future__ import annotations

import ctypes
import os
import random
from collections.abc import Iterator, Sequence
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

from ..fpga.host import Board
from ..fpga.link import MmioLink
from ..hw.fronts.registers import BY_NAME, CONFIG, ID, flag, parameter_words
from ..model.mapping.images import checksum
from ..model.mapping.mapper import map_network
from .front_bench import CLOCK_NS, Case, classify_two_networks, load_stream


def pauses(seed: int, share: float) -> Iterator[bool]:
    rng = random.Random(seed)
    while True:
        yield rng.random() < share


class Bench:
    """The core with a master on every bus."""

    config: Any = None  # as the core states it

    def __init__(self, dut: Any):
        self.dut = dut
        clock, reset = dut.aclk, dut.aresetn
        Clock(clock, CLOCK_NS, unit="ns").start()
        self.lite = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), clock, reset, reset_active_level=False)
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), clock, reset, reset_active_level=False)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), clock, reset, reset_active_level=False)
        self.bytes = len(dut.s_axis_tdata) // 8

    async def reset(self) -> None:
        self.dut.aresetn.value = 0
        await ClockCycles(self.dut.aclk, 4)
        self.dut.aresetn.value = 1
        await ClockCycles(self.dut.aclk, 2)

    def stall(self, share: float) -> None:
        write, read = self.lite.write_if, self.lite.read_if
        channels = (self.source, self.sink, write.aw_channel, write.w_channel, write.b_channel, read.ar_channel,
                    read.r_channel)  # fmt: skip
        for seed, channel in enumerate(channels):
            channel.set_pause_generator(pauses(seed, share))

    async def read(self, name: str) -> int:
        return await self.lite.read_dword(BY_NAME[name].offset)

    async def write(self, name: str, value: int) -> None:
        await self.lite.write_dword(BY_NAME[name].offset, value)

    async def send(self, beats: Sequence[int]) -> None:
        await self.source.send(AxiStreamFrame(b"".join(beat.to_bytes(self.bytes, "little") for beat in beats)))

    async def receive(self) -> list[int]:
        frame = await self.sink.recv()
        return np.frombuffer(bytes(frame.tdata), "<i4").tolist()

    async def load(self, case: Case) -> Any:
        """Load a network; the beats of its images."""
        words = [await self.lite.read_dword(CONFIG + 4 * i) for i in range(len(parameter_words(self.config)))]
        assert words == parameter_words(self.config)
        mapping = map_network(case.net, self.config)
        beats = case.beats(mapping)
        await self.write("control", 0)
        for word in load_stream(mapping):
            await self.write("load", word)
        await self.write("network", checksum(load_stream(mapping)))
        await self.write("beats", len(beats[0]))
        await self.write("control", 1)
        return beats


class Mmio:
    """PYNQ's MMIO, blocking, over the simulated bus."""

    def __init__(self, bench: Bench):
        self.read = cocotb.task.resume(bench.lite.read_dword)
        self.write = cocotb.task.resume(bench.lite.write_dword)


def link_of(bench: Bench) -> MmioLink:
    send, receive = cocotb.task.resume(bench.send), cocotb.task.resume(bench.receive)
    return MmioLink(Mmio(bench), send, lambda count: [word & 0xFFFFFFFF for word in receive()])


async def started(dut: Any, share: float = 0.0) -> Bench:
    bench = Bench(dut)
    await bench.reset()
    bench.stall(share)
    board = await cocotb.task.bridge(Board)(link_of(bench))
    bench.config = board.config
    return bench


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def board(dut: Any) -> None:
    """The host's Board classifies on two networks, with stalls on every channel."""
    bench = await started(dut, 0.3)
    await cocotb.task.bridge(classify_two_networks)(link_of(bench))


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def frames(dut: Any) -> None:
    """Frames of wrong length cost one result each and shift nothing; TUSER carries the class; the interrupt rises."""
    bench = await started(dut, 0.3)
    case = Case.load("one")
    beats, logits = await bench.load(case), case.logits.tolist()
    await bench.write("irq_enable", flag("events", "short") | flag("events", "long"))
    for frame in (beats[0], beats[0][:-1], beats[1], [*beats[0], 5, 6], beats[1], beats[0][:1], beats[0]):
        await bench.send(frame)
    found = [await bench.receive() for _ in range(7)]
    assert [found[i] for i in (0, 2, 3, 4, 6)] == [logits[i] for i in (0, 1, 0, 1, 0)]
    assert await bench.read("images") == 7
    assert await bench.read("events") == sum(flag("events", name) for name in ("done", "short", "long"))
    assert dut.irq.value == 1
    await bench.write("events", flag("events", "short") | flag("events", "long"))
    assert dut.irq.value == 0
    assert await bench.read("events") == flag("events", "done")
    await bench.send(beats[1])
    frame = await bench.sink.recv()
    classes = frame.tuser if isinstance(frame.tuser, list) else [frame.tuser]
    assert classes[-1] == int(np.argmax(logits[1]))


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def stops(dut: Any) -> None:
    """A stop or a reset at any time: offers on the stream stand, a cut frame is closed, the next image is right."""
    bench = await started(dut)
    case = Case.load("one")
    beats, logits = await bench.load(case), case.logits.tolist()
    rng = random.Random(3)
    violations = cocotb.start_soon(watch(dut))
    for turn in range(24):
        bench.sink.set_pause_generator(pauses(turn, 0.6))
        await bench.send(beats[0])
        await ClockCycles(dut.aclk, rng.randrange(1, 700))
        await bench.source.wait()  # a source that is not reset goes on, so let it end first
        await bench.write("control", 0)
        assert await bench.read("events") == 0 and await bench.read("images") == 0
        await bench.write("control", 1)
        await ClockCycles(dut.aclk, 60)
        while not bench.sink.empty():
            cut = await bench.receive()
            assert cut[:-1] == logits[0][: len(cut) - 1] and (cut[-1] == 0 or cut == logits[0])
        assert await bench.read("status") & flag("status", "busy") == 0
        await bench.send(beats[1])
        assert await bench.receive() == logits[1], f"turn {turn}"
    violations.cancel()
    for turn in range(4):
        await bench.send(beats[0])
        await ClockCycles(dut.aclk, rng.randrange(1, 400))
        await bench.reset()
        bench.source.clear()
        bench.sink.clear()
        assert await bench.read("control") == 0 and await bench.read("beats") == 0
        await bench.write("beats", len(beats[0]))
        await bench.write("control", 1)
        await bench.send(beats[1])
        assert await bench.receive() == logits[1], f"reset {turn}"


async def watch(dut: Any) -> None:
    """On m_axis an offer, once made, stands."""
    before = None
    while True:
        await RisingEdge(dut.aclk)
        now = (dut.m_axis_tvalid.value, dut.m_axis_tdata.value, dut.m_axis_tlast.value)
        assert before is None or now == before, "an offer on m_axis changed"
        before = now if now[0] and not dut.m_axis_tready.value else None


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def registers(dut: Any) -> None:
    """What is refused changes nothing and is answered; strobes and bits that do not exist are ignored."""
    bench = await started(dut)
    refused = flag("events", "refused")
    assert await bench.read("id") == ID and await bench.read("features") == 0x11
    for name in ("load", "image", "logit"):
        assert await bench.read(name) == 0
        assert await bench.read("events") == refused, name
        await bench.write("events", refused)
    for name in ("id", "status", "image", "image_last", "logit", "class"):
        await bench.write(name, 0xFFFFFFFF)
        assert await bench.read("events") == refused, name
        await bench.write("events", 0xFFFFFFFF)
    for gap in (BY_NAME["weight_address"].offset, 0xFC):  # these weights lie on the chip
        assert await bench.lite.read_dword(gap) == 0 and await bench.read("events") == refused
        await bench.write("events", refused)
    await bench.write("events", refused)
    await bench.write("load", 0xFF)
    for name, value in (("network", checksum([0xFE])), ("control", 1)):  # not all has come
        await bench.write(name, value)
        assert await bench.read("events") == refused, name
        await bench.write("events", refused)
    assert await bench.read("network") == 0 and await bench.read("control") == 0
    await bench.write("network", checksum([0xFF]))
    await bench.write("control", 1)
    for name in ("load", "beats"):
        await bench.write(name, 1)
        assert await bench.read("events") == refused, name
        await bench.write("events", refused)
    await bench.write("control", 0)
    await bench.write("beats", 0xFFFFFFFF)
    await bench.write("irq_enable", 0xFFFFFFFF)
    assert await bench.read("beats") == 0xFFFFFF and await bench.read("irq_enable") == 0x3F
    await bench.lite.write(BY_NAME["beats"].offset, b"\x01\x02")  # half a word
    assert await bench.read("beats") == 0xFFFFFF


class Device(ctypes.Structure):
    """`struct onespike` of fpga/driver/onespike.h."""

    READ = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32)
    WRITE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)
    STREAM = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint32), ctypes.c_uint32)
    _fields_ = (
        ("context", ctypes.c_void_p),
        ("read", READ),
        ("write", WRITE),
        ("send", STREAM),
        ("receive", STREAM),
        ("patience", ctypes.c_uint32),
    )


def words(values: Sequence[int]) -> Any:
    return (ctypes.c_uint32 * len(values))(*values)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def c_driver(dut: Any) -> None:
    """The bare-metal driver, compiled for this machine, loads two networks and classifies."""
    bench = await started(dut, 0.2)
    read, write = Mmio(bench).read, Mmio(bench).write
    send, receive = cocotb.task.resume(bench.send), cocotb.task.resume(bench.receive)

    def take(context: Any, target: Any, count: int) -> int:
        found = receive()
        for i, value in enumerate(found[:count]):
            target[i] = value & 0xFFFFFFFF
        return len(found)

    def give(context: Any, source: Any, count: int) -> int:
        send(source[:count])
        return count

    def drive() -> None:
        driver = ctypes.CDLL(os.environ["ONESPIKE_DRIVER"])
        device = Device(None, Device.READ(lambda c, at: read(at)), Device.WRITE(lambda c, at, value: write(at, value)),
                        Device.STREAM(give), Device.STREAM(take), 1000)  # fmt: skip
        handle = ctypes.byref(device)
        assert driver.onespike_open(handle) == 0
        for name in ("one", "two"):
            case = Case.load(name)
            mapping = map_network(case.net, bench.config)
            stream, beats = load_stream(mapping), case.beats(mapping)
            assert driver.onespike_load(handle, words(stream), len(stream), len(beats[0])) == 0
            for image, logits in zip(beats, case.logits.tolist(), strict=True):
                found = (ctypes.c_int32 * len(logits))()
                best = driver.onespike_classify(handle, words(image), len(image), found, len(logits))
                assert (list(found), best) == (logits, int(np.argmax(logits)))
            counters = case.counters(mapping, len(case.codes) - 1)
            measured = [[driver.onespike_counter(handle, layer, i) for i in range(4)] for layer in range(len(counters))]
            assert measured == counters
        assert driver.onespike_classify(handle, words(beats[0][:-1]), len(image) - 1, found, len(logits)) == -3
        assert driver.onespike_classify(handle, words(beats[0]), len(image), found, len(logits) + 1) == -4
        driver.onespike_stop(handle)
        assert read(BY_NAME["control"].offset) == 0

    await cocotb.task.bridge(drive)()

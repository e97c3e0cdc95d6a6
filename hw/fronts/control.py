# SPDX-License-Identifier: Apache-2.0
"""Control: the register file, which starts and stops an engine, loads it and counts its images."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import EngineConfig
from ..engine.axi_read import ADDRESS_BITS
from ..engine.counters import COUNTER_BITS, counter_stride
from ..engine.faults import FAULTS, WATCHDOG
from ..program import WORD, layer_depth
from .checksum import Checksum
from .frame import BEATS_BITS, frame_layout
from .registers import BY_NAME, CONFIG, EVENTS, ID, VERSION, bus_signature, parameter_words, word

PATIENCE = 16  # log2 of the cycles that an access waits for the engine
MOST_INSIDE = 2  # images that registers let in: the engine takes as many before any result has been read


def logit_words(config: EngineConfig) -> int:
    """32-bit words of a logit."""
    return -(-config.acc_bits // WORD)


def result_layout(config: EngineConfig) -> data.StructLayout:
    """One logit on its way out, sign-extended to whole words; `best` of the last is the image's class."""
    return data.StructLayout({"value": signed(WORD * logit_words(config)), "best": 16, "last": 1})


class Control(wiring.Component):
    """Registers of `registers.REGISTERS` in front of an engine.

    Latency: two cycles from a request to `done`, four for `count`, seven for `load`; load, image and logit wait for the
    engine, a stop for external memory, at most 2**PATIENCE cycles. Throughput: one access at a time. Back-pressure:
    none but those.

    Parameters
    ----------
    config : the engine's configuration.
    streams : images and results go past the registers: `image` and `logits` do not exist.
    network : the built-in network's CRC-32, see Checksum, or 0 where there is none: then nothing runs until one has
        been loaded, if it can be.

    Members
    -------
    bus : In the register bus.
    irq : Out(1) an enabled event has happened.
    run : Out(1) the engine's `enable`. reset : Out(1) reset the engine; also in the cycle after Control's own reset, so
        that the engine needs no other.
    beats : Out(24) see Frame. running : Out(1) images may be taken: `run`, and `beats` is known.
    inside, began, short, long : In what Frame says.
    image : Out(stream) a frame from the registers. logits : In(stream) results to the registers.
    finished, best : In(1), In(16) a result has left, and its class.
    waiting : In(1) a logit waits.
    weight_address, weight_error, weight_idle : Out, In, In, see Engine (only if `config.streams_weights`).
    faults : In what Engine says (only if `config.notes_faults`).
    load : Out(stream(32)) the load stream. counter, count : Out, In the counters' read port.
    """

    def __init__(self, config: EngineConfig, *, streams: bool, network: int = 0):
        self.config, self.streams, self.network = config, streams, network
        members: dict[str, Any] = {
            "bus": In(bus_signature()),
            "irq": Out(1),
            "run": Out(1),
            "reset": Out(1, init=1),
            "beats": Out(BEATS_BITS),
            "running": Out(1),
            "inside": In(1),
            "began": In(1),
            "short": In(1),
            "long": In(1),
            "finished": In(1),
            "best": In(16),
            "waiting": In(1),
            "load": Out(stream.Signature(WORD)),
            "counter": Out(range(counter_stride(config) * layer_depth(config))),
            "count": In(COUNTER_BITS),
        }
        if config.streams_weights:
            members |= {"weight_address": Out(ADDRESS_BITS), "weight_error": In(1), "weight_idle": In(1)}
        if config.notes_faults:
            members["faults"] = In(len(FAULTS))
        if not streams:
            members["image"] = Out(stream.Signature(frame_layout(config.word_bits)))
            members["logits"] = In(stream.Signature(result_layout(config)))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus, config = self.bus, self.config
        events, irq_enable = Signal(len(EVENTS)), Signal(len(EVENTS))
        images, best, inside = Signal(16), Signal(16), Signal(4)
        room, refuse = Signal(), Signal()
        stopping = Signal()  # the engine does not run any more, but has not been reset
        # The memories, which outlive a reset, hold a whole network; words have been loaded since the last stop.
        whole = Signal(init=int(self.network != 0 or not config.loadable), reset_less=True)
        some = Signal()
        faults = self.faults if config.notes_faults else Const(0, len(FAULTS))
        stuck = faults[WATCHDOG]
        m.d.comb += [
            self.running.eq(self.run & (self.beats != 0)),
            room.eq(self.running & ~stuck & (self.inside | (inside < MOST_INSIDE))),
            self.irq.eq((events & irq_enable).any()),
            self.load.payload.eq(bus.data),
        ]

        # What the engine does by itself.
        m.d.sync += inside.eq(inside + self.began - self.finished)
        with m.If(self.finished):
            m.d.sync += [images.eq(images + 1), best.eq(self.best)]
        weight_error = self.weight_error if config.streams_weights else 0
        noted = Signal(len(FAULTS))
        m.d.sync += noted.eq(faults)
        happened = Cat(self.finished, self.short, self.long, refuse, weight_error, (faults & ~noted).any())
        clear = Signal(len(EVENTS))
        m.d.sync += [events.eq(events & ~clear | happened), self.reset.eq(0)]

        # Registers that can be read at once.
        status = Cat(self.run, inside != 0, room, self.waiting, inside)
        plain: dict[str, Any] = {
            "id": ID,
            "version": VERSION,
            "features": self.streams | logit_words(config) << 4,
            "control": self.run,
            "status": status,
            "events": events,
            "irq_enable": irq_enable,
            "beats": self.beats,
            "images": images,
            "class": best,
            "counter": self.counter,
            "faults": faults,
            "network": self.network,
        }
        if config.streams_weights:
            plain["weight_address"] = self.weight_address
        total: Value = Const(0, 32)
        if self.config.loadable:
            m.submodules.checksum = checksum = Checksum(self.network)
            total = checksum.sum
            plain["network"] = Mux(whole, total, 0)
            m.d.comb += [checksum.word.eq(bus.data), checksum.begin.eq(self.reset)]
        found = Signal(32)
        with m.Switch(bus.address):
            for name, value in plain.items():
                with m.Case(word(name)):
                    m.d.comb += found.eq(value)
            for index, value in enumerate(parameter_words(config)):
                with m.Case(CONFIG // 4 + index):
                    m.d.comb += found.eq(value)

        place = Signal(range(max(2, logit_words(config))))  # word of the logit that is read next
        timer = Signal(PATIENCE + 1)
        late = timer[-1]
        m.d.sync += timer.eq(timer + 1)

        def give_up() -> None:
            m.d.comb += refuse.eq(1)
            m.d.sync += bus.refused.eq(1)
            m.next = "Done"

        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [timer.eq(0), bus.answer.eq(found), bus.refused.eq(0)]
                with m.If(bus.valid):
                    m.next = "Done"
                    with m.If(bus.write):
                        self._write(m, irq_enable, clear, room, stopping, (whole, some & (bus.data == total)), give_up)
                    with m.Else():
                        self._read(m, inside, give_up)
            if self.config.loadable:
                with m.State("Load"):
                    m.d.comb += self.load.valid.eq(1)
                    with m.If(self.load.ready):
                        m.next = "Sum"
                with m.State("Sum"):
                    m.d.comb += checksum.valid.eq(1)
                    with m.If(checksum.done):
                        m.d.sync += some.eq(1)
                        m.next = "Done"
            with m.State("Count"):
                with m.If(timer[1]):  # two cycles behind the address, and one for it to settle
                    m.d.sync += [bus.answer.eq(self.count), self.counter.eq(self.counter + 1)]
                    m.next = "Done"
            if config.streams_weights:
                # What the engine has asked of the memory must come before it is reset.
                with m.State("Stop"):
                    with m.If(self.weight_idle):
                        m.d.sync += self.reset.eq(1)
                        m.next = "Done"
                    with m.Elif(late):
                        give_up()
            if not self.streams:
                self._data_states(m, place, late | stuck, give_up)
            with m.State("Done"):
                m.d.comb += bus.done.eq(1)
                m.next = "Idle"
        with m.If(self.reset):
            m.d.sync += [value.eq(0) for value in (events, images, best, inside, place, stopping, self.counter)]
            m.d.sync += some.eq(0)
        return m

    def _write(
        self, m: Module, irq_enable: Signal, clear: Signal, room: Signal, stopping: Signal, loaded: Any, give_up: Any
    ) -> None:
        bus, (whole, right) = self.bus, loaded
        with m.Switch(bus.address):
            with m.Case(word("control")):
                with m.If(bus.data[0] & ~whole):
                    give_up()
                with m.Else():
                    if self.config.streams_weights:
                        self._start_or_stop(m, stopping, give_up)
                    else:
                        m.d.sync += [self.run.eq(bus.data[0]), self.reset.eq(~bus.data[0])]
            with m.Case(word("events")):
                m.d.comb += clear.eq(bus.data)
            with m.Case(word("irq_enable")):
                m.d.sync += irq_enable.eq(bus.data)
            with m.Case(word("beats")):
                with m.If(self.run):
                    give_up()
                with m.Else():
                    m.d.sync += self.beats.eq(bus.data)
            with m.Case(word("counter")):
                m.d.sync += self.counter.eq(bus.data)
            if self.config.streams_weights:
                with m.Case(word("weight_address")):
                    with m.If(self.run):
                        give_up()
                    with m.Else():
                        m.d.sync += self.weight_address.eq(bus.data)
            if self.config.loadable:
                with m.Case(word("load")):
                    m.next = "Load"
                    with m.If(self.run):
                        give_up()
                    with m.Else():
                        m.d.sync += whole.eq(0)
                with m.Case(word("network")):
                    with m.If(self.run | ~right):
                        give_up()
                    with m.Else():
                        m.d.sync += whole.eq(1)
            if not self.streams:
                with m.Case(word("image"), word("image_last")):
                    m.next = "Image"
                    with m.If(~room):
                        give_up()
            with m.Default():
                give_up()

    def _start_or_stop(self, m: Module, stopping: Signal, give_up: Any) -> None:
        """A stop resets the engine when external memory has answered; only then may it start again."""
        with m.If(~self.bus.data[0]):
            m.d.sync += [self.run.eq(0), stopping.eq(1)]
            m.next = "Stop"
        with m.Elif(stopping):
            give_up()
        with m.Else():
            m.d.sync += self.run.eq(1)

    def _read(self, m: Module, inside: Signal, give_up: Any) -> None:
        gaps = set(range(64)) - {r.word for r in BY_NAME.values() if r.access != "w"}
        if self.streams:
            gaps.add(word("logit"))
        if not self.config.streams_weights:
            gaps.add(word("weight_address"))
        with m.Switch(self.bus.address):
            with m.Case(word("count")):
                m.next = "Count"
            if not self.streams:
                with m.Case(word("logit")):
                    m.next = "Logit"
                    with m.If(inside == 0):
                        give_up()
            with m.Case(*sorted(gaps)):
                give_up()

    def _data_states(self, m: Module, place: Signal, late: Any, give_up: Any) -> None:
        bus, image, logits = self.bus, self.image, self.logits
        words = logit_words(self.config)
        m.d.comb += [image.payload.data.eq(bus.data), image.payload.last.eq(bus.address == word("image_last"))]
        with m.State("Image"):
            m.d.comb += image.valid.eq(1)
            with m.If(image.ready):
                m.next = "Done"
            with m.Elif(late):
                give_up()
        with m.State("Logit"):
            with m.If(logits.valid):
                m.next = "Done"
                m.d.sync += bus.answer.eq(Value.cast(logits.payload.value).word_select(place, WORD))
                m.d.comb += logits.ready.eq(place == words - 1)
                if words > 1:
                    m.d.sync += place.eq(place + 1)
            with m.Elif(late):
                give_up()

# SPDX-License-Identifier: Apache-2.0
"""Engine: images in, logits out. B banks of L lanes, one sequencer, one drain, F fire units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import EngineConfig
from ..later import later
from ..parity import with_parity
from ..program import STREAMED_HEADER, WORD, layer_bits, layer_depth
from .axi_read import ADDRESS_BITS, AxiRead, axi_read_signals, connect_axi_read
from .bank import BANK_FAULTS, Bank
from .counters import COUNTER_BITS, Counters, counter_stride
from .drain import Drain
from .faults import FAULTS, Watchdog
from .fire import Fire
from .image import ImageLoader
from .load import TARGETS, Load
from .logits import Logits, logit_layout
from .pack import Pack, slice_mask
from .prefetch import Prefetch
from .sequencer import SEQUENCER_FAULTS, Sequencer
from .tables import Tables

TOP = "onespike"  # the engine's Verilog module


class Engine(wiring.Component):
    """The whole accelerator.

    image -> [spike memories] -> banks -> drain -> fire -> pack -> [spike memories] ... -> logits

    Latency and throughput: what `onespike.model.cost.cycles.predict` says, exactly. Back-pressure: an image waits for a
    free buffer; the last layer waits until the logits of the image before have been taken.

    Golden function: `onespike.model.network.golden.run`.

    Parameters
    ----------
    config : the engine's configuration.
    make_bank : makes bank number i; by default a Bank.

    Members
    -------
    enable : In(1) run. Low while a network is loaded, and only while the engine is idle.
    image : In(stream(W)) images, see ImageLoader.
    logits : Out(stream) logits and argmax, see Logits.
    load : In(stream(32)) network memories, see Load (only if `config.loadable`).
    weight_address : In(32) where the image of the weights lies in external memory, a multiple of 4096; weight_error :
        Out(1) that memory answered with an error; weight_idle : Out(1) the engine may be reset, see AxiRead;
        m_axi_... : AXI4 read channels (only if `config.streams_weights`).
    counter, count : In, Out read port of the counters, see Counters; two cycles. Without counters, 0.
    write : Out every spike word that a layer writes, for observation: enable, address, data, slice, layer.
    faults : Out what has gone wrong since `enable` was low, a bit for each of FAULTS (only if `config.notes_faults`).
        After a wrong parity the engine goes on: it is noted before the last logit of the image leaves that it has
        touched. When the watchdog has given a layer up, the engine has been reset but for its memories and stands
        still, taking and giving nothing, until `enable` falls; images inside are lost.
    """

    def __init__(self, config: EngineConfig, *, make_bank: Callable[[EngineConfig, int], Any] | None = None):
        self.config = config
        self.make_bank = make_bank or (lambda config, index: Bank(config))
        members: dict[str, Any] = {
            "enable": In(1),
            "image": In(stream.Signature(config.word_bits)),
            "logits": Out(stream.Signature(logit_layout(config))),
            "counter": In(range(counter_stride(config) * layer_depth(config))),
            "count": Out(COUNTER_BITS),
            "write": Out(
                wiring.Signature(
                    {
                        "enable": Out(1),
                        "address": Out(config.spike_addr_bits),
                        "data": Out(config.word_bits),
                        "slice": Out(6),
                        "layer": Out(layer_bits(config)),
                    }
                )
            ),
        }
        if config.streams_weights:
            members |= {"weight_address": In(ADDRESS_BITS), "weight_error": Out(1), "weight_idle": Out(1)}
            members |= {f"m_axi_{name}": port for name, port in axi_read_signals(config).items()}
        if config.loadable:
            members["load"] = In(stream.Signature(WORD))
        if config.notes_faults:
            members["faults"] = Out(len(FAULTS))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        if not self.config.watchdog:
            self._machine(m, m, Const(0, 1))
            return m
        stuck, machine = Signal(), Module()
        self._machine(machine, m, stuck)
        m.submodules.machine = ResetInserter(stuck)(machine)
        return m

    def _machine(self, m: Module, outer: Module, stuck: Value) -> None:
        """All units in `m`; what must not be reset when the watchdog says `stuck`, in `outer`."""
        config = self.config
        m.submodules.sequencer = sequencer = Sequencer(config)
        m.submodules.loader = loader = ImageLoader(config)
        m.submodules.drain = drain = Drain(config)
        m.submodules.fire = fire = Fire(config)
        m.submodules.pack = pack = Pack(config)
        m.submodules.logits = logits = Logits(config)
        tables = None
        if config.tables:
            m.submodules.tables = tables = Tables(config)
        banks = [self.make_bank(config, b) for b in range(config.banks)]
        for b, bank in enumerate(banks):
            m.submodules[f"bank{b}"] = bank

        # Control.
        enable = self.enable
        if tables is not None:
            enable = tables.ready
            m.d.comb += [
                tables.enable.eq(self.enable),
                tables.start.eq(sequencer.start),
                tables.table.eq(sequencer.layer.table),
                Value.cast(fire.table).eq(Value.cast(tables.levels)),
                *(Value.cast(bank.terms).eq(Value.cast(tables.terms)) for bank in banks),
            ]
        m.d.comb += [
            sequencer.enable.eq(enable),
            sequencer.done.eq(pack.done),
            sequencer.image_available.eq(loader.available),
            sequencer.logits_free.eq(logits.free),
            loader.header.eq(sequencer.header),
            loader.ready.eq(sequencer.ready),
            loader.begun.eq(sequencer.image_begun),
            loader.taken.eq(sequencer.image_taken),
            logits.header.eq(sequencer.header),
            logits.done.eq(pack.done),
            drain.start.eq(sequencer.start),
            pack.start.eq(sequencer.start),
            *(unit.layer.eq(sequencer.layer) for unit in (drain, fire, pack, logits)),
        ]
        if config.watchdog:  # while it is reset, the loader would take what comes
            m.d.comb += [
                loader.image.payload.eq(self.image.payload),
                loader.image.valid.eq(self.image.valid & ~stuck),
                self.image.ready.eq(loader.image.ready & ~stuck),
            ]
        else:
            connect(m, flipped(self.image), loader.image)
        connect(m, logits.logits, flipped(self.logits))

        # Spikes to sums to codes to words.
        for b, bank in enumerate(banks):
            connect(m, sequencer.commands[b], bank.commands)
            m.d.comb += [
                bank.strides.eq(sequencer.strides),
                bank.release.eq(drain.release[b]),
                bank.take.eq(drain.take[b]),
                bank.turn.eq(drain.turn[b]),
                Value.cast(drain.banks[b]).eq(bank.drain),
            ]
        m.d.comb += [
            drain.full.eq(Cat(bank.full for bank in banks)),
            fire.valid_in.eq(drain.valid),
            fire.sums.eq(drain.sums),
            fire.shift.eq(drain.shift),
            fire.tag_in.eq(drain.tag),
            logits.valid.eq(drain.valid),
            logits.sums.eq(drain.sums),
            logits.tag.eq(drain.tag),
            pack.valid.eq(fire.valid),
            pack.codes.eq(fire.codes),
            pack.tag.eq(fire.tag),
        ]

        # One write bus to all spike memories: layers first, then the next image.
        m.d.comb += loader.blocked.eq(pack.enable)
        enable = pack.enable | loader.enable
        layer = sequencer.layer
        mask = Mux(
            pack.enable,
            slice_mask(config.banks, pack.slice, layer.dest_slices),
            slice_mask(config.banks, loader.slice, sequencer.header.image_slices),
        )
        # One register here, one in every bank: the way to memories all over a large part is long.
        address, word = Signal.like(pack.address, reset_less=True), Signal.like(pack.data, reset_less=True)
        m.d.sync += address.eq(Mux(pack.enable, pack.address, loader.address))
        m.d.sync += word.eq(Mux(pack.enable, pack.data, loader.data))
        word = with_parity(word) if config.parity else word
        for b, bank in enumerate(banks):
            m.d.sync += bank.write.enable.eq(enable & mask[b])
            m.d.comb += [bank.write.address.eq(address), bank.write.data.eq(word)]
        m.d.comb += [
            self.write.enable.eq(pack.enable),
            self.write.address.eq(pack.address),
            self.write.data.eq(pack.data),
            self.write.slice.eq(pack.slice),
            self.write.layer.eq(sequencer.index),
        ]

        if config.counters:
            m.submodules.counters = counters = Counters(config)
            m.d.comb += [
                counters.start.eq(sequencer.start),
                counters.done.eq(pack.done),
                counters.index.eq(sequencer.index),
                *(
                    getattr(counters, name).eq(later(m, Cat(getattr(bank, name) for bank in banks), config.hops))
                    for name in ("event", "empty", "waiting")
                ),
                counters.address.eq(self.counter),
            ]
            count = Signal(COUNTER_BITS, reset_less=True)  # a block RAM's own register, where it has one
            m.d.sync += count.eq(counters.data)
            m.d.comb += self.count.eq(count)
            if config.streams_weights:
                m.d.comb += counters.stalled.eq(sequencer.stalled)
        if config.loadable:
            self._load(m, sequencer, drain, banks, tables)
        if config.streams_weights:
            self._stream_weights(m, outer, sequencer, banks)
        if config.notes_faults:
            self._note_faults(m, outer, stuck, sequencer, drain, pack, tables, banks)

    def _note_faults(
        self, m: Module, outer: Module, stuck: Value, sequencer: Sequencer, drain: Drain, pack: Pack,
        tables: Tables | None, banks: list[Any],
    ) -> None:  # fmt: skip
        config = self.config
        happens: dict[str, Value] = {}
        if config.parity:
            happens |= {name: sequencer.faults[i] for i, name in enumerate(SEQUENCER_FAULTS)}
            happens |= {name: Cat(bank.faults[i] for bank in banks).any() for i, name in enumerate(BANK_FAULTS)}
            happens["channels"] = drain.fault
            if tables is not None:
                happens["tables"] = tables.fault
        if config.watchdog:
            outer.submodules.watchdog = watchdog = Watchdog(config.watchdog)
            # Logits on offer wait for the host; what comes from external memory, however slowly, is progress.
            ready = sequencer.enable if tables is not None else Const(1, 1)
            beat = self.m_axi_rvalid if config.streams_weights else Const(0, 1)
            outer.d.comb += [
                watchdog.enable.eq(self.enable),
                watchdog.begins.eq(sequencer.start),
                watchdog.ends.eq(pack.done),
                watchdog.waits.eq(sequencer.waits | self.logits.valid | ~ready | beat),
                stuck.eq(watchdog.stuck),
            ]
            m.d.comb += [bank.restart.eq(stuck) for bank in banks]
            happens["watchdog"] = watchdog.stuck
        outer.d.sync += self.faults.eq(self.faults | Cat(happens.get(name, Const(0, 1)) for name in FAULTS))
        with outer.If(~self.enable):
            outer.d.sync += self.faults.eq(0)

    def _load(self, m: Module, sequencer: Sequencer, drain: Drain, banks: list[Any], tables: Tables | None) -> None:
        m.submodules.load = load = Load(self.config)
        connect(m, flipped(self.load), load.words)
        ports = {
            "program": sequencer.load_program,
            "rows": sequencer.load_rows,
            "columns": sequencer.load_columns,
            "channels": drain.load,
            **({"tables": tables.load} if tables is not None else {}),
        }
        for name, port in ports.items():
            m.d.comb += [port.enable.eq(load.target[TARGETS.index(name)])]
            m.d.comb += [port.address.eq(load.address), port.data.eq(self._stored(load.row(name)))]
        if not self.config.streams_weights:
            known = {"address": load.address, "word": load.data[-WORD:], "shift": load.shift}
            self._load_banks(m, load, "weights", [bank.load for bank in banks], known)
        if self.config.row_masks:
            known = {"address": load.address, "data": self._stored(load.row("masks"))}
            self._load_banks(m, load, "masks", [bank.load_masks for bank in banks], known)

    def _load_banks(self, m: Module, load: Load, name: str, ports: list[Any], known: dict[str, Value]) -> None:
        """A memory of which each bank has its own: a register on the way, as for spikes; known: what all are told."""
        for member, value in known.items():
            held = Signal(len(getattr(ports[0], member)), name=f"{name}_{member}", reset_less=member != "shift")
            m.d.sync += held.eq(value)
            m.d.comb += [getattr(port, member).eq(held) for port in ports]
        for b, port in enumerate(ports):
            m.d.sync += port.enable.eq(load.target[TARGETS.index(name)] & (load.bank == b))

    def _stored(self, row: Value) -> Value:
        """A row as its memory holds it."""
        return with_parity(row) if self.config.parity else row

    def _stream_weights(self, m: Module, outer: Module, sequencer: Sequencer, banks: list[Any]) -> None:
        # A reset would break the rules of the bus: what has been asked for must come.
        outer.submodules.axi_read = read = AxiRead(self.config)
        m.submodules.prefetch = prefetch = Prefetch(self.config)
        m.d.comb += connect_axi_read(self.config, self, read, prefix="")
        connect(m, read.words, prefetch.words)
        m.d.comb += [
            read.run.eq(sequencer.ready),
            read.base.eq(self.weight_address),
            *(getattr(read, name).eq(getattr(sequencer.header, name)) for name in STREAMED_HEADER),
            self.weight_error.eq(read.error),
            self.weight_idle.eq(read.idle),
            prefetch.run.eq(sequencer.ready),
            prefetch.start.eq(sequencer.start),
            prefetch.done.eq(sequencer.busy & sequencer.done),
            sequencer.weights_ready.eq(prefetch.ready),
        ]
        for b, bank in enumerate(banks):
            m.d.comb += [bank.load.enable.eq(prefetch.write.banks[b])]
            m.d.comb += [bank.load.address.eq(prefetch.write.address)]
            m.d.comb += [bank.load.data.eq(self._stored(prefetch.write.data))]

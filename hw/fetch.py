# SPDX-License-Identifier: Apache-2.0
"""Fetch: a bank's walk over the spike words of one job, and its slice of the spike memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import EngineConfig
from .extract import word_layout
from .memory import plain_memory

READ_LATENCY = 3  # cycles from issuing a word to the decision to keep it


def segment_bits(config: EngineConfig) -> int:
    return max(1, (config.segments - 1).bit_length())


def command_layout(config: EngineConfig) -> data.StructLayout:
    """One source's part of a job: `rows` + 1 runs of `run` + 1 consecutive spike words."""
    return data.StructLayout(
        {
            "address": config.spike_addr_bits,
            "weight": config.weight_addr_bits,
            "run": config.spike_addr_bits,
            "rows": 8,
            "segment": segment_bits(config),
            "last": 1,  # the job ends with this command
        }
    )


def stride_layout(config: EngineConfig) -> data.StructLayout:
    """What a source's commands have in common, constant while a layer runs."""
    return data.StructLayout(
        {
            "row_stride": config.spike_addr_bits,
            "weight_row_stride": config.weight_addr_bits,
            "field": 3,
            "code": 2,
            "shift": 4,
        }
    )


def meta_layout(config: EngineConfig) -> data.StructLayout:
    """What an event needs besides its bit: the weight row of the word's first channel, and how to read the bit."""
    return data.StructLayout({"weight": config.weight_addr_bits, "segment": segment_bits(config)})


class Fetch(wiring.Component):
    """Walks the tap rows of each command, reads their spike words and drops those without a spike.

    Word i of a row has address + i and starts at weight row weight + i * codes_per_word; the next row lies row_stride
    and weight_row_stride further. An empty word that ends a job is kept, to carry the end.

    Latency: READ_LATENCY cycles from a word's turn to its offer. Throughput: one word a cycle, kept or dropped; the
    next command follows without a gap. Back-pressure: an offered word that is not taken stops the walk.

    Golden function: `onespike.model.fetch.fetch`.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    commands : In(stream) commands.
    strides : In(array) strides and field format of each segment.
    words : Out(stream) spike words with at least one spike, or the end of a job.
    write : In write port of the spike memory: enable, address, data.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "commands": In(stream.Signature(command_layout(config))),
                "strides": In(data.ArrayLayout(stride_layout(config), config.segments)),
                "words": Out(stream.Signature(word_layout(config.word_bits, meta_layout(config)))),
                "write": In(
                    wiring.Signature(
                        {"enable": Out(1), "address": Out(config.spike_addr_bits), "data": Out(config.word_bits)}
                    )
                ),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self.config
        m.submodules.spike_memory = spikes = plain_memory(config.word_bits, config.spike_depth)
        write = spikes.write_port()
        read = spikes.read_port()
        m.d.comb += [write.en.eq(self.write.enable), write.addr.eq(self.write.address), write.data.eq(self.write.data)]

        # The walk: one command at a time, one word a cycle.
        command = Signal(command_layout(config), reset_less=True)
        active = Signal()
        address = Signal(config.spike_addr_bits, reset_less=True)
        weight = Signal(config.weight_addr_bits, reset_less=True)
        left = Signal(config.spike_addr_bits, reset_less=True)
        row_ends = Signal()
        ends = Signal()
        issue_ready = Signal()  # the read pipeline takes a word
        strides = self.strides[command.segment]
        codes_per_word = Signal(range(config.word_bits + 1))
        m.d.comb += [
            row_ends.eq(left == 0),
            ends.eq(row_ends & (command.rows == 0)),
            codes_per_word.eq(config.word_bits >> strides.field),
            self.commands.ready.eq(~active | (issue_ready & ends)),
            read.addr.eq(address),
            read.en.eq(issue_ready),
        ]
        with m.If(active & issue_ready):
            m.d.sync += [address.eq(address + 1), weight.eq(weight + codes_per_word), left.eq(left - 1)]
            with m.If(row_ends):
                next_address = (command.address + strides.row_stride)[: len(address)]
                next_weight = (command.weight + strides.weight_row_stride)[: len(weight)]
                m.d.sync += [address.eq(next_address), command.address.eq(next_address)]
                m.d.sync += [weight.eq(next_weight), command.weight.eq(next_weight)]
                m.d.sync += [left.eq(command.run), command.rows.eq(command.rows - 1)]
        with m.If(self.commands.ready):
            new = self.commands.payload
            m.d.sync += [active.eq(self.commands.valid), command.eq(new)]
            m.d.sync += [address.eq(new.address), weight.eq(new.weight), left.eq(new.run)]

        # The read: the memory's own register, one more behind it, then the test for any spike.
        meta = meta_layout(config)
        tag = data.StructLayout({"last": 1, "meta": meta})
        stages = [(Signal(name=f"valid{i}"), Signal(tag, name=f"tag{i}", reset_less=True)) for i in range(3)]
        words = [read.data, *(Signal(config.word_bits, name=f"word{i}", reset_less=True) for i in (1, 2))]
        spike = Signal(reset_less=True)
        ready = [Signal(name=f"ready{i}") for i in range(4)]
        for i, (valid, _) in enumerate(stages):
            m.d.comb += ready[i].eq(~valid | ready[i + 1])
        m.d.comb += issue_ready.eq(ready[0])
        first = Signal(tag)
        m.d.comb += [
            first.last.eq(ends & command.last),
            first.meta.weight.eq(weight),
            first.meta.segment.eq(command.segment),
        ]
        for i, (valid, tags) in enumerate(stages):
            with m.If(ready[i]):
                m.d.sync += [valid.eq(active if i == 0 else stages[i - 1][0])]
                m.d.sync += tags.eq(first if i == 0 else stages[i - 1][1])
                if i:
                    m.d.sync += words[i].eq(words[i - 1])
                if i == 2:
                    m.d.sync += spike.eq(words[1].any())

        offered, head = stages[2]
        keep = spike | head.last
        m.d.comb += [
            self.words.valid.eq(offered & keep),
            self.words.payload.word.eq(words[2]),
            self.words.payload.last.eq(head.last),
            self.words.payload.meta.eq(head.meta),
            ready[3].eq(Mux(keep, self.words.ready, 1)),
        ]
        return m

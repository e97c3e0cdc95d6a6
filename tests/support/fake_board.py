# SPDX-License-Identifier: Apache-2.0
"""A board that is a table of registers, and networks that it can take for one another."""

import dataclasses

import numpy as np

from command_line import small_net
from onespike.fpga.protocol import OK, Reply, reply_frame
from onespike.hw.fronts.registers import CONFIG, ID, VERSION, parameter_words, word
from onespike.model.mapping.images import checksum

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 6, 6), dtype=np.uint8)


TAKEN = r"^The board does not run this network any more: another program has taken it, or it has been reset; "


def other_net():
    """A network that takes the same images as small_net and gives other answers."""
    net = small_net()
    last = dataclasses.replace(net.layers[1], bias=-net.layers[1].bias)
    return dataclasses.replace(net, layers=(net.layers[0], last))


class FakeBoard:
    """Registers in memory behind frames, as spidev's xfer2 sees them; `faults`: statuses of the next replies."""

    def __init__(self, config, faults=()):
        self.memory = dict(enumerate([ID, VERSION, 0x10, 0, 0, 0])) | {
            CONFIG // 4 + i: value for i, value in enumerate(parameter_words(config))
        }
        self.faults, self.out, self.writes = list(faults), b"", []
        self.loaded = []  # words since the last stop
        self.short = 0  # replies that lack their last word

    def xfer2(self, data):
        if data[0] == 0xA5:
            tag, command, address, count = data[1:5]
            status = self.faults.pop(0) if self.faults else OK
            words = []
            if command & 1:
                self.writes.append((address, count))
                values = np.frombuffer(bytes(data[5:-2]), "<u4").tolist()
                if (address, values) == (word("control"), [0]):
                    self.loaded = []
                elif address == word("load"):
                    self.loaded += values
                    self.memory[word("network")] = 0
                elif address == word("network") and values == [checksum(self.loaded)]:
                    self.memory[address] = values[0]
            else:
                words = [self.memory.get(address + i * (not command & 2), 0) for i in range(count)]
                words, self.short = words[: count - (self.short > 0)], max(0, self.short - 1)
            self.out += reply_frame(Reply(tag, status, tuple(words) if status == OK else ()))
            return [0] * len(data)
        found, self.out = self.out[: len(data)], self.out[len(data) :]
        return list(found.ljust(len(data), b"\0"))

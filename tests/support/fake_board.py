# SPDX-License-Identifier: Apache-2.0
"""A board that is a table of registers, and networks that it can take for one another."""

import dataclasses

import numpy as np

from command_line import small_net
from onespike.fpga.protocol import OK, Reply, reply_frame
from onespike.hw.fronts.registers import CONFIG, ID, VERSION, flag, parameter_words, word
from onespike.model.cost.choose import fewest_slices
from onespike.model.mapping.images import checksum, fingerprint, image_beats, memory_images

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


class Core(dict):
    """A core behind a memory map: it runs whatever has been loaded last. `faults`: events of the next images."""

    def __init__(self, config, *networks, built_in=None, images=PIXELS[:, None]):
        super().__init__({0: ID, 4: VERSION, 8: 0x10})
        self.update({CONFIG + 4 * i: value for i, value in enumerate(parameter_words(config))})
        self.known, self.words, self.beats, self.logits, self.faults = {}, [], [], [], []
        for net in networks:
            mapping = fewest_slices(net, config)
            logits = mapping.to_stream(net.golden(images))
            pairs = list(zip(image_beats(mapping, images).tolist(), logits, strict=True))
            self.known[fingerprint(memory_images(mapping), config)] = {tuple(beats): logits for beats, logits in pairs}
            if built_in is not None and net.hash == built_in.hash:
                self[4 * word("network")] = self.loaded = fingerprint(memory_images(mapping), config)

    def read(self, offset):
        if offset == 4 * word("status"):
            return flag("status", "result") * bool(self.logits)
        return self.logits.pop(0) if offset == 4 * word("logit") else self.get(offset, 0)

    def write(self, offset, value):
        self[offset] = value
        if offset == 4 * word("control") and not value:
            self.update({4 * word(name): 0 for name in ("counter", "events")})
            self.beats, self.logits, self.words = [], [], []
        elif offset == 4 * word("load"):
            self.words.append(value)
            self.loaded = self[4 * word("network")] = checksum(self.words)
        elif offset in (4 * word("image"), 4 * word("image_last")):
            self.beats.append(value)
            if offset == 4 * word("image_last"):
                self[4 * word("events")] = self.faults.pop(0) if self.faults else flag("events", "done")
                self.logits += [int(v) & 0xFFFFFFFF for v in self.known[self.loaded][tuple(self.beats)]]
                self.beats = []

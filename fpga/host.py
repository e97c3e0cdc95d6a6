# SPDX-License-Identifier: Apache-2.0
"""Board: loads networks into a OneSpike core and classifies images on it, over any link.

board = Board(SerialLink.open("/dev/ttyUSB0"))
board.load(net)
answer = board.classify(images)      # Answer(logits, classes)
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from ..hw.config import EngineConfig
from ..hw.emit.emit import weight_bytes
from ..hw.engine.counters import counter_names, counter_stride
from ..hw.engine.faults import FAULTS
from ..hw.fronts.registers import CONFIG, ID, PARAMETERS, VERSION, config_of, flag, word
from ..hw.program import layer_depth
from ..model.cost.bound import check_watchdog
from ..model.cost.choose import choose_mapping, fewest_slices, random_codes
from ..model.errors import OneSpikeError
from ..model.mapping.images import checksum, fingerprint, image_beats, load_words, memory_images
from ..model.mapping.mapping import Mapping
from ..model.network.judge import answers_of
from ..model.network.spec import INPUT, SpikeNet
from .link import Link, LinkError

ATTEMPTS = 2  # before a fault of the line is reported
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the board said: logits int64 [N, classes], as the golden model gives them, and the class of each image.

    classes: int64 [N], as `model/network/judge.py` says: of one output, 1 where it is at least 0; [N, H, W] of a map.
    Where the network has several outputs, those of each by its name; `SpikeNet.named` takes the logits apart.
    """

    logits: np.ndarray
    classes: np.ndarray | dict[str, np.ndarray]


class FaultError(LinkError):
    """The engine has noted a fault of its own; the answer of the image that it worked on cannot be trusted."""


class Board:
    """A OneSpike core behind a link; OneSpikeError where what answers is no such core.

    patience: seconds that an image may take.

    Members: `config`, the engine's parameters as the core states them; `mapping`, the network that was loaded; `sent`,
    the words that this took, 0 where the board held it; `mended`, a sentence for every fault that the engine has noted
    and the host has mended: the network was loaded again where its memories were wrong, and the image was repeated.

    A start leaves a random mark in the register `counter`, which every stop, load or reset clears: where it has gone,
    another program has taken the board, whose answers may be another network's.
    """

    def __init__(self, link: Link, *, patience: float = 10.0):
        self.link, self.patience = link, patience
        self.mapping: Mapping | None = None
        self.mended: list[str] = []
        self._words: list[int] = []  # of the load stream
        self._damaged = False  # the network in the memories
        self._mark = 0  # what `counter` holds while the board is ours; 0 where a fault of the line leaves that open
        self._other = 0  # what it held before that
        self._network = 0  # what `network` reads then
        self.sent = 0
        self._place = 0  # of streamed weights in external memory
        self._stopped = False  # by `stop`
        found, version, features = self._attempt(lambda: self.link.read(word("id"), 3))
        if found != ID:
            raise OneSpikeError(f"What answers is not a OneSpike core: it says 0x{found:08X} instead of 0x{ID:08X}.")
        if version != VERSION:
            raise OneSpikeError(
                f"The board's registers have version {version}, this OneSpike speaks version {VERSION}; build the "
                f"board's design with the same OneSpike."
            )
        self.streams = bool(features & flag("features", "streams"))
        self.logit_words = (features & flag("features", "logit_words")) >> 4
        self.config = config_of(self._attempt(lambda: self.link.read(CONFIG // 4, len(PARAMETERS))))

    def load(
        self,
        network: SpikeNet | Mapping,
        *,
        guide: np.ndarray | None = None,
        store: Callable[[bytes], int] | None = None,
    ) -> Mapping:
        """Load a network, unless the board holds it: built in, or loaded before, by whatever program.

        guide: images, as for `classify`, with which the cheapest mapping is chosen; without, the one that needs no
        images, or, where that does not fit, one that random pixels choose. A Mapping is loaded as it is.
        store: for engines that stream their weights: puts them into memory and returns the address at which the engine
        finds them, a multiple of 4096; the engine is stopped meanwhile. `sent` is then the number of words that were
        loaded. Raises OneSpikeError, with numbers, where the network is too large for the board.
        """
        held = self._attempt(lambda: self.link.read(word("network")))[0]
        if isinstance(network, Mapping):
            if network.config != self.config:
                raise OneSpikeError("The mapping is for another engine than the board's; map the network again.")
            mapping = network
        else:
            mapping = self._held(network, guide, held) or self._map(network, guide)
        check_watchdog(mapping)
        images = memory_images(mapping)
        stream = load_words(images, self.config)
        name = checksum(stream)
        words = [] if held == name else stream
        if words and not self.config.loadable:
            raise OneSpikeError("The board's engine has another network built in, and cannot load this one.")

        def attempt() -> None:
            if words:
                self._write_network(words)
            self._begin(mapping)
            self._check()

        self.mapping = None
        if self.config.streams_weights:
            self._place = self._store(weight_bytes(images, self.config), store)
        self._attempt(attempt)
        self.mapping, self._network, self.sent = mapping, name, len(words)
        self._words = stream if self.config.loadable else []
        return mapping

    def _write_network(self, words: list[int]) -> None:
        """Stop and load; until the last word has come and been confirmed, the core starts nothing."""
        self._halt()
        self.link.write(word("load"), words, fixed=True)
        name = checksum(words)
        with contextlib.suppress(LinkError):  # refused where words are missing
            self.link.write(word("network"), [name])
        if self.link.read(word("network"))[0] != name:
            raise LinkError("The network did not reach the board whole; load it again, over a slower line.")

    def stop(self) -> None:
        """Stop the engine: images inside are lost, the network stays in its memories."""
        self._stopped = True
        self._attempt(lambda: self.link.write(word("control"), [0]))

    def start(self) -> None:
        """Start the engine with the network in its memories, after `stop` or a reset that left them as they were.

        OneSpikeError where another program has begun to load another network, and has not ended.
        """
        mapping = self._loaded()
        if self._attempt(lambda: self.link.read(word("network")))[0] != self._network:
            raise OneSpikeError(
                "This network is not in the board's memories any more, or not all of it: another program has begun to "
                "load one; load it again."
            )
        self._attempt(lambda: self._begin(mapping))

    def _begin(self, mapping: Mapping) -> None:
        """Stop, and start for images of this mapping, with a mark of our own."""
        image, marks = mapping.tensors[INPUT], counter_stride(self.config) * layer_depth(self.config)
        self._mark = 0
        self._halt()
        mark = secrets.choice([mark for mark in range(1, marks) if mark != self._other])
        if self.config.streams_weights:
            self.link.write(word("weight_address"), [self._place])
        self.link.write(word("beats"), [image.size * len(image.slices)])
        self.link.write(word("counter"), [mark])
        self.link.write(word("control"), [1])
        self._mark, self._stopped = mark, False

    def _halt(self) -> None:
        """Stop the engine; what its mark was is not to be ours, for it may be that of a host that we take it from."""
        self._other = self.link.read(word("counter"))[0] or self._other
        self.link.write(word("control"), [0])

    def _store(self, weights: bytes, store: Callable[[bytes], int] | None) -> int:
        """Where the weights lie in external memory."""
        if store is None:
            raise OneSpikeError(
                f"The board's engine reads its weights ({len(weights)} bytes) from external memory; give `store`, a "
                f"function that puts them there and returns their address."
            )
        self._attempt(lambda: self.link.write(word("control"), [0]))
        place = store(weights)
        if place % 4096:
            raise OneSpikeError(f"The weights must lie at a multiple of 4096, not at 0x{place:X}.")
        return place

    def _held(self, net: SpikeNet, guide: np.ndarray | None, held: int) -> Mapping | None:
        """The network's mapping that the board holds, if it is one of those that hosts and designs choose."""
        guided = [self._chosen(guide)] if guide is not None else []
        for choose in (fewest_slices, *guided, self._chosen(None)) if held else ():
            with contextlib.suppress(OneSpikeError):
                mapping = choose(net, self.config)
                if fingerprint(memory_images(mapping), self.config) == held:
                    return mapping
        return None

    def _map(self, net: SpikeNet, guide: np.ndarray | None) -> Mapping:
        refused: OneSpikeError | None = None
        for choose in (*([fewest_slices] if guide is None else []), self._chosen(guide)):
            try:
                return choose(net, self.config)
            except OneSpikeError as error:
                refused = refused or error
        needs, _, _ = str(refused).partition(";")
        raise OneSpikeError(
            f"The network does not fit the board ({needs.rstrip('.')}); build the board's design for a larger "
            f"network, or load a smaller one."
        )

    @staticmethod
    def _chosen(guide: np.ndarray | None) -> Callable[[SpikeNet, EngineConfig], Mapping]:
        """The cheapest mapping for these images, or for random ones."""

        def choose(net: SpikeNet, config: EngineConfig) -> Mapping:
            return choose_mapping(net, config, random_codes(net.image) if guide is None else guide, fit=False)

        return choose

    def classify(self, images: np.ndarray, *, progress: Callable[[], None] = lambda: None) -> Answer:
        """Classify images: integers are codes, floats are in the module's own scale, as `model/network/pixels.py` says.

        progress: called after every image. OneSpikeError where another program has taken the board since `load`.
        """
        mapping = self._loaded()
        codes = mapping.net.image.quantise(images)
        self._attempt(self._check_network)
        logits = []
        for beats in image_beats(mapping, codes):
            logits.append(self._attempt(partial(self._image, [int(beat) for beat in beats]), self._restart))
            progress()
        values = mapping.from_stream(np.array(logits, np.int64).reshape(len(codes), mapping.net.classes))
        return Answer(logits=values, classes=answers_of(mapping.net, values))

    def counters(self) -> np.ndarray:
        """Counters [layers, 4 or 5] of the last image, in the order of `counter_names`."""
        layers, stride = len(self._loaded().layers), counter_stride(self.config)
        if not self.config.counters:
            raise OneSpikeError("The board's engine has no counters; build its design with them.")
        self._attempt(self._check_ours)

        mark, self._mark = self._mark, 0

        def attempt() -> list[int]:
            self.link.write(word("counter"), [0])
            words = self.link.read(word("count"), stride * layers, fixed=True)
            self.link.write(word("counter"), [mark])
            return words

        found = np.array(self._attempt(attempt), np.int64).reshape(layers, stride)
        self._mark = mark
        return found[:, : len(counter_names(self.config))]

    def status(self) -> dict[str, Any]:
        """The status and the events that the core keeps."""
        status, events = self._attempt(lambda: self.link.read(word("status"), 2))
        names = {
            "status": ("running", "busy", "room", "result"),
            "events": ("done", "short", "long", "refused", "memory", "fault"),
        }
        values = {"status": status, "events": events}
        return {name: bool(values[register] & flag(register, name)) for register in names for name in names[register]}

    def _loaded(self) -> Mapping:
        if self.mapping is None:
            raise OneSpikeError("No network is loaded; call load() first.")
        return self.mapping

    def _image(self, beats: list[int]) -> list[int]:
        """One image in, its logits out."""
        link, mapping = self.link, self._loaded()
        count = mapping.net.classes * self.logit_words
        if self.streams:
            send, receive = getattr(link, "send", None), getattr(link, "receive", None)
            if send is None or receive is None:
                raise OneSpikeError("This core has streams; give the link functions that send and receive them.")
            send(beats)
            words = list(receive(count))
        else:
            if len(beats) > 1:
                link.write(word("image"), beats[:-1], fixed=True)
            link.write(word("image_last"), beats[-1:])
            self._wait("result")
            words = link.read(word("logit"), count, fixed=True)
        self._check(self._check_ours())
        return self._signed(words)

    def _check(self, found: int | None = None) -> None:
        """LinkError where the events tell of a fault."""
        found = self.link.read(word("events"))[0] if found is None else found
        if found & flag("events", "fault"):
            raise self._fault()
        if found & ~flag("events", "done"):
            raise LinkError(f"The board noted a fault while it worked (events 0x{found:02X}).")

    def _fault(self) -> FaultError:
        """What the engine has noted; the network counts as damaged, unless only what passes by was wrong."""
        found = self.link.read(word("faults"))[0]
        kinds = [name for bit, name in enumerate(FAULTS) if found >> bit & 1]
        self._damaged = kinds != ["spikes"]
        memories = " and ".join(name for name in kinds if name != "watchdog")
        said = [f"wrong bits in its memory of {memories} (parity)"] if memories else []
        if "watchdog" in kinds:
            said.append(f"a layer that did not end within {self.config.watchdog:,} cycles (watchdog)")
        again = "load the network again" if self.config.loadable else "configure it again"
        return FaultError(f"The board noted {' and '.join(said) or 'a fault'}; {again}, and check clock and supply.")

    def _check_ours(self) -> int:
        """The events; OneSpikeError where the mark has gone."""
        if self._stopped:
            raise OneSpikeError("The engine is stopped; call start() first.")
        if not self._mark:
            raise LinkError("The line failed while the engine was started again; load the network again.")
        words = self.link.read(word("events"), word("counter") - word("events") + 1)
        if words[-1] != self._mark:
            raise self._taken()
        return words[0]

    def _check_network(self) -> None:
        self._check_ours()
        if self.link.read(word("network"))[0] != self._network:
            raise self._taken()

    def _taken(self) -> OneSpikeError:
        return OneSpikeError(
            "The board does not run this network any more: another program has taken it, or it has been reset; see "
            "that one program uses it, and load the network again."
        )

    def _wait(self, name: str) -> None:
        until = time.monotonic() + self.patience
        while True:
            status, events = self.link.read(word("status"), 2)
            if events & flag("events", "fault"):
                raise self._fault()
            if status & flag("status", name):
                return
            if time.monotonic() > until:
                raise LinkError(f"The board gave no {name} within {self.patience:g} s.")

    def _signed(self, words: Sequence[int]) -> list[int]:
        """Logits from their 32-bit words, low word first."""
        bits = 32 * self.logit_words
        values = [sum(int(w) << (32 * i) for i, w in enumerate(words[at : at + self.logit_words]))
                  for at in range(0, len(words), self.logit_words)]  # fmt: skip
        return [value - (1 << bits) if value >> (bits - 1) else value for value in values]

    def _restart(self) -> None:
        """After a fault: the engine anew, where it is still ours, and what has been damaged in it."""
        if self._check_ours() & flag("events", "fault"):
            self._fault()
        if self._damaged and self._words:
            self._write_network(self._words)
        self._begin(self._loaded())
        self._damaged = False

    def _attempt(self, action: Callable[[], T], before_retry: Callable[[], None] = lambda: None) -> T:
        """The action; after a fault of the line again, ATTEMPTS times in all."""
        noted = []
        for _ in range(ATTEMPTS - 1):
            try:
                return action()
            except LinkError as error:
                if isinstance(error, FaultError):
                    noted.append(str(error).partition(";")[0])
                else:
                    self.link.recover()
                with contextlib.suppress(LinkError):
                    before_retry()
        try:
            found = action()
        except FaultError:
            with contextlib.suppress(LinkError):
                before_retry()  # what the image has left behind is not the next one's
            raise
        self.mended += noted
        return found

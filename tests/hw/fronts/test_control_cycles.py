# SPDX-License-Identifier: Apache-2.0
"""Registers against a model of them, while images come and go: what happens in the very cycle of an access."""

import random
import zlib

import pytest

from onespike.hw.config import EngineConfig
from onespike.hw.engine.counters import counter_stride, layer_depth
from onespike.hw.fronts import control
from onespike.hw.fronts.control import MOST_INSIDE, Control
from onespike.hw.fronts.registers import CONFIG, ID, REGISTERS, VERSION, flag, parameter_words, word
from onespike.sim.stream import run_pipeline

OUTPUTS = (
    "bus.done", "bus.answer", "bus.refused", "irq", "run", "running", "reset", "beats", "counter", "load.valid",
    "load.payload", "image.valid", "image.payload", "logits.ready",
)  # fmt: skip
PULSES = ("began", "finished", "short", "long")
CONFIGURATION = EngineConfig(acc_bits=40, parity=True)  # logits of two words
COUNTERS = counter_stride(CONFIGURATION) * layer_depth(CONFIGURATION)
NETWORK = 0x1234_5678
LOGIT = -0x12_3456_789A  # 40 bits, sign-extended to two words


class Model:
    """Control from cycle to cycle, as docs/registers.md describes it; the engine answers at once."""

    def __init__(self, config: EngineConfig):
        self.config = config
        self.run = self.beats = self.irq_enable = self.noted = 0
        self.network, self.loaded, self.resets, self.due = NETWORK, None, True, 0
        self.clear()

    def clear(self) -> None:
        self.events = self.images = self.best = self.inside = self.counter = self.place = 0

    def room(self, row: dict) -> bool:
        return bool(self.run and self.beats and (row["inside"] or self.inside < MOST_INSIDE))

    def read(self, name: str, row: dict) -> int:
        status = self.run | (self.inside > 0) << 1 | self.room(row) << 2 | row["waiting"] << 3 | self.inside << 4
        return {
            "id": ID, "version": VERSION, "features": 2 << 4, "control": self.run, "status": status,
            "events": self.events, "irq_enable": self.irq_enable, "beats": self.beats, "images": self.images,
            "class": self.best, "counter": self.counter, "network": self.network or 0, "faults": row["faults"],
            "count": row["count"], "logit": (LOGIT >> 32 * self.place) & 0xFFFFFFFF,
        }[name]  # fmt: skip

    def step(self, row: dict, access: tuple[str, int | None] | None = None) -> tuple[int, bool, int]:
        """One cycle, in which an access may be done: (answer, refused, cycles of the access)."""
        name, value = access or ("", None)
        register = next((r for r in REGISTERS if r.name == name), None)
        answer, refused, cycles, cleared = 0, False, 2, 0
        resets, self.resets = self.resets, False
        self.due = max(0, self.due - 1)
        self.counter = (self.counter + (self.due == 1)) % COUNTERS
        events = row["finished"] | row["short"] << 1 | row["long"] << 2
        events |= bool(row["faults"] & ~self.noted) << 5
        self.noted = row["faults"]
        count = self.inside + row["began"] - row["finished"]
        if register is None:
            refused = access is not None
        elif value is None:
            slow = name in ("count", "logit")
            refused = register.access == "w" or name == "weight_address" or (name == "logit" and not self.inside)
            if not refused:
                index = register.word - CONFIG // 4
                configured = 0 <= index < len(parameter_words(self.config))
                answer = parameter_words(self.config)[index] if configured else self.read(name, row)
                cycles += slow * (3 if name == "count" else 1)
                self.due = 4 if name == "count" else 0
                self.place ^= name == "logit"
        elif name == "control" and (self.network is not None or not value & 1):
            self.run, self.resets = value & 1, not value & 1
        elif name == "events":
            cleared = value
        elif name == "irq_enable":
            self.irq_enable = value & 0x3F
        elif name == "counter":
            self.counter = value % COUNTERS
        elif name == "beats" and not self.run:
            self.beats = value & 0xFFFFFF
        elif name == "load" and not self.run:
            cycles, self.network, self.loaded = 7, None, zlib.crc32(value.to_bytes(4, "little"), self.loaded or 0)
        elif name == "network" and not self.run and value == self.loaded:
            self.network = value
        elif name in ("image", "image_last") and self.room(row):
            cycles = 3
        else:
            refused = True
        if row["finished"]:
            self.images, self.best = self.images + 1 & 0xFFFF, row["best"]
        self.events = self.events & ~cleared | events | refused << 3
        self.inside = count & 15
        if resets:
            self.clear()
            self.loaded = None
        return answer, refused, cycles


IDLE = {"bus.valid": 0, "bus.write": 0, "bus.address": 0, "bus.data": 0, **dict.fromkeys(PULSES, 0), "inside": 0,
        "best": 0, "waiting": 0, "faults": 0, "count": 77, "image.ready": 1, "load.ready": 1, "logits.valid": 1,
        "logits.payload": {"value": LOGIT, "best": 3, "last": 1}}  # fmt: skip


def request(access: tuple[str, int | None]) -> dict:
    name, value = access
    address = word(name) if name != "gap" else 0x3F
    return {"bus.valid": 1, "bus.write": value is not None, "bus.address": address, "bus.data": value or 0}


def rtl(dut: Control, rows: list[dict]) -> dict[str, list[int]]:
    return run_pipeline(dut, {name: [row[name] for row in rows] for name in rows[0]}, OUTPUTS)


def play(accesses: list, background) -> dict[str, list[int]]:
    """Accesses (or None for a pause of a cycle) and what goes on meanwhile, `background(cycle)`: RTL against model.

    What goes on is what may: no more images end than have begun."""
    model, rows, expected, state = Model(CONFIGURATION), [], [], []
    queue = [None, *accesses]
    for access in queue:
        cycles = 1
        first = True
        while cycles:
            row = IDLE | background(len(rows))
            row["finished"] = int(row["finished"] and model.inside > 0)
            row["began"] = int(row["began"] and model.inside < 4)
            row |= request(access) if access else {}
            irq = int((model.events & model.irq_enable) > 0)
            state.append((model.run, model.beats, irq, int(model.resets), model.counter))
            row["count"] = 1000 + (state[-3][4] if len(state) > 2 else 0)  # two cycles behind its address
            answer, refused, length = model.step(row, access if first else None)
            if first and access:
                cycles = length
                expected.append((len(rows) + length - 1, access, answer, int(refused)))
            first = False
            rows.append(row)
            cycles -= 1
    found = rtl(Control(CONFIGURATION, streams=False, network=NETWORK), rows)
    assert [cycle for cycle, done in enumerate(found["bus.done"]) if done] == [cycle for cycle, *_ in expected]
    second = LOGIT >> 32 & 0xFFFFFFFF  # a logit is taken with its last word
    takes = [cycle - 1 for cycle, access, answer, _ in expected if access == ("logit", None) and answer == second]
    assert [cycle for cycle, ready in enumerate(found["logits.ready"]) if ready] == takes
    for cycle, access, answer, refused in expected:
        assert found["bus.refused"][cycle] == refused, f"cycle {cycle}: {access}"
        if access[1] is None:
            assert found["bus.answer"][cycle] == answer, f"cycle {cycle}: {access}"
        offered = access[0] in ("image", "image_last") and access[1] is not None and not refused
        assert found["image.valid"][cycle - 1] == offered
        if offered:
            beat = found["image.payload"][cycle - 1]
            assert (beat.data, beat.last) == (access[1], access[0] == "image_last")
        loads = access[0] == "load" and access[1] is not None and not refused
        offer = cycle - (5 if loads else 1)
        assert found["load.valid"][offer] == loads and (not loads or found["load.payload"][offer] == access[1])
    for cycle, (run, beats, *others) in enumerate(state):
        got = tuple(found[name][cycle] for name in ("run", "beats", "irq", "reset", "counter", "running"))
        assert got == (run, beats, *others, int(run and beats > 0)), f"cycle {cycle}"
    return found


def quiet(cycle: int) -> dict:
    return {}


START: list = [("beats", 3), ("control", 1)]


@pytest.mark.parametrize("seed", range(3))
def test_random_accesses(seed):
    """Any register read and written at any time, while images begin and end and frames are too short or too long."""
    rng = random.Random(seed)
    names = [*(r.name for r in REGISTERS if not r.name.startswith("config_")), "config_lanes", "gap"]
    busy = ["status", "image", "image_last", "logit", "events", "beats", "load"]

    def drawn() -> tuple[str, int | None] | None:
        name = rng.choice(names if rng.random() < 0.6 else busy)
        if name == "control":
            return name, None if rng.random() < 0.5 else int(rng.random() < 0.8)
        value = rng.choice([rng.getrandbits(32), rng.randrange(32), 1 << rng.randrange(32)])
        value = value % 16 if name == "counter" else value
        return None if rng.random() < 0.2 else (name, value if rng.random() < 0.5 else None)

    def background(cycle: int) -> dict:
        share = {"began": 0.2, "finished": 0.15, "short": 0.05, "long": 0.05, "inside": 0.3, "waiting": 0.5}
        noise = {name: int(rng.random() < likely) for name, likely in share.items()}
        return noise | {"best": rng.randrange(1 << 16), "faults": rng.getrandbits(7) & rng.getrandbits(7)}

    play([*START, *(drawn() for _ in range(350))], background)


@pytest.mark.parametrize("beats", [0, 1, 2, 1 << 23, 1 << 24])
def test_beats_of_an_image(beats):
    """24 bits; no image is taken while they are 0, none has room."""
    play([("beats", beats), ("control", 1), ("status", None), ("image", 1), ("beats", None), ("beats", 5)], quiet)


@pytest.mark.parametrize("name", ["done", "short", "long"])
def test_an_event_in_the_cycle_that_clears_it(name):
    """What happens before is cleared; what happens in the very cycle, or later, stands."""
    port = {"done": "finished"}.get(name, name)
    begin = ("control", 1)
    for offset in (-2, -1, 0, 1, 2):
        at = 1 + 2 * 3 + 4 + offset
        accesses = [*START, begin, None, None, None, None, ("events", 0xFF), None, None, None, ("events", None)]
        found = play(accesses, lambda cycle, at=at: {"began": cycle == 8, port: cycle == at})
        assert found["bus.answer"][len(found["run"]) - 1] == (flag("events", name) if offset >= 0 else 0)


@pytest.mark.parametrize("frame", [0, 1])
@pytest.mark.parametrize("finished", range(-2, 3))
def test_two_images_inside_and_a_third_is_offered(frame, finished):
    """It is refused, and nothing of it is offered to the frame, until a result has left before the access; a beat of a
    frame in progress is never refused."""
    third = 1 + 2 * 2 + 4
    accesses = [*START, None, None, None, None, ("image", 5), ("status", None), ("image_last", 6), ("events", None)]
    found = play(accesses, lambda cycle: {"began": cycle in (6, 7), "finished": cycle == third + finished,
                                          "inside": frame})  # fmt: skip
    refused = not frame and finished >= 0
    assert found["bus.refused"][third + 1] == refused and found["image.valid"][third + 1] == (not refused)


def test_an_engine_that_does_not_take_a_beat(monkeypatch):
    """The access is given up after 2**PATIENCE cycles, and not a cycle before."""
    monkeypatch.setattr(control, "PATIENCE", 4)
    for name, taken in (("image", "image.ready"), ("logit", "logits.valid")):
        for late in (14, 15, 16, 17):
            rows = [IDLE] * 2 + [IDLE | request(("beats", 1))] * 2 + [IDLE | request(("control", 1)) | {"began": 1}] * 2
            begin = len(rows)
            access = (name, 4 if name == "image" else None)
            rows += [IDLE | request(access) | {taken: int(i - 1 >= late), "inside": 1} for i in range(24)]
            found = rtl(Control(EngineConfig(parity=True), streams=False, network=NETWORK), rows)
            done = found["bus.done"].index(1, begin) - begin
            assert (done, found["bus.refused"][begin + done]) == ((late + 2, 0) if late <= 16 else (18, 1)), late


WORDS = [0x1234_5678, 0, 0xFFFF_FFFF]
CRCS = [zlib.crc32(b"".join(word.to_bytes(4, "little") for word in WORDS[:n])) for n in range(4)]


def load(number: int) -> list:
    return [("load", word) for word in WORDS[:number]]


READS: list = [("network", None), ("status", None), ("control", None), ("events", None)]
CASES: dict[str, list] = {
    "whole": [*load(3), ("network", CRCS[3]), ("control", 1), *READS],
    "a word is missing": [*load(2), ("network", CRCS[3]), ("control", 1), *READS],
    "nothing but its sum": [("network", CRCS[3]), ("control", 1), *READS],
    "the host ends half-way, and another comes": [
        *load(2), ("control", 1), *READS, ("control", 0), ("network", CRCS[2]), ("control", 1), *READS, *load(3),
        ("network", CRCS[3]), ("control", 1), *READS,
    ],
    "another half over a whole one": [
        *load(3), ("network", CRCS[3]), ("control", 1), ("control", 0), *load(1), ("network", CRCS[3]), *READS,
        ("control", 1), *READS,
    ],
    "twice in a row without a stop": [*load(3), ("network", CRCS[3]), *load(3), ("network", CRCS[3]), ("control", 1),
                                      *READS],
    "while it runs": [("control", 1), *load(1), ("network", NETWORK), *READS],
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_part_of_a_network_never_runs(case):
    """It is whole when all words have come and their CRC-32 has been written; until then `control.run` is refused."""
    found = play([("control", 0), *CASES[case]], quiet)
    runs = {"whole", "the host ends half-way, and another comes", "while it runs", "nothing but its sum"}
    assert bool(found["run"][-1]) == (case in runs)

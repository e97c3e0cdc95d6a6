# SPDX-License-Identifier: Apache-2.0
"""The rules of AXI (AMBA IHI 0022, IHI 0051) as properties: one component a bus, to be put beside what drives it.

A side that is proved has its rules asserted, the other one has them assumed. All ports are inputs, named as in the
standard; `aresetn` and what is kept between cycles belong to the domain `sync`.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Assert, Assume, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from ..hw.config import EngineConfig
from ..hw.engine.axi_read import BURST_INCR, axi_read_signals
from ..hw.fronts.axi_lite import axi_lite_ports

PAGE = 4096  # bytes that no burst may cross


class _Rules(wiring.Component):
    """Ports that are watched, and who is proved.

    Parameters
    ----------
    ports : their names and shapes.
    proved : sides of the bus whose rules are asserted, "manager" or "subordinate".
    """

    def __init__(self, ports: dict[str, Any], proved: tuple[str, ...]):
        self.proved = proved
        super().__init__({"aresetn": In(1)} | {name: In(port.shape) for name, port in ports.items()})

    def watch(self, m: Module, dut: Any, *, aresetn: Value, prefix: str = "") -> None:
        """Connect the ports to those of `dut`, whose names have a prefix."""
        m.d.comb += self.aresetn.eq(aresetn)
        for name in self.signature.members:
            if name != "aresetn":
                m.d.comb += getattr(self, name).eq(Value.cast(getattr(dut, prefix + name)))

    def _require(self, m: Module, side: str, rule: Any) -> None:
        m.d.comb += (Assert if side in self.proved else Assume)(rule)

    def _channel(self, m: Module, side: str, name: str, payload: list[str]) -> Value:
        """VALID and its payload stand until READY, and VALID is low behind a reset. Returns: a transfer is done."""
        valid, ready = getattr(self, f"{name}valid"), getattr(self, f"{name}ready")
        value = Cat(getattr(self, name + each) for each in payload)
        bound, was_reset = Signal(name=f"{name}_bound"), Signal(name=f"{name}_was_reset", init=1)
        offer = Signal(len(value), name=f"{name}_offer", reset_less=True)
        m.d.sync += [bound.eq(valid & ~ready), was_reset.eq(~self.aresetn), offer.eq(value)]
        self._require(m, side, ~bound | (valid & (value == offer)))
        self._require(m, side, ~was_reset | ~valid)
        return valid & ready


class AxiStreamRules(_Rules):
    """AXI4-Stream: TVALID waits for nobody and stands, with all that goes along with it.

    Parameters
    ----------
    payload : signal -> shape of what is transferred, TDATA, TLAST and the like.
    proved : whether the transmitter is proved, not assumed.
    """

    def __init__(self, payload: dict[str, Any], *, proved: bool):
        self.payload = list(payload)
        ports = {name: In(shape) for name, shape in {**payload, "tvalid": 1, "tready": 1}.items()}
        super().__init__(ports, ("manager",) if proved else ())

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._channel(m, "manager", "t", [name[1:] for name in self.payload])
        return m


class AxiLiteRules(_Rules):
    """AXI4-Lite: channels stand; a response for every request, none without one, and none that is an error.

    Parameters
    ----------
    proved : sides of the bus whose rules are asserted.
    most : requests of a kind that the subordinate takes before it has answered.
    patience : cycles within which an offered request is taken, or a taken one answered, if nobody else waits; None: it
        is not looked at.
    """

    def __init__(self, *, proved: tuple[str, ...] = ("subordinate",), most: int = 1, patience: int | None = None):
        self.most, self.patience = most, patience
        # What has been asked for on a channel and not been answered yet.
        self.open = {name: Signal(range(most + 2), name=f"open_{name}") for name in ("aw", "w", "ar")}
        super().__init__({name.removeprefix("s_axi_"): port for name, port in axi_lite_ports().items()}, proved)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        taken = {
            "aw": self._channel(m, "manager", "aw", ["addr", "prot"]),
            "w": self._channel(m, "manager", "w", ["data", "strb"]),
            "ar": self._channel(m, "manager", "ar", ["addr", "prot"]),
            "b": self._channel(m, "subordinate", "b", ["resp"]),
            "r": self._channel(m, "subordinate", "r", ["data", "resp"]),
        }
        open_ = self.open
        for request, response in (("aw", "b"), ("w", "b"), ("ar", "r")):
            count = open_[request]
            m.d.sync += count.eq(count + taken[request] - taken[response])
            self._require(m, "subordinate", count <= self.most)
            self._require(m, "subordinate", ~getattr(self, f"{response}valid") | (count != 0))
        self._require(m, "subordinate", (~self.bvalid | (self.bresp == 0)) & (~self.rvalid | (self.rresp == 0)))
        if self.patience is not None:
            # An offer or an open request, and no transfer: somebody waits. A manager may let the subordinate wait.
            asks = self.arvalid | (self.awvalid & self.wvalid) | Cat(open_.values()).any()
            waits = asks & ~Cat(taken.values()).any() & ~self.bvalid & ~self.rvalid
            waited = Signal(range(self.patience + 2))
            m.d.sync += waited.eq((waited + (waited <= self.patience)) & waits.replicate(len(waited)))
            self._require(m, "subordinate", waited < self.patience)
        return m


class AxiReadRules(_Rules):
    """The read channels of AXI4: what a manager asks for, and that a subordinate gives only that.

    Requests stand; bursts are incrementing, of whole beats, aligned, and cross no boundary of 4 KB; no more than `most`
    beats are on their way, and the manager takes each as it comes. RLAST and RID are not looked at: one identifier
    keeps the order, and a manager that counts needs no mark.

    Parameters
    ----------
    config : the engine's configuration.
    proved : sides of the bus whose rules are asserted.
    most : beats that may be on their way.
    """

    def __init__(self, config: EngineConfig, *, proved: tuple[str, ...] = ("manager",), most: int):
        self.bytes, self.most = config.external_weights // 8, most
        self.pending = Signal(range(most + 257))  # beats that have been asked for and have not come
        super().__init__(axi_read_signals(config), proved)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        asked = self._channel(m, "manager", "ar", ["id", "addr", "len", "size", "burst", "cache", "prot"])
        came = self._channel(m, "subordinate", "r", ["id", "data", "resp", "last"])
        whole = (self.bytes - 1).bit_length()
        within, room = self.araddr[whole : (PAGE - 1).bit_length()], PAGE // self.bytes
        self._require(
            m, "manager",
            ~self.arvalid
            | ((self.arburst == BURST_INCR) & (self.arsize == whole) & ~self.araddr[:whole].any()
               & (within + self.arlen < room)),
        )  # fmt: skip
        pending = self.pending
        m.d.sync += pending.eq(pending + Mux(asked, self.arlen + 1, 0) - came)
        self._require(m, "manager", (pending <= self.most) & ((pending == 0) | self.rready))
        self._require(m, "subordinate", ~self.rvalid | (pending != 0))
        return m

# SPDX-License-Identifier: Apache-2.0
"""The drain lets no finished job wait: it takes from the bank whose turn it is, step by step, then from the next."""

import dataclasses

import pytest
from amaranth.hdl import Assert, Assume, Const, Module, Mux, Signal

from mutant import mistakes, mutant, slow_but_first
from onespike.hw.engine.drain import Drain, group_parts, release_step
from onespike.sim.formal import ProofError, prove
from onespike.sim.inside import Inside
from onespike.sim.stream_rules import Property
from small_engine import SMALLEST

DRAINS = {
    "three steps": dataclasses.replace(SMALLEST, banks=2, lanes=3),
    "one step": dataclasses.replace(SMALLEST, banks=2),
    "pauses": dataclasses.replace(SMALLEST, banks=2, lanes=12, fire_lanes=4, max_code=255),
}


class TakesInTurn(Property):
    """From the bank whose turn it is, and from no other, a full job is taken at once, one step a cycle.

    Where F codes fill several words, a step comes as many cycles after the one before. In each job the bank is released
    once, and the next bank's turn comes with the last step. A layer begins between two jobs, and the first one begins
    before any job is full.
    """

    def check(self, m: Module, inside: Inside) -> None:
        drain, config = self.dut, self.dut.config
        steps, parts = config.drain_steps, group_parts(config)
        pause = drain.layer.dest_group_words if parts > 1 else Const(0)
        step, since = Signal(range(steps)), Signal(range(parts + 1), init=parts)  # cycles since the last step
        turn = Signal(range(config.banks))
        released = Signal()
        taken, mine = drain.take.any(), Signal()
        known, begun = Signal(len(pause)), Signal()  # a layer has begun
        m.d.sync += [known.eq(pause), begun.eq(begun | drain.start), since.eq(Mux(taken, 0, since + (since != parts)))]
        m.d.comb += [
            mine.eq((drain.full >> turn)[0] | (step != 0)),
            Assume(begun | ~drain.full.any()),
            Assume((pause < parts) & (drain.start | (pause == known))),
            Assume(~drain.start | ((step == 0) & ~taken & (since == parts))),
            Assert(drain.turn == (1 << turn)),
            Assert(drain.take == Mux(mine & (since >= pause), 1 << turn, 0)),
            Assert(~drain.release.any() | (drain.release == drain.take)),
            Assert(~drain.release.any() | ~released),
            Assert(~taken | (step != steps - 1) | released | drain.release.any()),
        ]
        m.d.sync += released.eq(Mux(taken & (step == steps - 1), 0, released | drain.release.any()))
        with m.If(taken):
            m.d.sync += step.eq(step + 1)
            with m.If(step == steps - 1):
                m.d.sync += [step.eq(0), turn.eq(turn + 1)]
        with m.If(drain.start):
            m.d.sync += turn.eq(0)
        if self.rules_alone:
            return
        # The drain's own loop of steps, and its pause.
        loop = inside["loop_steps"]
        m.d.comb += [
            Assert(inside["step"] == step),
            Assert(loop.first == (step == 0)),
            Assert(step < (steps if steps > 1 else 1)),
            Assert(begun | (step == 0)),
            Assert(~begun | (inside["steps_left"] == steps - 1 - step)),
            Assert(~begun | (loop.last == (step == steps - 1))),
            Assert(released == ((step > release_step(config)) & (pause == 0))),  # with pauses, in the last step
        ]
        if parts > 1:
            m.d.comb += [
                Assert(inside["free"] == (since >= pause)),
                Assert(inside["free"] | (inside["pause"] + since + 1 == pause)),
            ]


@pytest.mark.parametrize("config", slow_but_first(DRAINS))
def test_takes_in_turn(config):
    prove(TakesInTurn(Drain(config)), depth=4, induction=True)


@pytest.mark.parametrize(
    "right, wrong",
    mistakes(
        ("self.full | (~loop_steps.first).replicate(config.banks)", "self.full"),
        ("turn.eq(turn.rotate_left(1))", "turn.eq(turn.rotate_left(1) | self.full)"),
        ("release_now = step == release_step(config)", "release_now = step >= release_step(config)"),
        ("free.eq(layer.dest_group_words == 0)", "free.eq(0)"),
    ),
)
def test_mistakes(right, wrong, tmp_path):
    config = DRAINS["pauses" if "group_words" in right else "three steps"]
    with pytest.raises(ProofError, match="refuted"):
        prove(TakesInTurn(mutant(Drain, right, wrong, tmp_path)(config), rules_alone=True), depth=9)

# SPDX-License-Identifier: Apache-2.0
"""Energy as the paper on phase coding counts it (Hwang and Kung, eq. 6), and what that leaves out.

    E_ANN = MACs * E_mult        E_SNN = additions * E_add        gain = E_ANN / E_SNN

An addition for every spike and every weight that it meets; pixels, which are binary numbers, by their events. The INT8
figures are those that the paper takes, 0.2 pJ for a multiplication (the addition of a MAC is left out) and 0.03 pJ for
an 8-bit addition, both of Horowitz's 45 nm table; FP32: 4.6 pJ for the whole MAC, 0.9 pJ.

Equation 6 does not charge the streaming form's multiplication of every membrane by Q in every phase: `scaling_uj` does,
at the same price. The parallel form, which the engine runs, has none. Nor does it charge memory: `energy.py` does.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..network.operations import Operations
from ..network.spec import INPUT, SpikeNet
from .energy import FP32_ADD, FP32_MAC, HOROWITZ, INT8_ADD, INT8_MULTIPLY

TABLE = f"eq. 6 (Hwang and Kung; {HOROWITZ}: INT8 multiply 0.2, add 0.03; FP32 MAC 4.6, add 0.9 pJ)"


@dataclass(frozen=True, kw_only=True)
class PhaseEnergy:
    """Per image. macs: of the dense network; additions: of the spiking one; dense_uj, spiking_uj: eq. 6; scaling_uj:
    the multiplications by Q that a streaming form makes besides.
    """

    macs: float
    additions: float
    dense_uj: float
    spiking_uj: float
    scaling_uj: float

    @property
    def gain(self) -> float:
        """E_ANN / E_SNN as the paper prints it."""
        return self.dense_uj / max(self.spiking_uj, 1e-300)

    @property
    def streaming_gain(self) -> float:
        """The same with the multiplications by Q."""
        return self.dense_uj / max(self.spiking_uj + self.scaling_uj, 1e-300)


def phase_energy(net: SpikeNet, operations: Operations, phases: int, *, fp32: bool = False) -> PhaseEnergy:
    """Equation 6 on counted operations (`operations.count`) of a network of so many phases."""
    multiply, add = (FP32_MAC, FP32_ADD) if fp32 else (INT8_MULTIPLY, INT8_ADD)
    additions, neurons = 0, 0
    for layer, counted in zip(net.layers, operations.layers, strict=True):
        pixels = any(source.tensor == INPUT for source in layer.sources)
        additions += counted.events_radix if pixels else counted.macs_nonzero
        neurons += counted.neuron_operations if layer.fires else 0
    macs, made = operations.dense_macs, additions / operations.images
    return PhaseEnergy(
        macs=macs,
        additions=made,
        dense_uj=macs * multiply * 1e-6,
        spiking_uj=made * add * 1e-6,
        scaling_uj=phases * neurons / operations.images * multiply * 1e-6,
    )

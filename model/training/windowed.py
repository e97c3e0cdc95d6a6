# SPDX-License-Identifier: Apache-2.0
"""A residual network whose layers run window by window inside one timestep, passing membranes on (experimental).

Yao, Wu, Chen and Zhang, "Training a General Spiking Neural Network with Improved Efficiency and Minimum Latency". Layer
l, window w of g, one after the other (`model/network/windows.py` has the windows):

    U[w, l] = leak * fusion(U[w-1, l], U[w, l-1]) + I[w, l]        o = U >= V        U <- U - V o
    fusion = Omega(a, b) = 2 sin(theta pi a / 2) cos(theta pi b / 2), theta = 1/2; or a + b, a, nothing

The first window has a = 0; b = 0 where the layer before has windows of another shape. One timestep hides g sequential
passes. Blocks are those of a ResNet-12: three convolutions of 3x3 with
batch norm, a shortcut of 1x1 that joins the last one's current, and an OR over 2x2 places behind all but the last.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import OneSpikeError
from ..network import windows

OMEGA, SUM, PREVIOUS, NONE = FUSIONS = ("omega", "sum", "previous", "none")
LAYERS = 3  # of a block
POOL = 2


@dataclass(frozen=True, kw_only=True)
class WindowPlan:
    """groups: windows of a timestep, 1, 2 or 4. windows: "normal", "dilated" (alternate layers) or "blocks" (alternate
    blocks). fusion: of membranes. widths: channels of every block. threshold: V, which is not trained. leak: where the
    leak of every layer begins, 0..1. pad: zeros around the image.
    """

    groups: int = 4
    windows: str = windows.DILATED
    fusion: str = OMEGA
    widths: tuple[int, ...] = (8, 16, 16, 32)
    threshold: float = 0.5
    leak: float = 0.5
    pad: int = 0

    def __post_init__(self) -> None:
        windows.plan(self.windows, self.groups, len(self.widths), LAYERS)
        if self.fusion not in FUSIONS:
            raise OneSpikeError(f"Membranes are fused by {', '.join(FUSIONS)}, not {self.fusion!r}.")
        if not self.widths or any(not 1 <= width <= 1024 for width in self.widths):
            raise OneSpikeError(f"Widths are channels of every block, 1..1024 each, not {list(self.widths)}.")
        if not (math.isfinite(self.threshold) and self.threshold > 0):
            raise OneSpikeError(f"The threshold must be a positive number, not {self.threshold:g}; the paper's is 0.5.")
        if not 0 <= self.leak <= 1:
            raise OneSpikeError(f"The leak must lie in 0..1, not {self.leak:g}.")
        if not 0 <= self.pad <= 64:
            raise OneSpikeError(f"The padding must lie in 0..64, not {self.pad}.")

    def check_image(self, height: int, width: int) -> None:
        """OneSpikeError where a map of an image [.., height, width] does not divide into the windows of its layers."""
        sides = [height + 2 * self.pad, width + 2 * self.pad]
        for block, dilated in enumerate(windows.plan(self.windows, self.groups, len(self.widths), LAYERS)):
            part = windows.parts(any(dilated))
            cut = [self.groups > 1, self.groups > 2]
            pooled = block < len(self.widths) - 1
            if any(side % part for side, own in zip(sides, cut, strict=True) if own) or (
                pooled and any(side % POOL for side in sides)
            ):
                need = self.needed()
                wanted = next((p for p in range(65) if not any((s + 2 * p) % need for s in (height, width))), None)
                mend = "give images whose sides are a multiple of " + str(need)
                mend = mend if wanted is None else f"add --pad {wanted}, or {mend}"
                raise OneSpikeError(
                    f"Images of {height} x {width} with a padding of {self.pad} do not divide into windows: the maps "
                    f"of block {block + 1} are {sides[0]} x {sides[1]}; {mend}."
                )
            sides = [side // POOL for side in sides] if pooled else sides

    def needed(self) -> int:
        """What the sides of a padded image must be a multiple of."""
        dilated = windows.plan(self.windows, self.groups, len(self.widths), LAYERS)
        part = [windows.parts(any(own)) if self.groups > 1 else 1 for own in dilated]
        pooled = POOL ** (len(dilated) - 1)
        return math.lcm(pooled, *(p * POOL**block for block, p in enumerate(part)))


class Reaches(torch.autograd.Function):
    """1 where the membrane [any shape] is at least the threshold (one number), else 0.

    Backward, the slope is a triangle of area 1 around the threshold: max(0, 1 - |z|) / V, z = U / V - 1.
    """

    @staticmethod
    def forward(ctx: Any, membrane: Tensor, threshold: Tensor) -> Tensor:
        ctx.save_for_backward(membrane, threshold)
        return (membrane >= threshold).to(membrane.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        membrane, threshold = ctx.saved_tensors
        return gradient * (1 - (membrane / threshold - 1).abs()).clamp(min=0) / threshold, None


def fuse(fusion: str, own: Tensor | None, before: Tensor | None) -> Tensor | None:
    """What a window's membranes begin with, before the leak; None stands for zeros.

    own: membranes of the window before, in this layer; before: those of the same window, in the layer before.
    """
    if fusion == NONE or (own is None and (before is None or fusion != SUM)):
        return None  # Omega(0, b) is 0
    if fusion == OMEGA:
        assert own is not None
        wave = 2 * torch.sin(math.pi / 4 * own)
        return wave if before is None else wave * torch.cos(math.pi / 4 * before)
    if fusion == PREVIOUS or before is None:
        return own
    return before if own is None else own + before


class FusionFire(nn.Module):
    """The neurons of a layer. forward: spikes and membranes [groups, N, C, h, w] of currents of that shape, `before`:
    membranes of the layer before, or None.
    """

    threshold: Tensor

    def __init__(self, plan: WindowPlan) -> None:
        super().__init__()
        self.fusion = plan.fusion
        self.register_buffer("threshold", torch.tensor(plan.threshold))
        self.leak = nn.Parameter(torch.tensor(float(plan.leak)))
        self.seen: list[Tensor] | None = None  # spikes, where they are asked for

    def forward(self, current: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        if before is not None and before.shape != current.shape:
            before = None
        spikes, membranes = [], []
        own: Tensor | None = None
        leak = self.leak.clamp(0, 1)
        for window, coming in enumerate(current):
            carried = fuse(self.fusion, own, None if before is None else before[window])
            membrane = coming if carried is None else leak * carried + coming
            fired: Tensor = Reaches.apply(membrane, self.threshold)
            own = membrane - self.threshold * fired
            spikes.append(fired)
            membranes.append(own)
        found = torch.stack(spikes)
        if self.seen is not None:
            self.seen.append(found.detach())
        return found, torch.stack(membranes)


class WindowBlock(nn.Module):
    """Three layers; dilated: which of them have dilated windows."""

    def __init__(self, inputs: int, outputs: int, plan: WindowPlan, dilated: list[bool]) -> None:
        super().__init__()
        self.groups, self.dilated = plan.groups, dilated
        for layer in range(LAYERS):
            conv = nn.Conv2d(inputs if layer == 0 else outputs, outputs, 3, padding=1, bias=False)
            setattr(self, f"conv{layer}", conv)
            setattr(self, f"norm{layer}", nn.BatchNorm2d(outputs))
            setattr(self, f"fire{layer}", FusionFire(plan))
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.shortcut_norm = nn.BatchNorm2d(outputs)

    def forward(self, maps: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Spikes [N, C, H, W], and the membranes of the last layer, of spikes and membranes of the layer before."""
        block_input, (height, width) = maps, maps.shape[-2:]
        for layer, dilated in enumerate(self.dilated):
            places = windows.regions(height, width, self.groups, dilated)
            current = self._summed(maps, places, layer)
            if layer == LAYERS - 1:
                current = current + self._shortcut(block_input, places)
            spikes, before = self.get_submodule(f"fire{layer}")(current, before)
            maps = condensed(spikes, places, height, width)
        return maps, before

    def _summed(self, maps: Tensor, places: list[windows.Region], layer: int) -> Tensor:
        cut = torch.cat([maps[..., rows, columns] for rows, columns in places])
        summed: Tensor = self.get_submodule(f"norm{layer}")(self.get_submodule(f"conv{layer}")(cut))
        return summed.unflatten(0, (len(places), -1))

    def _shortcut(self, maps: Tensor, places: list[windows.Region]) -> Tensor:
        cut = torch.cat([maps[..., rows, columns] for rows, columns in places])
        summed: Tensor = self.shortcut_norm(self.shortcut(cut))
        return summed.unflatten(0, (len(places), -1))


def condensed(spikes: Tensor, places: list[windows.Region], height: int, width: int) -> Tensor:
    """`windows.condense` with a gradient: the sum of the windows' spikes, cut off at 1, where its slope ends."""
    if len(places) * spikes[0, 0, 0].numel() == height * width:  # they do not overlap
        across = 1 + (len(places) > 2)
        rows_of = [torch.cat(list(spikes[at : at + across]), -1) for at in range(0, len(places), across)]
        return torch.cat(rows_of, -2)
    found: Tensor | None = None
    for window, (rows, columns) in zip(spikes, places, strict=True):
        whole = F.pad(window, (columns.start, width - columns.stop, rows.start, height - rows.stop))
        found = whole if found is None else found + whole
    assert found is not None
    return found.clamp(max=1)


class WindowedNet(nn.Module):
    """Blocks, and a linear layer on the last block's spikes, their mean over all places; images [N, C, H, W], 0..1."""

    def __init__(self, plan: WindowPlan, channels: int = 1, classes: int = 10) -> None:
        super().__init__()
        self.plan, self.channels, self.classes = plan, channels, classes
        dilated = windows.plan(plan.windows, plan.groups, len(plan.widths), LAYERS)
        inputs = (channels, *plan.widths)
        self.blocks = nn.ModuleList(
            WindowBlock(one, other, plan, own) for one, other, own in zip(inputs, plan.widths, dilated, strict=False)
        )
        self.linear = nn.Linear(plan.widths[-1], classes)

    @property
    def fires(self) -> list[FusionFire]:
        """The spiking layers in order."""
        return [layer for layer in self.modules() if isinstance(layer, FusionFire)]

    def forward(self, images: Tensor) -> Tensor:
        maps, before = F.pad(images, (self.plan.pad,) * 4).contiguous(), None
        for place, block in enumerate(self.blocks):
            maps, before = block(maps, before)
            if place < len(self.blocks) - 1:
                maps = (F.avg_pool2d(maps, POOL) * POOL**2).clamp(max=1)  # an OR, as in `condensed`
        logits: Tensor = self.linear(maps.mean((2, 3)))
        return logits

    def check(self) -> None:
        """OneSpikeError where training has left the numbers."""
        bad = [name for name, value in self.named_parameters() if not value.isfinite().all()]
        if bad:
            raise OneSpikeError(f"In training {bad[0]} became NaN or infinite; train with a lower --rate.")

    def configuration(self) -> str:
        """What weights belong to, as text."""
        return json.dumps({**asdict(self.plan), "channels": self.channels, "classes": self.classes})

    def get_extra_state(self) -> Tensor:
        return torch.tensor(list(self.configuration().encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Weights of another configuration are refused."""
        found, own = json.loads(bytes(state.tolist())), json.loads(self.configuration())
        for name, value in own.items():
            if found.get(name) != value:
                raise OneSpikeError(
                    f"What is to be resumed has another configuration ({name} {found.get(name)}, not {value}); begin "
                    f"anew in another folder, or give the same options."
                )

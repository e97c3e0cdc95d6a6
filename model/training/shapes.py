# SPDX-License-Identifier: Apache-2.0
"""The shapes of a module's layers, found by running it; its weights do not matter, and may lie on the meta device.

    python -m onespike.model.training.shapes      # write those of the networks known by name again (cost/networks.json)
"""

from __future__ import annotations

import dataclasses
import json
import math

import torch
from torch import Tensor, nn

from ..cost.shapes import NAMED, LayerShape
from ..system.files import write_atomically
from .imagenet import Add
from .networks import IMAGES, build


def shapes(module: nn.Module, image: tuple[int, int, int]) -> list[LayerShape]:
    """Convolutions and linear layers of a module, which may lie on the meta device, in the order they run."""
    found: list[LayerShape] = []
    channels = image[0]

    def layer(name: str, child: nn.Module, result: Tensor) -> None:
        weight = child.weight
        assert isinstance(weight, Tensor)
        size = (int(result.shape[2]), int(result.shape[3])) if result.ndim == 4 else (1, 1)
        kernel = (int(weight.shape[2]), int(weight.shape[3])) if weight.ndim == 4 else (1, 1)
        inputs = int(child.in_channels if isinstance(child, nn.Conv2d) else weight.shape[1])  # type: ignore[arg-type]
        found.append(
            LayerShape(
                name=name, inputs=inputs, outputs=int(weight.shape[0]), kernel=kernel, size=size,
                places=math.prod(size), weights=weight.numel(), biases=int(weight.shape[0]),
            )
        )  # fmt: skip

    def hook(name: str, child: nn.Module):  # type: ignore[no-untyped-def]
        def see(_: nn.Module, arguments: tuple[Tensor, ...], result: Tensor) -> None:
            if isinstance(child, nn.Conv2d | nn.Linear):
                layer(name, child, result)
            elif isinstance(child, nn.MaxPool2d) and found:
                side = child.kernel_size if isinstance(child.kernel_size, tuple) else (child.kernel_size,) * 2
                places = int(result.shape[2] * result.shape[3]) * math.prod(side)
                found[-1] = dataclasses.replace(found[-1], places=places)
            elif isinstance(child, Add):
                # A projection counts as a layer of its own; an identity is one more source.
                branch = not any(n.name.startswith(name.removesuffix("add") + "shortcut") for n in found)
                found[-1] = dataclasses.replace(found[-1], shortcut=found[-1].outputs if branch else 0)

        return see

    handles = [child.register_forward_hook(hook(name, child)) for name, child in module.named_modules()]
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad():
            module.eval()(torch.zeros((1, channels, *image[1:]), device=device))
    finally:
        for handle in handles:
            handle.remove()
    return found


def named() -> str:
    """The contents of cost/networks.json: parameters and layers of every network known by name, a layer a line."""
    networks = []
    for name, image in IMAGES.items():
        module = build(name, device="meta")
        lines = [f"   {json.dumps(list(dataclasses.asdict(layer).values()))}" for layer in shapes(module, image)]
        parameters = sum(parameter.numel() for parameter in module.parameters())
        layers = ",\n".join(lines)
        networks.append(f' "{name}": {{"parameters": {parameters}, "layers": [\n{layers}\n ]}}')
    fields = json.dumps([field.name for field in dataclasses.fields(LayerShape)])
    return f'{{"fields": {fields}, "networks": {{\n' + ",\n".join(networks) + "\n}}\n"


if __name__ == "__main__":
    write_atomically(NAMED, named())

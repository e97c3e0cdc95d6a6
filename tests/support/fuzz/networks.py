# SPDX-License-Identifier: Apache-2.0
"""Readers of networks: our own files, those of other frameworks, checkpoints."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import onnx

import nir_files
import onnx_files
import onnx_networks
import tflite_files
from described import network
from modules import conv, everything, randomise
from networks import float_graph, grouped_network
from onespike.hw.config import EngineConfig
from onespike.model.convert.converter import prepare
from onespike.model.export.nir_export import export_nir
from onespike.model.export.onnx_export import export_qonnx
from onespike.model.frontend.importer import import_exported
from onespike.model.frontend.nir_import import import_nir
from onespike.model.frontend.onnx_import import import_onnx
from onespike.model.frontend.tflite_import import import_tflite
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.network.arrangement import Arrangement
from onespike.model.network.levels import Levels
from onespike.model.network.membranes import Membranes
from onespike.model.network.outputs import Output
from onespike.model.network.spec import Layer, Source, SpikeNet
from onespike.model.network.windowed import WindowNet
from onnx_seeds import NETWORKS
from windows import small_windows

from .formats import hdf5_damaged, protobuf_damaged, spike_damaged, zip_damaged
from .mutations import bytes_damaged
from .reader import Make, Reader, saved


def _described(**changes: Any) -> SpikeNet:
    return network(**changes)


def _kinds() -> dict[str, SpikeNet]:
    """A network of every version of the format."""
    net = network()
    first, second, last = net.layers
    image = net.image
    table = Levels((-3, 0, 5), (-2, 4), 1)
    theta = {"a": np.full(4, 9), "b": np.full(4, 7)}
    height, width = net.shapes["b"][1:]
    larger = Layer(name="d", sources=(Source(tensor="b", weights=np.ones((2, 4, 1, 1), int), up=(2, 3)),),
                   bias=np.arange(2), shift=np.full(2, 2), groups=7)  # fmt: skip
    end = Source(tensor="d", weights=np.ones((3, 2, 2 * height, 3 * width), int))
    return {
        "counts": net,
        "signed": network(layers=(dataclasses.replace(first, low=-4), second, last)),
        "levels": network(layers=(first, dataclasses.replace(second, groups=5, low=-3, levels=table), last)),
        "steps": network(membranes=Membranes(steps=4, theta=theta, start={name: v // 2 for name, v in theta.items()})),
        "groups": grouped_network(grouped=True),
        "arranged": network(image=dataclasses.replace(
            image, arrangement=Arrangement(taken=(8, 8, 2), split=(8, 8, 2), axes=(2, 0, 1)))),
        "outputs": network(outputs=(Output(name="x", channels=1, shape=(1, 1, 1)),
                                    Output(name="y", channels=2, shape=(2,)))),
        "wide pixels": network(image=dataclasses.replace(image, bits=12)),
        "larger map": network(layers=(first, second, larger, dataclasses.replace(last, sources=(end,)))),
    }  # fmt: skip


def _kept(net: SpikeNet) -> Make:
    return saved("net.spike", net.save)


def _spikes() -> tuple[Make, ...]:
    found = []
    for net in _kinds().values():
        found.append(_kept(net))
    return tuple(found)


def run_spike(path: Path) -> Any:
    """Loaded, computed and placed on an engine: what is taken must work, or be refused for its size."""
    net = SpikeNet.load(path)
    logits = net.golden(np.zeros((1, *net.image.shape)))
    map_network(net, fit_config(net, EngineConfig()))
    return logits


def run_windows(path: Path) -> Any:
    net = WindowNet.load(path)
    return net.run(np.zeros((1, *net.image), np.uint8))


def convert(path: Path) -> Any:
    return prepare(path, network_steps=3) if path.suffix == ".nir" else prepare(path)


def _onnx(index: int, path: Path) -> Path:
    nodes, constants, shape = NETWORKS[index]
    return onnx_files.write(path, nodes, constants, shape)


def _ours(kind: Callable[[SpikeNet, Path], Any], path: Path) -> None:
    from onespike.model.convert.converter import convert as to_integers

    graph, images = float_graph()
    kind(to_integers(graph, calibration=images[:16], groups=3), path)


def _leaky(path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = [nir.Input(np.array([6])), nir_files.affine(rng, 5, 6), nir_files.leaks(5, 0.9),
             nir_files.affine(rng, 3, 5), nir.LI(np.ones(3), np.ones(3), np.zeros(3)),
             nir.Output(np.array([3]))]  # fmt: skip
    nir.write(path, nir.NIRGraph.from_list(*parts))


def _nir(name: str, path: Path) -> None:
    nir.write(path, nir_files.NETWORKS[name](np.random.default_rng(0))[0])


def _exported(kind: str, path: Path) -> None:
    import torch
    from torch import nn

    torch.manual_seed(0)
    small = nn.Sequential(conv(1, 2), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3))
    module, shape = (randomise(small), (2, 1, 6, 6)) if kind == "small" else (randomise(everything()), (2, 2, 8, 8))
    torch.export.save(torch.export.export(module, (torch.rand(shape),)), path)


def _checkpoint(path: Path) -> None:
    _training(path, keep=True)


def resume(path: Path) -> Any:
    """Training goes on from a checkpoint, or begins anew."""
    return _training(path, keep=False)


def _training(path: Path, *, keep: bool) -> Any:
    import torch
    from torch import nn

    from onespike.model.training import train

    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=9)
    generator = torch.Generator()
    module(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    if keep:
        train._keep(path, 1, module, optimiser, schedule, generator)
        return None
    begun = train._restore(path, module, optimiser, schedule, generator)
    assert 0 <= begun <= 1 << 20
    module(torch.ones(1, 3)).sum().backward()
    optimiser.step()  # whatever was restored, training goes on
    schedule.step()
    return begun


def _remember(path: Path) -> None:
    from torch import nn

    from onespike.model.training import train

    train.remember(path, nn.Linear(3, 2))


def recall(path: Path) -> Any:
    from torch import nn

    from onespike.model.training import train

    return train.recall(path, nn.Linear(3, 2))


_graphs = tuple(saved("m.onnx", functools.partial(_onnx, index)) for index in range(len(NETWORKS)))
_quantised = tuple(
    saved("q.onnx", functools.partial(onnx_networks.quantised, kind)) for kind in ("qonnx", "qcdq", "thresholds")
)
_exports = tuple(saved("m.pt2", functools.partial(_exported, kind)) for kind in ("small", "everything"))
_nirs = (
    *(saved("m.nir", functools.partial(_nir, name)) for name in nir_files.NETWORKS),
    saved("m.nir", _leaky),
    saved("m.nir", functools.partial(_ours, export_nir)),
)
_damaged_onnx = protobuf_damaged(onnx.ModelProto)
READERS = [
    Reader(name="spike", make=_spikes()[0], more=_spikes()[1:], read=run_spike, damage=spike_damaged, inputs=150,
           named=False),
    Reader(name="windows npz", make=saved("w.npz", lambda path: small_windows().save(path)), read=run_windows,
           damage=zip_damaged, inputs=60),
    Reader(name="onnx", make=_graphs[0], more=_graphs[1:], read=import_onnx, damage=_damaged_onnx, inputs=80,
           named=False),
    Reader(name="qonnx", make=_quantised[0],
           more=(*_quantised[1:], saved("q.onnx", functools.partial(_ours, export_qonnx))), read=convert,
           damage=_damaged_onnx, inputs=40, named=False),
    Reader(name="tflite", make=saved("m.tflite", tflite_files.small), read=import_tflite, damage=bytes_damaged,
           inputs=80, named=False),
    Reader(name="nir", make=_nirs[0], more=_nirs[1:], read=functools.partial(import_nir, steps=3),
           damage=hdf5_damaged, inputs=60, named=False),
    Reader(name="pt2", make=_exports[0], more=_exports[1:], read=import_exported, damage=zip_damaged, inputs=25,
           named=False),
    Reader(name="checkpoint", make=saved("c.checkpoint", _checkpoint), read=resume, damage=zip_damaged),
    Reader(name="remembered", make=saved("r.npz", _remember), read=recall, damage=zip_damaged),
]  # fmt: skip

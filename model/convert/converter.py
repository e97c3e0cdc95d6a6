# SPDX-License-Identifier: Apache-2.0
"""From a trained network and some of its images to the integer network: `convert`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from ..errors import OneSpikeError
from ..frontend.graph import Graph
from ..frontend.network_file import existing
from ..network.image import MAX_BITS
from ..network.levels import Levels
from ..network.spec import MAX_WEIGHT_BITS, Image, SpikeNet
from ..system import extras, parallel
from . import sensitivity
from .arguments import check_names, like
from .calibrate import Clipping, calibrate, used_images
from .finer import finer, other_weights
from .image_tensor import check_images, image_of
from .integrated import Time
from .methods import Groups, Settings, Start, method_of, own_settings
from .outputs import lost, split_last
from .quantise import Arithmetic, quantise, rounded_layers
from .rounding import levels_by_layer, most_groups
from .short_choice import network_levels
from .single_spikes import free_units

MOST_NODES = 4096  # of a graph that is given as [nodes, features]
SHOWN = 6  # layers that a note names
SUMS, GIVEN_SUMS = 24, 32  # bits of a sum; the second where all steps are given, as those cannot make room


@dataclass(frozen=True, kw_only=True, eq=False)
class Conversion:
    """Everything behind one integer network.

    graph: the float network (biases corrected); original: as imported; steps: the real value of one count per firing
    node [channels]; groups: g of every firing node. method, settings: a row of `METHODS`, and what it was given.
    time: of a network that runs over T steps. facts: what else the network is to say of itself, such as how it was
    pruned.
    """

    original: Graph
    graph: Graph
    image: Image
    steps: Mapping[str, np.ndarray]
    groups: Mapping[str, int]
    arithmetic: Arithmetic = field(default_factory=Arithmetic)
    levels: Mapping[str, Levels] = field(default_factory=dict)
    method: str = "psg"
    settings: Mapping[str, Any] = field(default_factory=dict)
    time: Time | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def one_step(self) -> SpikeNet:
        """The integer network of one timestep."""
        return quantise(self.graph, self.image, self.steps, self.groups, self.arithmetic, self.levels)

    @functools.cached_property
    def net(self) -> SpikeNet:
        """The integer network; its `meta` names the method, where it is not psg, and has the facts."""
        net = self.one_step
        if self.time is not None:
            net = self.time.apply(net, self.graph, self.arithmetic)
        meta = {} if self.method == "psg" else {"method": self.method, **self.settings}
        return dataclasses.replace(net, meta={**meta, **self.facts})

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user: of the import, and on what the integers do not keep."""
        known = (*self.graph.notes, *lost(self.original, self.one_step, self.image, self.steps, self.groups))
        if all(node.staircase is None for node in self.graph.nodes):
            return known
        lossy = {*rounded_layers(self.graph, self.one_step, self.image, self.steps, self.groups)}
        lossy |= {*other_weights(self.original, self.graph)}
        if not lossy:
            return (*known, "All weights are exact.")
        names = [node.name for node in self.graph.nodes if node.name in lossy]
        shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        bits = f"{self.arithmetic.weight_bits} bits"
        closer = "" if self.arithmetic.weight_bits == MAX_WEIGHT_BITS else "; more weight bits come closer"
        return (*known, f"The weights of {shown} are rounded to {bits}{closer}.")


@parallel.takes_threads
def prepare(
    network: Any,
    example: Any = None,
    calibration: Any = None,
    *,
    method: str = "psg",
    signed: bool | str = "auto",
    signed_groups: int = 31,
    weight_bits: int = 8,
    accumulator_bits: int | str = "auto",
    clip: str = "mse",
    percentile: float = 99.9,
    per_channel: bool = True,
    refit: bool = True,
    bias_correction: bool = True,
    input_bits: int = 8,
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
    input_range: tuple[float, float] = (0.0, 1.0),
    network_steps: int | None = None,
    time_step: float | None = None,
    progress: Callable[[str], None] | None = None,
    threads: int | None = None,
    **own: Unpack[Settings],
) -> Conversion:
    """Import, calibrate and choose thresholds: `convert`, which explains the arguments, gives `.net` of the result."""
    row = method_of(method)
    given = own_settings(row, own)
    if clip not in ("mse", "percentile"):
        raise OneSpikeError(f"clip must be one of mse, percentile, not {clip!r}.")
    if not _is_number(percentile) or not 0 < percentile <= 100:
        raise OneSpikeError(f"percentile must lie above 0 and up to 100, not {percentile!r}.")
    for name, number, low, high in (
        ("weight_bits", weight_bits, 2, 16),
        ("accumulator_bits", SUMS if accumulator_bits == "auto" else accumulator_bits, 8, 48),
        ("input_bits", input_bits, 1, MAX_BITS),
        ("signed_groups", signed_groups, 1, 127),
    ):
        if not _is_number(number) or number != int(number) or not low <= number <= high:
            raise OneSpikeError(f"{name} must lie in {low}..{high}, not {number!r}.")
    if progress is not None and not callable(progress):
        raise OneSpikeError(f"progress must be a function that takes a layer's name, not {progress!r}.")
    if signed not in ("auto", True, False) or not isinstance(signed, bool | str):
        raise OneSpikeError(f"signed must be 'auto', True or False, not {signed!r}.")
    images = None if calibration is None else _array(calibration)
    read = functools.partial(graph_of, signed=signed, network_steps=network_steps, time_step=time_step)
    graph = read(network, example) if example is not None else _graph_by(network, images, read)
    image = image_of(graph, input_bits, mean, std, input_range)
    if images is not None:
        images = check_images(images, image, own_scale=graph.image is not None)
    if accumulator_bits == "auto":
        wider = max(0, image.bits - 8)
        accumulator_bits = (GIVEN_SUMS if _steps_given(graph) else SUMS) + wider
    arithmetic = Arithmetic(weight_bits=weight_bits, accumulator_bits=int(accumulator_bits))
    graph = free_units(graph, image, arithmetic)
    clipping = Clipping(
        method=clip, percentile=percentile, per_channel=per_channel, refit=refit, correct=bias_correction
    )

    def build(**settings: Any) -> Conversion:
        return _build(graph, image, images, arithmetic, clipping, signed_groups, progress, **settings)

    made = row.convert(Start(graph=graph, image=image, images=images, build=build), **given)
    return dataclasses.replace(made, method=row.name, settings={**given, **made.settings})


@like(prepare)
def convert(network: Any, example: Any = None, calibration: Any = None, **settings: Any) -> SpikeNet:
    """The integer network of a trained one.

    network: a module in eval mode, an `ExportedProgram`, the path of a `.pt2`, `.onnx`, `.tflite` or `.nir` file, a
    `nir.NIRGraph`, or a `Graph`. example: one input batch (by default the first calibration image). calibration: images
    float [N, C, H, W] in the scale that the module takes, a few hundred; only a network that brings the steps of all
    its activations along can do without.
    method: a row of `METHODS` (methods.py), the settings of which may be given as well. Those of psg: groups: g, the
    most spikes of a value; one for all, or by layer name, or one per firing layer in order, or "auto": by sensitivity,
    with no more events than `budget` groups in every layer make; layers whose steps are given have their own. levels:
    "uniform" (counts up to g), "short", or a list of whole levels (short_levels.py), for all layers whose steps are not
    given; groups say nothing about these. rounding: "nearest", or "floor" as in the OneSpike paper. Those of phase:
    base, phases (phase.py); those of asg, if and ctt: docs/methods.md. "..." is what the method takes by itself.
    signed: whether sums without a ReLU are stored with a sign, as counts from -signed_groups - 1 to signed_groups:
    "auto" where that costs fewer events than computing them anew, True wherever they are read by a convolution, a
    linear layer or several readers, False never. weight_bits: 2..16. accumulator_bits: the most that any sum may need
    (auto: 24, and 32 where the network brings the steps of all its activations along; as many more as a pixel has
    beyond 8).
    clip: "mse" (least squared error) or "percentile". per_channel: clip levels by channel. refit: move weights so that
    they make up for rounding. bias_correction: keep every channel's mean. input_bits: of a pixel. input_range: the
    scale of raw pixels, before mean and std; (x - mean) / std is what the module takes where it does not normalise by
    itself. threads: how many work at a time (by default ONESPIKE_THREADS of the environment, or every core); the
    network is the same for any number. network_steps: T, over which a network of NIR was trained to run; its neurons
    become counts of up to T spikes. time_step: how long one of these is in the file's unit of time.
    Raises OneSpikeError for whatever does not fit.

    >>> convert(module, calibration=images, group=4)
    Traceback (most recent call last):
    onespike.model.errors.OneSpikeError: convert takes no argument 'group'; did you mean groups?
    >>> convert(module, calibration=images, groups=4).layers[0].groups
    4
    """
    check_names(settings, prepare, settings.get("method", "psg"))
    return prepare(network, example, calibration, **settings).net


def _build(
    graph: Graph,
    image: Image,
    images: np.ndarray | None,
    arithmetic: Arithmetic,
    clipping: Clipping,
    signed_groups: int,
    progress: Callable[[str], None] | None,
    *,
    groups: Groups = 8,
    levels: str | Sequence[int] | Levels = "uniform",
    budget: int = 8,
    rounding: str = "nearest",
) -> Conversion:
    """What methods share, see `Start.build`; images as `check_images` gives them."""
    if rounding not in ("nearest", "floor"):
        raise OneSpikeError(f"rounding must be one of nearest, floor, not {rounding!r}.")
    if not _is_number(budget) or budget != int(budget) or not 1 <= budget <= 4095:
        raise OneSpikeError(f"budget must lie in 1..4095, not {budget!r}.")
    arithmetic = dataclasses.replace(arithmetic, nearest=rounding == "nearest")
    if isinstance(levels, str) and levels == "short" and images is not None and arithmetic.nearest:
        levels = network_levels(graph, images) or levels
    tables = levels_by_layer(graph, levels, arithmetic.nearest)
    if images is None:
        if not _steps_given(graph):
            raise OneSpikeError("Conversion needs calibration images; give a few hundred images of the training data.")
        by_layer = groups_by_layer(graph, groups, signed_groups)
        corrected, steps = graph, {node.name: node.staircase.step for node in graph.nodes if node.staircase is not None}
        corrected = split_last(finer(graph, image, steps, by_layer, arithmetic), image, steps, by_layer, arithmetic)
    else:
        graph, chosen = used_images(graph, images)
        if groups == "auto" and levels != "uniform":
            raise OneSpikeError("groups='auto' chooses counts; leave levels='uniform', or give no groups.")
        if groups == "auto":
            seen = chosen[:: -(-len(chosen) // sensitivity.IMAGES)]
            measured = sorted({*sensitivity.CHOICES, budget})
            found = sensitivity.sensitivities(graph, seen, arithmetic.nearest, clipping, measured, progress)
            groups = sensitivity.choose_groups(found, sensitivity.uniform_events(found, budget))
        by_layer = groups_by_layer(graph, groups, signed_groups)
        by_layer |= {name: table.top for name, table in tables.items()}
        corrected, steps = calibrate(graph, image, chosen, by_layer, arithmetic, clipping, progress, tables)
    return Conversion(
        original=graph, graph=corrected, image=image, steps=steps, groups=by_layer, arithmetic=arithmetic, levels=tables
    )


def _steps_given(graph: Graph) -> bool:
    """Whether the network brings the steps of all its activations along."""
    return all(node.staircase is not None for node in graph.nodes if node.fires and not node.exact)


def graph_of(
    network: Any,
    example: Any = None,
    signed: bool | str = "auto",
    network_steps: int | None = None,
    time_step: float | None = None,
) -> Graph:
    """The float graph of whatever `prepare` takes."""
    if _is_nir(network):
        try:
            from ..frontend import nir_import
        except ModuleNotFoundError as error:
            raise extras.missing("NIR files need", error) from None
        return nir_import.import_nir(network, signed, network_steps, time_step)
    if network_steps is not None or time_step is not None:
        raise OneSpikeError(
            "network_steps and time_step (--network-steps, --time-step) are for networks of NIR, whose neurons "
            "integrate over time; leave them out."
        )
    if isinstance(network, Graph):
        return network
    if isinstance(network, str | Path) and Path(network).suffix.lower() == ".onnx":
        try:
            from ..frontend import onnx_import
        except ModuleNotFoundError as error:
            raise extras.missing("ONNX files need", error) from None
        return onnx_import.import_onnx(network, signed)
    if isinstance(network, str | Path) and Path(network).suffix.lower() == ".tflite":
        try:
            from ..frontend import tflite_import
        except ModuleNotFoundError as error:
            raise extras.missing("TFLite files need", error) from None
        return tflite_import.import_tflite(network, signed)
    if isinstance(network, str | Path):
        existing(network)
    elif network is None or isinstance(network, Mapping | np.ndarray | type):
        raise OneSpikeError(_not_a_network(network))
    try:
        from ..frontend import importer  # torch only where there is something to import
    except ModuleNotFoundError as error:
        raise extras.missing("PyTorch networks need", error) from None

    if isinstance(network, str | Path):
        return importer.import_exported(network, signed)
    if isinstance(network, importer.ExportedProgram):
        return importer.import_program(network, signed)
    if not isinstance(network, importer.Module):
        raise OneSpikeError(_not_a_network(network))
    return importer.import_module(network, example, signed)


def _is_nir(network: Any) -> bool:
    """Whether it is a `.nir` file, or a graph of the nir package, which need not be installed."""
    if isinstance(network, str | Path):
        return Path(network).suffix.lower() == ".nir"
    return type(network).__module__.split(".")[0] == "nir"


def _graph_by(network: Any, images: np.ndarray | None, read: Callable[..., Graph]) -> Graph:
    """The float graph, by the first calibration image, or by all of them where these are the nodes of one graph."""
    try:
        return read(network, None if images is None else images[:1])
    except OneSpikeError:
        if images is None or images.ndim != 2 or not 1 < len(images) <= MOST_NODES:
            raise
    return read(network, images)


def _not_a_network(found: Any) -> str:
    """What to give instead of `found`."""
    files = "the path of a .pt2, .onnx, .tflite or .nir file"
    wanted = f"give a torch.nn.Module in eval mode, an ExportedProgram, or {files}"
    if isinstance(found, Mapping):
        return (
            f"{type(found).__name__} is not a network: weights alone do not say what it computes; load them into their "
            f"module with module.load_state_dict, and {wanted}."
        )
    if isinstance(found, type):
        return f"{found.__name__} is a class, not a network; {wanted}: {found.__name__}(...) with its trained weights."
    return f"{type(found).__name__} is not a network; {wanted}."


def _array(images: Any) -> np.ndarray:
    if hasattr(images, "detach"):
        images = images.detach().cpu().numpy()
    array = np.asarray(images)
    if array.dtype == object or array.ndim < 2:
        raise OneSpikeError(
            f"Calibration images must be one array (N, channels, height, width), not {array.dtype} {array.shape}."
        )
    if not np.issubdtype(array.dtype, np.floating):
        raise OneSpikeError(
            f"Calibration images must be floating-point numbers in the scale that the network takes, not {array.dtype}."
        )
    if not len(array):
        raise OneSpikeError("The calibration data holds no image.")
    return array


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def groups_by_layer(graph: Graph, groups: Groups, signed_groups: int = 31) -> dict[str, int]:
    """g of every firing node that is not a copy; `groups` is about those without a staircase or a sign.

    Sums and clamps with a sign have `signed_groups`, unless `groups` names them; a curve (LeakyReLU, tanh) has g, or as
    many as its table holds.
    """
    given = {node.name: node.staircase.groups for node in graph.nodes if node.staircase is not None}
    nodes = {node.name: node for node in graph.nodes if node.fires and not node.exact and node.name not in given}
    names = [name for name, node in nodes.items() if not (node.signed and node.curve is None)]
    chosen: dict[str, Any] = {name: signed_groups for name in nodes if name not in names}
    if isinstance(groups, Mapping):
        if unknown := sorted(set(groups) - set(nodes)):
            raise OneSpikeError(f"groups names {unknown[0]!r}, but the firing layers are {', '.join(nodes) or 'none'}.")
        if missing := [name for name in names if name not in groups and nodes[name].curve is None]:
            raise OneSpikeError(f"groups lacks the layer {missing[0]!r}.")
        chosen |= {name: most_groups(nodes[name]) for name in names} | dict(groups)
    elif isinstance(groups, Sequence) and not isinstance(groups, str):
        if len(groups) != len(names):
            raise OneSpikeError(f"groups has {len(groups)} entries for {len(names)} firing layers, {', '.join(names)}.")
        chosen |= dict(zip(names, groups, strict=True))
    else:
        chosen |= dict.fromkeys(names, groups)
    chosen |= given
    for name, value in chosen.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= 4095:
            raise OneSpikeError(f"groups of layer {name!r} must be a whole number in 1..4095, not {value!r}.")
    most = {name: most_groups(nodes[name]) if name in nodes else 4095 for name in chosen}
    return {name: min(int(value), most[name]) for name, value in chosen.items()}

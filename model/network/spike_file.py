# SPDX-License-Identifier: Apache-2.0
"""The `.spike` file: a zip of `manifest.json` and one `.npy` per array; docs/spike-format.md describes it."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OneSpikeError
from ..system import bounded
from ..system.files import write_atomically
from .arrangement import Arrangement
from .levels import Levels
from .membranes import Membranes
from .outputs import Output
from .spec import Image, Layer, Pool, Source, SpikeNet

FORMAT_VERSION = 8
UP_VERSION = 7  # of networks whose pixels have 8 bits at most: what wrote it reads them, too
NAMED_VERSION = 6  # of networks that make no map larger: what wrote it reads them, too
ARRANGED_VERSION = 5  # of those whose outputs have no names
GROUPS_VERSION = 4  # of networks whose images the host does not rearrange: what wrote it reads them, too
STEPS_VERSION = 3  # of those all of whose sources are dense
TABLES_VERSION = 2  # of those without membranes and nodes of a graph
COUNTS_VERSION = 1  # of those whose layers all fire counts 0..g
MANIFEST = "manifest.json"
MOST_MANIFEST = 8 << 20  # bytes of it: JSON takes twenty times as much memory


def contents(net: SpikeNet) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The geometry as JSON, and the arrays by file name."""
    arrays: dict[str, np.ndarray] = {}
    layers = []
    for index, layer in enumerate(net.layers):
        entry: dict[str, Any] = {"name": layer.name, "groups": layer.groups, "step": layer.step, "sources": []}
        entry["pool"] = dataclasses.asdict(layer.pool) if layer.pool is not None else None
        if layer.levels is not None:
            entry["levels"] = dataclasses.asdict(layer.levels)
        elif layer.low:
            entry["low"] = layer.low
        arrays[f"{index}.bias"], arrays[f"{index}.shift"] = layer.bias, layer.shift
        for position, source in enumerate(layer.sources):
            arrays[f"{index}.{position}.weights"] = source.weights
            keys = ("tensor", "stride", "padding", "dilation", "shift")
            found = {key: getattr(source, key) for key in keys}
            found |= {"groups": source.groups} if source.groups > 1 else {}
            entry["sources"].append(found | ({"up": source.up, "held": source.held} if source.up != (1, 1) else {}))
        layers.append(entry)
    image = dataclasses.asdict(net.image)
    if not net.image.first:
        del image["first"]
    if not net.image.channels_last:
        del image["channels_last"]
    if net.image.arrangement is None:
        del image["arrangement"]
    geometry: dict[str, Any] = {"image": image, "layers": layers, "weight_bits": net.weight_bits}
    if net.places > 1:
        geometry["places"] = net.places
    if net.outputs:
        geometry["outputs"] = [dataclasses.asdict(output) for output in net.outputs]
    if net.membranes is not None:
        geometry["steps"] = net.membranes.steps
        for index, layer in enumerate(net.layers[:-1]):
            arrays[f"{index}.theta"] = net.membranes.theta[layer.name]
            arrays[f"{index}.start"] = net.membranes.start[layer.name]
    return geometry, arrays


def save(net: SpikeNet, path: Path) -> None:
    """Write the file: equal networks give equal bytes, and a file is there whole or not at all."""
    geometry, arrays = contents(net)
    counts = not net.image.first and all(layer.levels is None and not layer.low for layer in net.layers)
    plain = net.membranes is None and not net.image.channels_last and net.places == 1
    version = (COUNTS_VERSION if counts else TABLES_VERSION) if plain else STEPS_VERSION
    if any(source.groups > 1 for layer in net.layers for source in layer.sources):
        version = GROUPS_VERSION
    if net.image.arrangement is not None:
        version = ARRANGED_VERSION
    if net.outputs:
        version = NAMED_VERSION
    if any(source.up != (1, 1) for layer in net.layers for source in layer.sources):
        version = UP_VERSION
    if net.image.bits > 8:
        version = FORMAT_VERSION
    manifest = {"format": "onespike", "version": version, **geometry, "hash": net.hash, "meta": net.meta}
    text = json.dumps(manifest, indent=1, sort_keys=True).encode()
    if len(text) > MOST_MANIFEST:
        raise OneSpikeError(
            f"Geometry and facts of the network take {len(text):,} bytes, more than the {MOST_MANIFEST:,} that a "
            f".spike file has room for; keep fewer facts in meta."
        )
    members = {MANIFEST: text}
    for name in sorted(arrays):
        data = io.BytesIO()
        np.lib.format.write_array(data, arrays[name], version=(1, 0), allow_pickle=False)
        members[f"{name}.npy"] = data.getvalue()
    packed = _zip(members, zipfile.ZIP_DEFLATED)
    if sum(map(len, members.values())) > bounded.allowance(len(packed)):
        packed = _zip(members, zipfile.ZIP_STORED)  # nearly nothing but zeros: a reader would take it for a bomb
    write_atomically(path, packed)


def _zip(members: dict[str, bytes], method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()


def load(path: Path) -> SpikeNet:
    """Read and validate a file; whatever is wrong with it is one OneSpikeError."""
    broken = f"{path} is not a complete .spike file; convert the network again"
    try:
        with bounded.opened(path) as (file, size):
            archive = bounded.Archive(file, size)
            manifest = json.loads(archive.read(MANIFEST, MOST_MANIFEST))
            if manifest.get("format") != "onespike":
                raise OneSpikeError(f"{broken} (the manifest does not name the format).")
            if type(version := manifest["version"]) is not int:
                raise OneSpikeError(f"{broken} (its version is no integer).")
            if version > FORMAT_VERSION:
                raise OneSpikeError(
                    f"{path} has format version {version}, newer than the {FORMAT_VERSION} that this OneSpike reads; "
                    f"upgrade onespike."
                )
            try:
                net = _network(manifest, archive)
            except OneSpikeError as error:
                raise OneSpikeError(f"{broken} ({bounded.shown(str(error).rstrip('.'))}).") from None
    except OneSpikeError:
        raise
    except bounded.Damaged as reason:
        raise OneSpikeError(f"{broken} ({reason}).") from None
    except Exception as error:  # a damaged manifest can fail in a dozen ways
        raise OneSpikeError(f"{broken} ({bounded.shown(f'{type(error).__name__}: {error}')}).") from None
    if net.hash != manifest.get("hash"):
        raise OneSpikeError(f"{broken} (its contents do not match its hash).")
    return net


def _network(manifest: dict[str, Any], archive: bounded.Archive) -> SpikeNet:
    layers = []
    for index, entry in enumerate(manifest["layers"]):
        sources = tuple(
            Source(
                tensor=s["tensor"],
                weights=archive.array(f"{index}.{position}.weights"),
                shift=s["shift"],
                groups=s.get("groups", 1),
                up=tuple(s.get("up", (1, 1))),
                held=bool(s.get("held", False)),
                **{key: tuple(s[key]) for key in ("stride", "padding", "dilation")},
            )
            for position, s in enumerate(entry["sources"])
        )
        pool = entry["pool"]
        if pool is not None:
            pool = Pool(kind=pool["kind"], **{key: tuple(pool[key]) for key in ("kernel", "stride", "padding")})
        levels = entry.get("levels")
        if levels is not None:
            levels = Levels(tuple(levels["levels"]), tuple(levels["thresholds"]), levels["fraction"])
        layers.append(
            Layer(
                name=entry["name"],
                sources=sources,
                bias=archive.array(f"{index}.bias"),
                shift=archive.array(f"{index}.shift"),
                groups=entry["groups"],
                pool=pool,
                step=entry["step"],
                low=entry.get("low", 0) if levels is None else levels.low,
                levels=levels,
            )
        )
    membranes = None
    if "steps" in manifest:
        theta, start = (
            {layer.name: archive.array(f"{index}.{name}") for index, layer in enumerate(layers[:-1])}
            for name in ("theta", "start")
        )
        membranes = Membranes(steps=manifest["steps"], theta=theta, start=start)
    image = manifest["image"]
    if "arrangement" in image:
        image["arrangement"] = _arrangement(image["arrangement"])
    return SpikeNet(
        image=Image(**(image | {key: tuple(image[key]) for key in ("shape", "scale", "offset", "pad_code")})),
        layers=tuple(layers),
        weight_bits=manifest["weight_bits"],
        places=manifest.get("places", 1),
        meta=manifest["meta"],
        membranes=membranes,
        outputs=tuple(
            Output(**(entry | {"arrangement": _arrangement(entry["arrangement"])}))
            for entry in manifest.get("outputs", [])
        ),
    )


def _arrangement(entry: dict[str, Any] | None) -> Arrangement | None:
    return None if entry is None else Arrangement(**entry)

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

from .errors import OneSpikeError
from .files import write_atomically
from .spec import Image, Layer, Pool, Source, SpikeNet

FORMAT_VERSION = 1


def contents(net: SpikeNet) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The geometry as JSON, and the arrays by file name."""
    arrays: dict[str, np.ndarray] = {}
    layers = []
    for index, layer in enumerate(net.layers):
        entry: dict[str, Any] = {"name": layer.name, "groups": layer.groups, "step": layer.step, "sources": []}
        entry["pool"] = dataclasses.asdict(layer.pool) if layer.pool is not None else None
        arrays[f"{index}.bias"], arrays[f"{index}.shift"] = layer.bias, layer.shift
        for position, source in enumerate(layer.sources):
            arrays[f"{index}.{position}.weights"] = source.weights
            keys = ("tensor", "stride", "padding", "dilation", "shift")
            entry["sources"].append({key: getattr(source, key) for key in keys})
        layers.append(entry)
    return {"image": dataclasses.asdict(net.image), "layers": layers, "weight_bits": net.weight_bits}, arrays


def save(net: SpikeNet, path: Path) -> None:
    """Write the file: equal networks give equal bytes, and a file is there whole or not at all."""
    geometry, arrays = contents(net)
    manifest = {"format": "onespike", "version": FORMAT_VERSION, **geometry, "hash": net.hash, "meta": net.meta}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        text = json.dumps(manifest, indent=1, sort_keys=True).encode()
        archive.writestr(zipfile.ZipInfo("manifest.json"), text, zipfile.ZIP_DEFLATED)
        for name in sorted(arrays):
            data = io.BytesIO()
            np.lib.format.write_array(data, arrays[name], version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), data.getvalue(), zipfile.ZIP_DEFLATED)
    write_atomically(path, buffer.getvalue())


def load(path: Path) -> SpikeNet:
    """Read and validate a file; whatever is wrong with it is one OneSpikeError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OneSpikeError(f"Cannot read {path}: {error.strerror}.") from None
    broken = f"{path} is not a complete .spike file; convert the network again"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            manifest = json.loads(archive.read("manifest.json"))
            if manifest.get("format") != "onespike":
                raise OneSpikeError(f"{broken} (the manifest does not name the format).")
            if manifest["version"] > FORMAT_VERSION:
                raise OneSpikeError(
                    f"{path} has format version {manifest['version']}, newer than the {FORMAT_VERSION} that this "
                    f"OneSpike reads; upgrade onespike."
                )
            net = _network(manifest, archive)
    except OneSpikeError:
        raise
    except Exception as error:  # a damaged zip or header can fail in a dozen ways
        raise OneSpikeError(f"{broken} ({type(error).__name__}: {error}).") from None
    if net.hash != manifest.get("hash"):
        raise OneSpikeError(f"{broken} (its contents do not match its hash).")
    return net


def _network(manifest: dict[str, Any], archive: zipfile.ZipFile) -> SpikeNet:
    def array(name: str) -> np.ndarray:
        return np.lib.format.read_array(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)

    layers = []
    for index, entry in enumerate(manifest["layers"]):
        sources = tuple(
            Source(
                tensor=s["tensor"],
                weights=array(f"{index}.{position}.weights"),
                shift=s["shift"],
                **{key: tuple(s[key]) for key in ("stride", "padding", "dilation")},
            )
            for position, s in enumerate(entry["sources"])
        )
        pool = entry["pool"]
        if pool is not None:
            pool = Pool(kind=pool["kind"], **{key: tuple(pool[key]) for key in ("kernel", "stride", "padding")})
        layers.append(
            Layer(
                name=entry["name"],
                sources=sources,
                bias=array(f"{index}.bias"),
                shift=array(f"{index}.shift"),
                groups=entry["groups"],
                pool=pool,
                step=entry["step"],
            )
        )
    image = manifest["image"]
    return SpikeNet(
        image=Image(**(image | {key: tuple(image[key]) for key in ("shape", "scale", "offset", "pad_code")})),
        layers=tuple(layers),
        weight_bits=manifest["weight_bits"],
        meta=manifest["meta"],
    )

# SPDX-License-Identifier: Apache-2.0
"""Network files with a changed manifest."""

import hashlib
import io
import json
import warnings
import zipfile

import numpy as np


def digest(contents, members):
    """The hash of a network with this manifest and these members of the file."""
    geometry = {key: contents[key] for key in ("image", "layers", "weight_bits")}
    geometry |= {key: contents[key] for key in ("places", "outputs", "steps") if key in contents}
    made = hashlib.sha256(json.dumps(geometry, sort_keys=True).encode())
    for name in sorted(name.removesuffix(".npy") for name in members if name.endswith(".npy")):
        array = np.load(io.BytesIO(members[f"{name}.npy"]))
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is no integer
            made.update(name.encode() + array.astype("<i8").tobytes())
    return made.hexdigest()


def forged(path, out, change):
    """The file with a changed manifest whose hash is right."""
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    contents = json.loads(members["manifest.json"])
    change(contents)
    members["manifest.json"] = json.dumps(contents | {"hash": digest(contents, members)}).encode()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)

# SPDX-License-Identifier: Apache-2.0
"""What tests of commands share: a small network, its files, and the sentence that a mistake must give."""

import random
import struct
from pathlib import Path

import numpy as np

from blocks import head, weights
from onespike.cli import main
from onespike.model.network.spec import INPUT, Image, Layer, Pool, Source, SpikeNet

ENGINE = ["--banks", "2", "--lanes", "4"]


def small_net(side: int = 6) -> SpikeNet:
    rng = random.Random(1)
    conv = Layer(
        name="conv",
        sources=(Source(tensor=INPUT, weights=weights(rng, 5, 1, 3, 3), padding=(1, 1, 1, 1)),),
        bias=np.arange(5) * 10,
        shift=np.full(5, 7),
        groups=8,
        pool=Pool(kind="max", kernel=(2, 2), stride=(2, 2)),
    )
    return SpikeNet(
        image=Image(shape=(1, side, side)),
        layers=(conv, head(rng, "conv", (5, side // 2, side // 2), 3)),
        weight_bits=4,
    )


def write_idx(folder: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """A folder as MNIST comes, test split only."""
    folder.mkdir()
    for name, array in (("t10k-images-idx3-ubyte", images), ("t10k-labels-idx1-ubyte", labels)):
        header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        (folder / name).write_bytes(header + array.astype(np.uint8).tobytes())
    return folder


def fails(capsys, sentence: str, *arguments: object, code: int = 2) -> None:
    """Exactly this sentence on stderr, nothing on stdout, this exit code."""
    assert main([str(argument) for argument in arguments]) == code
    found = capsys.readouterr()
    assert found.err == f"onespike: {sentence}\n" and found.out == ""

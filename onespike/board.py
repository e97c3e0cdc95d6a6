# SPDX-License-Identifier: Apache-2.0
"""`onespike run` and `onespike board`: a network on a board, real or simulated."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress as Bar

from . import figures, outputs, tables
from .hw.counters import counter_names
from .model.errors import OneSpikeError
from .model.spec import SpikeNet
from .options import make_mapping
from .progress import Progress


def load_pictures(path: str | Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Images [N, C, H, W] of a picture or a .npy file; bytes become 0..1, floats stay as they are."""
    path = Path(path)
    if path.suffix == ".npy":
        from .model.data import load_images

        images = load_images(path)
        if images.ndim == 2:
            images = images[None, None]
        elif images.ndim == 3:
            images = images[None] if images.shape == shape else images[:, None]
    else:
        images = _picture(path, shape)
    if images.shape[1:] != shape:
        raise OneSpikeError(
            f"{path} holds images of {_size(images.shape[1:])}, but the network takes {_size(shape)} (channels x "
            f"height x width); scale them first."
        )
    if images.dtype == np.uint8:
        return images / np.float32(255)
    if not np.issubdtype(images.dtype, np.floating):
        raise OneSpikeError(f"{path} must hold bytes (0..255) or floating-point numbers, not {images.dtype}.")
    return images


def _picture(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L" if shape[0] == 1 else "RGB"))
    except UnidentifiedImageError:
        raise OneSpikeError(f"{path} is no picture; give a PNG file or a .npy file.") from None
    except (OSError, SyntaxError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is damaged"
        raise OneSpikeError(f"Cannot read the picture {path}: {reason}.") from None
    return pixels[None, None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)[None]


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def run_run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    from .fpga.host import Board
    from .fpga.link import SerialLink

    net = SpikeNet.load(args.net)
    images = load_pictures(args.images, net.image.shape)
    codes = net.image.quantise(images)
    link = SerialLink.open(args.port, baud=args.baud, timeout=args.timeout)
    with progress.stage("load", f"Loading the network through {args.port}") as stage:
        board = Board(link)
        mapping = board.load(net, guide=codes[:1])
        stage.note = f"{board.config.banks} banks x {board.config.lanes} lanes"
    with (
        progress.stage("classify", f"Classifying {len(codes)} images", spinner=False),
        Bar(console=progress.console, transient=True) as bar,
    ):
        task = bar.add_task("images", total=len(codes))
        answer = board.classify(codes, progress=lambda: bar.advance(task))
    counters = board.counters() if board.config.counters else np.zeros((0, 4), np.int64)
    for index, (label, logits) in enumerate(zip(answer.classes, answer.logits, strict=True)):
        console.print(f"image {index}: class {label}, logits {' '.join(map(str, logits))}", soft_wrap=True)
    if len(counters):
        console.print(f"{counters[:, 0].sum():,} cycles for the last image")
    return {
        "network": {"hash": net.hash},
        "hardware": figures.hardware(mapping),
        "classes": answer.classes.tolist(),
        "logits": answer.logits.tolist(),
        "counters": [dict(zip(counter_names(board.config), layer, strict=True)) for layer in counters.tolist()],
        "seconds": dict(progress.seconds),
    }


def run_board(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    from .sim.board import serve_board
    from .sim.verilator import find_verilator

    net = SpikeNet.load(args.net)
    find_verilator()
    mapping = make_mapping(args, net)
    config = mapping.config
    tables.facts(console, "Simulated board", [("engine", f"{config.banks} banks x {config.lanes} lanes, blank")])

    result = {"hardware": figures.hardware(mapping)}

    def ready(path: str) -> None:
        outputs.write_figures(args, result | {"port": path})  # now: the command ends when it is interrupted
        console.print(f"Serial port: {path}", soft_wrap=True)
        console.file.flush()

    serve_board(config, args.output, ready, link=args.pty)
    return result

# SPDX-License-Identifier: Apache-2.0
"""Epochs of the float network before it is converted: it loses its rows there, where it recovers sooner and an epoch
takes half of the time, and integers have only the rest to learn.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from ..convert.converter import Conversion
from ..errors import OneSpikeError
from ..frontend.graph import Graph
from . import distil as answers
from . import prune
from .clamped import FloatGraph, quick
from .data import Dataset
from .finetune import check_data
from .normalised import Normalised
from .train import Training, checkpoint_of, fit

RATE = 4e-3  # of learning; batch norm stands more than the integers
DECAY = 0.02  # of weights, which batch norm would let grow


def train_float(
    conversion: Conversion,
    data: Dataset,
    convert: Callable[[Graph], Conversion],
    *,
    epochs: int,
    rate: float = RATE,
    batch: int = 100,
    shift: int = 2,
    flip: bool = False,
    distil: float = 0.5,
    temperature: float = 1.0,
    mix: float = 0.0,
    prune_rows: float = 0.0,
    prune_lanes: int = 16,
    seed: int = 0,
    checkpoints: str | Path | None = None,
    progress: bool = True,
) -> Conversion:
    """Train the float network that a `Conversion` comes from, with batch norm (normalised.py), and convert it again.

    data: images in the module's own scale. convert: as `conversion` was made from its graph. All else is as in
    `finetune`. The result remembers the network as it was imported, so that fine-tuning goes on with the same teacher;
    weights of pruned rows are 0 and stay so. checkpoints: a folder that keeps the state after every epoch, and the last
    one for good, so that fine-tuning may be tried with other settings. Equal seeds give equal networks on the same
    machine and number of threads.
    Raises OneSpikeError as `finetune` and `Normalised` do.
    """
    if not len(data):
        raise OneSpikeError(f"The data set {data.name} is empty.")
    answers.check(distil, temperature, mix)
    prune.check(prune_rows, prune_lanes)
    check_data(conversion, data)
    pruning = prune.RowPruning(conversion, data.images, prune_rows, prune_lanes) if prune_rows else None
    kind = quick()
    model = Normalised(conversion, data.images, pruning, kind)
    plan = Training(
        epochs=epochs, batch=batch, rate=rate, decay=DECAY, warmup=0.1, shift=shift, flip=flip, mix=mix, seed=seed
    )
    chosen = [conversion.net.hash, asdict(plan), distil, temperature, prune_rows, prune_lanes, str(kind)]
    checkpoint = checkpoint_of(checkpoints, "float", chosen, data)
    after = None if pruning is None else functools.partial(pruning.after, kernels=model.kernels)
    loss = answers.distilled(FloatGraph(conversion, kind), distil, temperature)
    fit(model, data, plan, loss, "training in float", checkpoint=checkpoint, progress=progress, after=after, keep=True)
    made = convert(model.result())
    facts = {**conversion.facts, **({} if pruning is None else pruning.facts)}
    return dataclasses.replace(made, original=conversion.original, facts=facts)

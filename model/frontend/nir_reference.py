# SPDX-License-Identifier: Apache-2.0
"""What a NIR graph computes, node by node in float64: in one timestep as we read it, or step by step over T steps.

It is what every import is compared with, and it knows neither `affine` nor the builder. Step by step, a neuron keeps
its membrane: spikes come when they come, and so the counts behind the first layer differ from those of one timestep,
in which all of T steps have the same, mean current.
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .nir_graph import Passing, Plan
from .nir_ladders import Ladder
from .nir_neurons import NEURONS, spikes_of, step_of

NOISE = 1e-9  # of a threshold: what exceeds it by less equals it


def evaluate(
    plan: Plan,
    images: np.ndarray,
    steps: int,
    dt: float,
    *,
    stepped: bool = False,
    reset: str = "subtract",
    counts: dict[str, Any] | None = None,
) -> np.ndarray:
    """The mean over all steps of what leads to the output, float64 [N, ...].

    images: [N, ...] as the input takes them. stepped: with membranes, step by step. reset: of these, "subtract" or
    "zero". counts: receives what each neuron fires, as a share of all steps.
    """
    membranes: dict[str, np.ndarray] = {}
    total: np.ndarray | float = 0.0
    rounds = steps if stepped else 1
    for _ in range(rounds):
        values: dict[str, np.ndarray] = {plan.input: images.astype(np.float64)}
        for name in plan.order[1:]:
            x = sum(values[source] for source in plan.before[name])
            node = plan.nodes[name]
            if isinstance(node, NEURONS):
                values[name] = _fired(name, node, x, membranes, dt, reset) if stepped else _at_once(node, x, steps, dt)
            else:
                values[name] = compute(node, np.asarray(x))
            if counts is not None and isinstance(node, (*NEURONS, Ladder)):
                counts[name] = counts.get(name, 0.0) + values[name] / rounds
        total = total + values[plan.output]
    return np.asarray(total) / rounds


def _at_once(node: Any, x: np.ndarray | float, steps: int, dt: float) -> np.ndarray:
    """The share of steps in which a neuron fires under a constant current."""
    step = step_of(node, dt)
    most = spikes_of(node, step, steps)
    whole = most * fit(step.gain, x) * x / fit(np.asarray(node.v_threshold, np.float64), x)
    return np.clip(np.ceil(whole - NOISE * most) - 1, 0, most) / most


def _fired(name: str, node: Any, x: Any, membranes: dict[str, np.ndarray], dt: float, reset: str) -> np.ndarray:
    """The spikes of one step."""
    step, theta = step_of(node, dt), fit(np.asarray(node.v_threshold, np.float64), x)
    membrane = (1 - fit(step.loss, x)) * membranes.get(name, 0.0) + fit(step.gain, x) * x
    spikes = membrane > theta * (1 + NOISE)
    membranes[name] = membrane - (theta if reset == "subtract" else membrane) * spikes
    return spikes.astype(np.float64)


def fit(values: np.ndarray, x: Any) -> np.ndarray:
    """Numbers of a neuron that x [N, ...] is broadcast with: one per channel stands for all of its places."""
    while values.ndim > x.ndim - 1 and len(values) == 1:
        values = values[0]
    if values.ndim == 1 and values.size == x.shape[1]:
        return values.reshape(-1, *[1] * (x.ndim - 2))
    return values


def compute(node: Any, x: np.ndarray) -> np.ndarray:
    """A node without state of x [N, ...]."""
    if isinstance(node, nir.Affine | nir.Linear):
        total = x.reshape(len(x), -1) @ np.asarray(node.weight, np.float64).T
        return total + np.asarray(node.bias, np.float64) if isinstance(node, nir.Affine) else total
    if isinstance(node, nir.Conv1d):
        padding = node.padding if isinstance(node.padding, str) else (0, _pair(node.padding)[1])
        stride, gaps = (1, _pair(node.stride)[1]), (1, _pair(node.dilation)[1])
        weights = np.asarray(node.weight)[:, :, None]
        return _convolved(x[:, :, None], weights, node.bias, stride, padding, gaps, int(node.groups))[:, :, 0]
    if isinstance(node, nir.Conv2d):
        padding = node.padding if isinstance(node.padding, str) else _pair(node.padding)
        stride, gaps, weights = _pair(node.stride), _pair(node.dilation), np.asarray(node.weight)
        return _convolved(x, weights, node.bias, stride, padding, gaps, int(node.groups))
    if isinstance(node, nir.SumPool2d | nir.AvgPool2d):
        windows = _windows(x, node)
        return windows.sum((-2, -1)) if isinstance(node, nir.SumPool2d) else windows.mean((-2, -1))
    if isinstance(node, nir.Scale):
        return x * fit(np.asarray(node.scale, np.float64), x)
    if isinstance(node, nir.Flatten):
        return x.reshape(len(x), -1)
    if isinstance(node, Ladder):
        rungs = [node.first + (0 if node.gap is None else index * node.gap) for index in range(node.count)]
        spikes = [(x > fit(rung, x) * (1 + NOISE * np.sign(fit(rung, x)))).astype(np.float64) for rung in rungs]
        total = sum(s if node.pool is None else _windows(s, node.pool).max((-2, -1)) for s in spikes)
        return np.asarray(total)
    assert isinstance(node, nir.Output | Passing), f"{type(node).__name__} was imported"
    return x


def _pair(values: Any) -> tuple[int, int]:
    low, high = np.broadcast_to(np.asarray(values).reshape(-1), 2)
    return int(low), int(high)


def _windows(x: np.ndarray, pool: Any) -> np.ndarray:
    """Windows [N, C, H, W, kernel height, kernel width] of a map, zeros around it."""
    (high, wide), stride = _pair(pool.padding), _pair(pool.stride)
    padded = np.pad(x, ((0, 0), (0, 0), (high, high), (wide, wide)))
    return sliding_window_view(padded, _pair(pool.kernel_size), (2, 3))[:, :, :: stride[0], :: stride[1]]


def _convolved(
    x: np.ndarray, weights: np.ndarray, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> np.ndarray:
    spans = [gap * (size - 1) for gap, size in zip(dilation, weights.shape[2:], strict=True)]
    if padding == "same":
        ends = [(span // 2, span - span // 2) for span in spans]
    else:
        ends = [(0, 0)] * 2 if padding == "valid" else [(p, p) for p in padding]
    padded = np.pad(x, ((0, 0), (0, 0), *ends))
    seen = sliding_window_view(padded, [span + 1 for span in spans], (2, 3))
    seen = seen[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    parts = zip(np.split(seen, groups, 1), np.split(weights.astype(np.float64), groups, 0), strict=True)
    total = np.concatenate([np.einsum("nchwyx,ocyx->nohw", s, w, optimize=True) for s, w in parts], 1)
    return total if bias is None else total + np.asarray(bias, np.float64).reshape(-1, 1, 1)


# SPDX-License-Identifier: Apache-2.0
"""From a trained network and some of its images to the integer network: clip levels, then `quantise`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from . import golden
from .errors import OneSpikeError
from .graph import Graph, Node
from .quantise import Arithmetic, Scale, image_scale, output_scale, quantise, quantise_node
from .spec import INPUT, Image, Layer, Source, SpikeNet

if TYPE_CHECKING:
    import torch
BINS = 2048


@dataclass(frozen=True, kw_only=True)
class Calibration:
    clip: str = "mse"
    percentile: float = 99.9
    per_channel: bool = True
    bias_correction: bool = True
    near: bool = True


def calibrate(graph, image, images, groups, arithmetic, options):
    scales = {INPUT: image_scale(image)}
    codes = {INPUT: image.quantise(images).transpose(0, 2, 3, 1).astype(np.float32)}
    floats = {INPUT: np.ascontiguousarray(images.transpose(0, 2, 3, 1), dtype=np.float32)}
    last = {t: names[-1] for t, names in graph.users().items() if names}
    steps = {}
    nodes = []
    for node in graph.nodes:
        g = groups.get(node.name, 0)
        wanted = _batched(graph, node, floats, lambda t: graph.sums(node, t))
        if not node.exact and node.fires:
            values = np.maximum(wanted, 0) if node.ceiling is None else np.clip(wanted, 0, node.ceiling)
            if node.pool is not None and node.pool.kind == "max":
                values = golden.pool(values, node.pool)
            clip = _clips(values, g, options, arithmetic.nearest)
            if node.ceiling is not None:
                clip = np.minimum(clip, node.ceiling)
            steps[node.name] = clip / g
        step = steps.get(node.name, np.ones(node.channels))
        layer = quantise_node(node, scales, step, g, arithmetic)
        acc = _batched(graph, node, codes, lambda t: _sums(layer, t, image))
        if options.bias_correction and not node.exact:
            real = (acc - layer.bias) * (step * 2.0 ** -layer.shift.astype(float) if node.fires else layer.step)
            off = node.bias + sum(np.einsum("oihw,i->o", t.weights, scales[t.tensor].offset) for t in node.terms)
            real = real + off
            fix = correct(real, wanted, node, step, g, options)
            node = dataclasses.replace(node, bias=node.bias + fix)
            new = quantise_node(node, scales, step, g, arithmetic)
            acc = acc + (new.bias - layer.bias)
            layer = new
        nodes.append(node)
        codes[node.name] = _fire(layer, acc)
        if node.fires:
            f = wanted if node.exact else np.clip(wanted, 0, node.ceiling)
            floats[node.name] = golden.pool(f, node.pool) if node.pool is not None else f
        scales[node.name] = output_scale(node, step, g, scales)
        for t in [t for t in codes if last.get(t) == node.name]:
            del codes[t], floats[t]
    return dataclasses.replace(graph, nodes=tuple(nodes)), steps


def correct(real, wanted, node, step, g, options):
    if options.bias_correction == "pre" or not node.fires:
        return (wanted - real).mean((0, 1, 2), dtype=np.float64)
    # post-activation
    w = np.clip(wanted, 0, node.ceiling).mean((0, 1, 2), dtype=np.float64)
    fix = np.zeros(node.channels)
    for _ in range(4):
        q = np.clip(np.floor((real + fix.astype(np.float32)) / step.astype(np.float32) + (.5 if options.near else 0)), 0, g)
        got = q.mean((0, 1, 2), dtype=np.float64) * step
        live = ((real + fix > 0) & (real + fix < g * step)).mean((0, 1, 2))
        fix += (w - got) / np.maximum(live, .1) * .7
    return fix


def _batched(graph, node, tensors, f):
    n = len(next(iter(tensors.values())))
    out = []
    for part in graph.chunks(n):
        out.append(f({k: v[part] for k, v in tensors.items()}))
    return np.concatenate(out)


def _sums(layer, tensors, image):
    total = layer.bias.astype(np.float32)
    for s in layer.sources:
        m = s.weights.transpose(2, 3, 1, 0).reshape(-1, layer.channels).astype(np.float32)
        pad = np.array(image.pad_code, np.float32) if s.tensor == INPUT else None
        total = total + golden.accumulate(tensors[s.tensor], s, m, pad)
    return total


def _fire(layer, acc):
    if not layer.fires:
        return acc
    n = np.clip(np.floor(acc * (2.0 ** -layer.shift.astype(np.float32)).astype(np.float32)), 0, layer.groups)
    return golden.pool(n, layer.pool) if layer.pool is not None else n


def _clips(values, g, options, nearest):
    c = values.shape[-1]
    flat = values.reshape(-1, c)
    if not options.per_channel:
        flat = flat.reshape(-1, 1)
    tops = flat.max(0)
    tops = np.where(tops > 0, tops, max(float(tops.max()), 1e-6))
    out = np.empty(flat.shape[1])
    for i in range(flat.shape[1]):
        h, e = np.histogram(flat[:, i], BINS, (0, tops[i]))
        x = (e[1:] + e[:-1]) / 2
        if options.clip == "percentile":
            cs = np.cumsum(h) / h.sum()
            out[i] = e[1:][np.searchsorted(cs, options.percentile / 100)]
            continue
        cand = np.linspace(.02, 1, 150)[:, None] * tops[i]
        d = cand / g
        n = np.clip(np.floor(x / d + (.5 if nearest else 0)), 0, g)
        h[0] = 0
        err = (h * (x - n * d) ** 2).sum(1)
        out[i] = cand[err.argmin(), 0]
    if options.per_channel:
        out = np.maximum(out, out.max() * 1e-2)
    return np.broadcast_to(out, c).copy()

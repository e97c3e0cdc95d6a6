# SPDX-License-Identifier: Apache-2.0
"""Threshold nodes on one sum that the same nodes read are the spikes of one count: found and put together.

So `nir_export` writes counts, and so a maximum of them: neuron by neuron, whether any of a window fired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np

from .nir_graph import Plan

EVEN = 1e-6  # of the distance between two thresholds: what is nearer counts as evenly spaced


@dataclass(frozen=True, kw_only=True, eq=False)
class Ladder:
    """Spikes where the sum exceeds first, first + gap, .., as many as `count`: all of them added up.

    first, gap: float64 in the shape of the neurons; gap is None where there is one spike. pool: the SumPool2d, if any,
    over whose windows the maximum of the count is taken.
    """

    first: np.ndarray
    gap: np.ndarray | None
    count: int
    pool: Any = None


def with_ladders(plan: Plan) -> Plan:
    """The same plan with every Threshold node, alone or with others on the same sum, as a Ladder."""
    after = plan.after()
    chains: dict[str, tuple[str, ...]] = {}
    rows: dict[tuple[Any, ...], list[str]] = {}
    taken: set[str] = set()
    for name in plan.order:
        if not isinstance(plan.nodes[name], nir.Threshold) or name in taken:
            continue
        chain = chains[name] = _chain(plan, after, name)
        taken.update(chain)
        sides = _sides(plan.nodes[chain[1]]) if len(chain) > 1 else ()
        key = (plan.before[name], sides, after[chain[-1]], np.shape(plan.nodes[name].threshold))
        rows.setdefault(key, []).append(name)
    nodes = dict(plan.nodes)
    alias: dict[str, str] = {}
    for row in rows.values():
        for names, levels in _parts(plan, row):
            gap = levels[1] - levels[0] if len(names) > 1 else None
            pool = plan.nodes[chains[names[0]][1]] if len(chains[names[0]]) > 1 else None
            nodes[names[0]] = Ladder(first=levels[0], gap=gap, count=len(names), pool=pool)
            alias |= {part: names[0] for name in names for part in chains[name]}
    order = tuple(name for name in plan.order if alias.get(name, name) == name)
    before = {name: tuple(dict.fromkeys(alias.get(read, read) for read in plan.before[name])) for name in order}
    return Plan(nodes={name: nodes[name] for name in order}, before=before, order=order, metadata=plan.metadata)


def _chain(plan: Plan, after: dict[str, tuple[str, ...]], name: str) -> tuple[str, ...]:
    """The Threshold alone, or with the SumPool2d and the Threshold behind it that make a maximum of it."""
    if len(after[name]) != 1:
        return (name,)
    pool = after[name][0]
    if not isinstance(plan.nodes[pool], nir.SumPool2d) or plan.before[pool] != (name,) or len(after[pool]) != 1:
        return (name,)
    last = after[pool][0]
    node = plan.nodes[last]
    if not isinstance(node, nir.Threshold) or plan.before[last] != (pool,):
        return (name,)
    level = np.asarray(node.threshold, np.float64)
    return (name, pool, last) if ((level >= 0) & (level < 1)).all() else (name,)


def _sides(pool: Any) -> tuple[tuple[float, ...], ...]:
    """Kernel, stride and padding of a pool, to compare."""
    fields = (pool.kernel_size, pool.stride, pool.padding)
    return tuple(tuple(np.asarray(field, np.float64).reshape(-1)) for field in fields)


def _parts(plan: Plan, row: Sequence[str]) -> list[tuple[list[str], np.ndarray]]:
    """The names of a row of Threshold nodes, by threshold, and these [names, neurons ..]; one part if evenly apart."""
    levels = {name: np.asarray(plan.nodes[name].threshold, np.float64) for name in row}
    names = sorted(row, key=lambda name: float(levels[name].min(initial=0)))
    table = np.array([levels[name] for name in names])
    gaps = np.diff(table, axis=0)
    if len(names) > 1 and (gaps > 0).all() and np.allclose(gaps, gaps[:1], rtol=EVEN, atol=0):
        return [(names, table)]
    return [([name], levels[name][None]) for name in names]

# SPDX-License-Identifier: Apache-2.0
"""A NIR file or graph as nodes in execution order: read, checked for its shape, its subgraphs opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nir

from ..errors import OneSpikeError
from .network_file import existing

OPENED = 64  # subgraphs in subgraphs, at most


class Passing:
    """The input or output of a subgraph, which only passes on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """order: names of the nodes that the output depends on, the input first and the output last. before: for each of
    them those whose results it adds up. metadata: of the whole graph.
    """

    nodes: Mapping[str, Any]
    before: Mapping[str, tuple[str, ...]]
    order: tuple[str, ...]
    metadata: Mapping[str, Any]

    @property
    def input(self) -> str:
        return self.order[0]

    @property
    def output(self) -> str:
        return self.order[-1]

    def after(self) -> dict[str, tuple[str, ...]]:
        """For each node those that read it."""
        found: dict[str, tuple[str, ...]] = dict.fromkeys(self.order, ())
        for name in self.order:
            for reader in self.before[name]:
                found[reader] = (*found[reader], name)
        return found


def read(network: Any) -> tuple[nir.NIRGraph, str]:
    """The graph of a path, or of a NIRGraph itself, and what messages call it."""
    if isinstance(network, nir.NIRGraph):
        return network, "The NIR graph"
    path = existing(network)
    try:
        graph = nir.read(path, type_check=False)  # its shape rules take groups and uneven kernels for errors
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0].rstrip(".") or type(error).__name__
        raise OneSpikeError(f"{path} is not a NIR file ({reason}); write it with nir.write(path, graph).") from None
    if not isinstance(graph, nir.NIRGraph):
        raise OneSpikeError(f"{path} holds a single {type(graph).__name__}; write a whole nir.NIRGraph.")
    return graph, str(path)


def plan(graph: nir.NIRGraph, where: str) -> Plan:
    """The nodes of the graph in order; OneSpikeError for loops, and for more than one input or output."""
    nodes, edges = _opened(graph, where)
    before: dict[str, tuple[str, ...]] = dict.fromkeys(nodes, ())
    for source, target in edges:
        for end in (source, target):
            if end not in nodes:
                raise OneSpikeError(f"{where} has an edge at {end!r}, which is no node of it; export it again.")
        if source in before[target]:
            raise OneSpikeError(f"{where} has the edge from {source!r} to {target!r} twice; export it again.")
        before[target] = (*before[target], source)
    ends = []
    for kind in (nir.Input, nir.Output):
        found = [name for name, node in nodes.items() if type(node) is kind]
        if len(found) != 1:
            raise OneSpikeError(
                f"{where} has {len(found)} {kind.__name__} nodes{_listed(found)}; a network has one input and one "
                f"output, so export that part alone."
            )
        ends += found
    order = _order(before, ends[1], where)
    for name in order:
        if not before[name] and name != ends[0]:
            raise OneSpikeError(
                f"{called(name, nodes[name])}: nothing leads to it; connect it, or leave it out of the export."
            )
    if ends[0] not in order:
        raise OneSpikeError(f"The output of {where} does not depend on its input; export it again.")
    order = [ends[0], *(name for name in order if name != ends[0])]
    metadata = graph.metadata if isinstance(graph.metadata, Mapping) else {}
    return Plan(
        nodes={n: nodes[n] for n in order}, before={n: before[n] for n in order}, order=tuple(order), metadata=metadata
    )


def called(name: str, node: Any) -> str:
    return f"Node {name!r} ({type(node).__name__})"


def _listed(names: list[str]) -> str:
    return f" ({', '.join(names[:4])}{', ..' if len(names) > 4 else ''})" if names else ""


def _opened(graph: nir.NIRGraph, where: str, depth: int = 0) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Nodes and edges with those of subgraphs in their place; their inputs and outputs only pass on."""
    if depth > OPENED:
        raise OneSpikeError(f"{where} has more than {OPENED} subgraphs in each other; export it flat.")
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    doors: dict[str, tuple[str, str]] = {}
    for name, node in graph.nodes.items():
        if not isinstance(node, nir.NIRGraph):
            nodes[name] = node
            continue
        inner, inside = _opened(node, where, depth + 1)
        found = []
        for kind in (nir.Input, nir.Output):
            ends = [key for key, part in inner.items() if type(part) is kind]
            if len(ends) != 1:
                raise OneSpikeError(
                    f"Node {name!r} (NIRGraph): it has {len(ends)} {kind.__name__} nodes; one of each is supported."
                )
            found.append(f"{name}.{ends[0]}")
        doors[name] = (found[0], found[1])
        nodes |= {f"{name}.{key}": Passing() if f"{name}.{key}" in found else part for key, part in inner.items()}
        edges += [(f"{name}.{a}", f"{name}.{b}") for a, b in inside]
    for a, b in graph.edges:
        edges.append((doors[a][1] if a in doors else a, doors[b][0] if b in doors else b))
    return nodes, edges


def _order(before: Mapping[str, tuple[str, ...]], output: str, where: str) -> list[str]:
    """The nodes that `output` depends on, each behind those that it reads."""
    order: list[str] = []
    done: set[str] = set()
    path, waiting = [output], [(output, iter(before[output]))]
    while waiting:
        name, rest = waiting[-1]
        for source in rest:
            if source in path:
                loop = [*path[path.index(source) :], source]
                raise OneSpikeError(
                    f"{where} is recurrent ({' <- '.join(loop[:5])}{' ..' if len(loop) > 5 else ''}), but one timestep "
                    f"has no earlier one to read; train it without recurrent connections."
                )
            if source not in done:
                path.append(source)
                waiting.append((source, iter(before[source])))
                break
        else:
            waiting.pop()
            path.pop()
            done.add(name)
            order.append(name)
    return order

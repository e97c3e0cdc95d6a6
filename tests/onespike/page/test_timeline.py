# SPDX-License-Identifier: Apache-2.0
"""What banks do, job by job: it adds up to the counters, no bank does two things at a time, and a trace holds it."""

import itertools

import numpy as np
import pytest

from command_line import small_net
from onespike.hw.config import EngineConfig
from onespike.model.cost.cycles import predict
from onespike.model.cost.external import ExternalMemory
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.network import golden
from onespike.page import timeline


def found(**options):
    net = small_net(8)
    mapping = map_network(net, fit_config(net, EngineConfig(**({"lanes": 4, "fire_lanes": 4} | options))))
    codes = np.random.default_rng(3).integers(0, 256, (1, 1, 8, 8), dtype=np.uint8)
    codes[..., :4] = 0  # jobs without events
    result = golden.run(net, codes, layers=True)
    fields = {name: field[0] for name, field in mapping.golden_fields(result.codes).items()}
    return mapping, fields, timeline.timeline(mapping, fields, ExternalMemory())


@pytest.mark.parametrize("options", [{"banks": 1}, {"banks": 4}, {"banks": 8}, {"banks": 2, "shadows": 3},
                                     {"banks": 2, "external_weights": 64, "weight_depth": 64}])  # fmt: skip
def test_jobs_add_up(options):
    mapping, fields, line = found(**options)
    without = predict(mapping, fields)
    for layer, plain, jobs in zip(line.layers, without, line.jobs, strict=True):
        assert (layer.cycles, layer.event) == (plain.cycles, plain.event)  # asking changes nothing
        assert sum(job.events for job in jobs) == layer.event
        for bank in range(mapping.config.banks):
            own = [job for job in jobs if job.bank == bank]
            assert all(job.events <= job.last - job.first + 1 for job in own)
            assert all(before.last < after.first for before, after in itertools.pairwise(own))
        drains = [job.drained for job in jobs]
        assert all(before[1] < after[0] for before, after in itertools.pairwise(drains))
        assert drains[-1][1] < layer.cycles
    busy = timeline.busy(line, mapping.config.banks, 50)
    assert busy.max() <= 1 + 1e-9
    assert busy.sum() * line.cycles / 50 == pytest.approx(sum(layer.event for layer in line.layers))


def test_trace():
    mapping, _, line = found(banks=2)
    made = timeline.trace(line, mapping, "net")
    names = [event["args"]["name"] for event in made["traceEvents"] if event["name"] == "thread_name"]
    assert names == ["layers", "bank 0", "bank 1", "drain, fire and pool"]
    spans = [event for event in made["traceEvents"] if event["ph"] == "X"]
    assert [span["name"] for span in spans if span["tid"] == 0] == [layer.name for layer in line.layers]
    assert max(span["ts"] + span["dur"] for span in spans) == line.cycles
    assert len(spans) == len(line.layers) + 2 * sum(map(len, line.jobs))
    assert made["otherData"]["jobs"] == "all"


def test_trace_of_a_large_network(monkeypatch):
    mapping, _, line = found(banks=2)
    monkeypatch.setattr(timeline, "MOST_JOBS", 10)
    made = timeline.trace(line, mapping, "net")
    assert len([event for event in made["traceEvents"] if event["ph"] == "X"]) == len(line.layers)
    assert made["otherData"]["jobs"] == "left out, more than 10"

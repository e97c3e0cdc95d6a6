# SPDX-License-Identifier: Apache-2.0
import random

import numpy as np
import pytest
from amaranth.lib import data

from onespike.hw.config import EngineConfig
from onespike.hw.engine.fire import Fire, code_width, fire_latency, population
from onespike.hw.engine.levels import rows_at_once
from onespike.hw.engine.tables import table_entry
from onespike.hw.program import layer_fields
from onespike.model.mapping.tables import Table, table_rows
from onespike.model.network.codes import encode
from onespike.model.network.golden import pool
from onespike.model.network.spec import Pool
from onespike.model.neurons.count import count
from onespike.model.neurons.levels import levels
from onespike.model.neurons.psg import psg
from onespike.sim.stream import run_pipeline

IDLE = {"row": 0, "first": 0, "last": 0, "row_last": 0, "layer_last": 0}


def config(code: str, groups: int, **change) -> EngineConfig:
    top = {"max_groups": groups, "max_code": 4 * groups if code == "radix" else groups}
    return EngineConfig(**{"lanes": 4, "fire_lanes": 2, "acc_bits": 14, "code": code, "pool_depth": 8, **top} | change)


def rtl(
    setup: EngineConfig,
    layer: dict[str, int],
    sums: np.ndarray,
    shift: np.ndarray,
    *,
    gap: float = 0,
    seed: int = 0,
    table: Table | None = None,
) -> np.ndarray:
    """Codes [pixels, channels] of sums [pixels, places of the window, channels], with random pauses between rows.

    table: what is written before the first sum.
    """
    rng = random.Random(seed)
    pixels, places, channels = sums.shape
    width = setup.fire_lanes
    steps = []
    for pixel in range(pixels):
        for place in range(places):
            for row in range(channels // width):
                while rng.random() < gap:
                    noise = [rng.getrandbits(8) for _ in range(width)]
                    steps.append((0, noise, [0] * width, IDLE | {"row": rng.randrange(8), "last": 1}))
                part = slice(row * width, (row + 1) * width)
                tag = {
                    "row": row, "first": place == 0, "last": place == places - 1,
                    "row_last": row == channels // width - 1, "layer_last": pixel == pixels - 1,
                }  # fmt: skip
                steps.append((1, sums[pixel, place, part].tolist(), shift[part].tolist(), tag))
    written: dict[str, list] = {}
    if table is not None:
        writes = table_writes(setup, table)
        written["table"] = [*writes, *[writes[0] | {"enable": 0}] * len(steps)]
        steps = [(0, [0] * width, [0] * width, IDLE)] * len(writes) + steps
    valid_in, sums_in, shift_in, tag_in = (list(column) for column in zip(*steps, strict=True))
    record = dict.fromkeys(layer_fields(setup), 0) | {"window": places - 1} | layer
    out = run_pipeline(
        Fire(setup),
        {"layer": [record] * len(steps), "valid_in": valid_in, "sums": sums_in, "shift": shift_in, "tag_in": tag_in}
        | written,
        ["valid", "codes", "tag"],
        latency=fire_latency(setup),
    )
    # A row leaves exactly `fire_latency` cycles after it came, if it was the window's last.
    assert out["valid"] == [int(v and t["last"]) for v, t in zip(valid_in, tag_in, strict=True)]
    codes = []
    for valid, values, tag, given in zip(out["valid"], out["codes"], out["tag"], tag_in, strict=True):
        if valid:
            assert {name: getattr(tag, name) for name in IDLE} == {name: int(value) for name, value in given.items()}
            codes += [values[f] for f in range(width)]
    return np.array(codes).reshape(pixels, channels)


def table_writes(setup: EngineConfig, table: Table) -> list[dict]:
    """The rows of a table as Tables sends them."""
    rows = [data.Const(table_entry(setup), row) for row in table_rows(setup, [table])]
    number = rows_at_once(setup.table_codes)
    sent = [{"threshold": row.threshold, "value": row.value} for row in rows]
    return [
        {"enable": 1, "address": at // number, "rows": sent[at : at + number]} for at in range(0, len(sent), number)
    ]


def golden(
    setup: EngineConfig, layer: dict[str, int], sums: np.ndarray, shift: np.ndarray, table: Table | None = None
) -> np.ndarray:
    counts = count(sums, shift, layer["groups"], layer.get("low", 0))
    if table is not None and layer["tabled"]:
        counts = levels(counts, table.thresholds, table.stored)
    kind = "sum" if layer.get("pool_sum") else "max"
    # The places of a window as the rows of a map of one column.
    window = Pool(kind=kind, kernel=(sums.shape[1], 1), stride=(1, 1))
    pooled = pool(counts[:, :, None, :], window)[:, 0, 0, :]
    if setup.code == "psg" and sums.shape[1] == 1:
        trains = [
            [psg(s, layer["groups"] << k, layer["groups"]) for s, k in zip(row, shift.tolist(), strict=True)]
            for row in sums[:, 0].tolist()
        ]
        return (np.array(trains).astype(np.int64) << np.arange(layer["groups"])).sum(-1)
    if setup.signed_values:
        return pooled
    top = int(pooled.max(initial=1))
    return encode(pooled, "radix" if setup.code == "radix" else "unary", top).astype(np.int64)


def edge_sums(setup: EngineConfig, groups: int, shift: np.ndarray) -> np.ndarray:
    """[pixels, 1, channels]: every threshold of every channel, one below, one above; zero, negative, both ends."""
    low, high = -(1 << (setup.acc_bits - 1)), (1 << (setup.acc_bits - 1)) - 1
    columns = []
    for k in shift.tolist():
        edges = [low, low + 1, -(1 << k), -1, 0, 1, high - 1, high]
        edges += [(n << k) + d for n in range(1, groups + 2) for d in (-1, 0, 1)]
        columns.append([min(high, max(low, edge)) for edge in edges])
    return np.array(columns).T[:, None, :]


@pytest.mark.parametrize("shifts", [(0, 1, 2, 3), (5, 6, 7, 9)])
@pytest.mark.parametrize("code", ["radix-5", "radix-15", "unary-5", "unary-8", "psg-8", "psg-4", "psg-1"])
def test_thresholds(code, shifts):
    """acc = theta - 1, theta, theta + 1 for every count; negative and saturated sums."""
    code, groups = code.split("-")[0], int(code.split("-")[1])
    setup, shift = config(code, groups), np.array(shifts)
    sums = edge_sums(setup, groups, shift)
    layer = {"groups": groups}
    np.testing.assert_array_equal(rtl(setup, layer, sums, shift, gap=0.2), golden(setup, layer, sums, shift))


@pytest.mark.parametrize(("code", "shift"), [("radix", 13), ("unary", 13), ("psg", 10)])
def test_largest_shift(code, shift):
    """Theta of one count (of all counts, for psg) at the top bit of the accumulator."""
    setup, layer, shifts = config(code, 8), {"groups": 8}, np.array([shift, shift - 1])
    sums = edge_sums(setup, 8, shifts)
    np.testing.assert_array_equal(rtl(setup, layer, sums, shifts), golden(setup, layer, sums, shifts))


@pytest.mark.parametrize(("code", "groups"), [*(("psg", g) for g in (1, 2, 8, 16, 32)), ("unary", 5), ("radix", 31)])
def test_every_sum_of_a_narrow_accumulator(code, groups):
    """All sums and shifts, up to thresholds at the accumulator's edge and beyond it: more groups than its values."""
    setup = config(code, groups, acc_bits=5)
    most = max(0, 4 - (groups.bit_length() - 1)) if code == "psg" else 4
    shift = np.array([*range(most + 1)] + [most] * (-(most + 1) % 2))
    sums = np.tile(np.arange(-16, 16)[:, None, None], (1, 1, len(shift)))
    layer = {"groups": groups}
    np.testing.assert_array_equal(rtl(setup, layer, sums, shift), golden(setup, layer, sums, shift))


def test_one_threshold():
    """A single spike: 0 below theta, 1 from theta on."""
    setup = config("unary", 1)
    sums = np.array([[[63, 64]], [[65, -64]], [[8191, -8192]]])
    assert rtl(setup, {"groups": 1}, sums, np.array([6, 6])).tolist() == [[0, 1], [1, 0], [1, 0]]


@pytest.mark.parametrize("code", ["radix", "unary", "psg"])
@pytest.mark.parametrize("pool_sum", [0, 1])
@pytest.mark.parametrize(("places", "rows"), [(1, 4), (2, 4), (4, 4), (6, 4), (4, 1), (3, 2)])
def test_pools(code, pool_sum, places, rows):
    """Windows of several places, several rows of channels in between or the same one again, gaps anywhere."""
    groups = 4 if code == "psg" else 5
    top = groups * places if pool_sum else groups
    setup = config(code, groups, max_code=top)
    rng = np.random.default_rng(places)
    shift = rng.integers(0, 5, rows * setup.fire_lanes)
    sums = rng.integers(-40, 150, (12, places, rows * setup.fire_lanes))
    sums[0] = 8191  # every place saturates
    layer = {"groups": groups, "pool_sum": pool_sum}
    expected = golden(setup, layer, sums, shift)
    np.testing.assert_array_equal(rtl(setup, layer, sums, shift, gap=0.3, seed=places), expected)
    assert expected.max() < 1 << code_width(setup)


@pytest.mark.parametrize(("groups", "low"), [(7, 8), (15, 3), (5, 0)])
@pytest.mark.parametrize("pool_sum", [0, 1])
def test_signed_counts(groups, low, pool_sum):
    """Counts down to -low at every threshold, and maxima and sums of windows of them."""
    setup = config("radix", 15, signed_codes=True, max_code=63)
    shift = np.array([0, 2, 3, 5])
    sums = edge_sums(setup, groups, shift)
    sums = np.concatenate([sums, -sums - 1])
    layer = {"groups": groups, "low": low}
    np.testing.assert_array_equal(rtl(setup, layer, sums, shift, gap=0.2), golden(setup, layer, sums, shift))
    sums = np.random.default_rng(groups).integers(-200, 200, (20, 4, 4))
    layer["pool_sum"] = pool_sum
    expected = golden(setup, layer, sums, shift)
    np.testing.assert_array_equal(rtl(setup, layer, sums, shift, gap=0.3, seed=low), expected)
    assert expected.min() < 0 or not low


@pytest.mark.parametrize("tabled", [0, 1])
@pytest.mark.parametrize(("codes", "signed_codes"), [(16, False), (16, True), (32, True)])
def test_tables(codes, signed_codes, tabled):
    """Counts at every threshold of a table, one below and one above, pooled; a layer without one passes it by."""
    setup = config("radix", 63, tables=2, table_codes=codes, signed_codes=signed_codes, max_code=127, acc_bits=12)
    rng = np.random.default_rng(codes)
    thresholds = np.sort(rng.choice(np.arange(-30 if signed_codes else 1, 64), codes - 2, replace=False))
    stored = np.sort(rng.choice(np.arange(-64, 128), codes - 1, replace=False))
    table = Table(tuple(thresholds.tolist()), tuple(stored.tolist()))
    layer = {"groups": int(thresholds[-1]), "tabled": tabled, "table": 1}
    layer |= {"low": int(1 - thresholds[0])} if signed_codes else {}
    shift = np.array([0, 1, 2, 4])
    for places in (1, 3):
        near = rng.choice(thresholds, (60, places, 4)) + rng.integers(-1, 2, (60, places, 4))
        sums = np.clip((near << shift) + rng.integers(0, 1 << shift, near.shape), -2048, 2047)
        expected = golden(setup, layer, sums, shift, table)
        np.testing.assert_array_equal(rtl(setup, layer, sums, shift, gap=0.2, table=table), expected)


def test_fewer_groups_than_the_engine_has():
    setup = config("radix", 15)
    layer, shift = {"groups": 4}, np.array([2, 3])
    sums = edge_sums(setup, 4, shift)
    np.testing.assert_array_equal(rtl(setup, layer, sums, shift), golden(setup, layer, sums, shift))


def test_population():
    for bits in range(1, 10):
        assert [population([n >> i & 1 for i in range(bits)]) for n in range(1 << bits)] == [
            n.bit_count() for n in range(1 << bits)
        ]

# SPDX-License-Identifier: Apache-2.0
"""`onespike bench`: the engine beside its rivals, on the same networks and the same images, in one run.

Ratios are our cycles divided by theirs: below 1 we are faster. `model/cost/baselines.py` says how each rival is
counted.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import numpy as np
from rich.console import Console

from .. import figures
from ..bench import peers, rivals, speed, unrolled, workloads
from ..bench import tables as bench_tables
from ..bench.workloads import IMAGES, Workload
from ..fpga.synth import synthesise
from ..model.cost import baselines
from ..model.cost.choose import choose_mapping
from ..model.cost.cycles import predict_all
from ..model.errors import OneSpikeError
from ..model.mapping.images import image_beats
from ..model.mapping.mapping import Mapping
from ..model.network import golden, stepped
from ..parsers.options import CHOOSING
from ..progress import Progress
from ..sim.engine import simulate
from ..versions import environment

RTL_LANES = 128  # larger engines take minutes to compile: simulated with --rtl only
SPEED_IMAGES = 256
STOCK = "digits"  # the workload that is also simulated the stock way
SPIKER = "mlp"  # the workload that is compared with Spiker+
UNROLLED = ("mlp64", "mlp64-4bit")  # the workloads that alkaid can hold


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    if args.rtl is not False:
        from ..sim.verilator import find_verilator  # needs cocotb

        find_verilator()  # complain before the long work
    sources = workloads.Sources(
        mnist=args.mnist,
        cifar10=args.cifar10,
        resnet20=args.resnet20,
        kws=args.kws,
        kws_images=args.kws_images,
        groups=args.groups,
        seed=args.seed,
        cache=args.output,
    )
    if args.rivals:
        return rivals.run(args, sources, console, progress)
    result: dict[str, Any] = {"versions": environment(), "groups": args.groups, "workloads": []}
    usual = [name for name in workloads.WORKLOADS if name != workloads.KEYWORDS or args.kws or args.kws_images]
    for name in args.workloads or usual:
        with progress.stage(f"{name}: network", f"{name}: network and images", spinner=False):
            workload = workloads.build(name, sources, args.banks, args.lanes)
        result["workloads"].append(measure(workload, args, progress))
    result["peers"] = [dataclasses.asdict(peer) for peer in peers.PEERS]
    result["spiker"] = _against_spiker(result["workloads"])
    result["unrolled_installed"] = unrolled.installed()
    bench_tables.show(result, console)
    return result


def measure(workload: Workload, args: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """All figures of one workload, per image."""
    name, net = workload.name, workload.net
    codes = net.image.quantise(workload.images[: args.images])
    mapping = choose_mapping(net, workload.config, codes[:CHOOSING])
    config = mapping.config
    found: dict[str, Any] = {
        "name": name,
        "network": workload.text,
        "weights": workload.weights,
        "data": workload.data,
        "hash": net.hash,
        "images": len(codes),
        "engine": {"banks": config.banks, "lanes": config.lanes, "fire_lanes": config.fire_lanes},
        "load_beats": int(image_beats(mapping, codes[:1]).shape[1]),
    }
    found |= _ours(mapping, codes, args, progress, name)
    with progress.stage(f"{name}: rivals", f"{name}: dense, unary, parallel and T-step rivals"):
        found |= _rivals(workload, mapping, codes, found["cycles"])
    found["accuracy"] = _accuracy(workload)
    if args.speed:
        with progress.stage(f"{name}: speed", f"{name}: speed of the golden model, PyTorch and the generator"):
            found["speed"] = speed.golden_and_torch(net, workload.module, workload.images[:SPEED_IMAGES])
            found["speed"]["verilog_seconds"] = speed.verilog_seconds(mapping)
    if args.stock and name == STOCK and found["rtl"] is not None:
        with progress.stage(f"{name}: stock", f"{name}: simulation with the stock runner"):
            rate = speed.stock_cycles_per_second(mapping, codes, args.output / "simulation")
            found["rtl"]["stock_cycles_per_second"] = rate
    if args.synth and name == SPIKER:
        with progress.stage(f"{name}: synth", f"{name}: yosys and nextpnr for {args.target}"):
            found["synthesis"] = dataclasses.asdict(synthesise(config, args.target, args.output / "synth"))
    if name in UNROLLED and unrolled.installed():
        with progress.stage(f"{name}: alkaid", f"{name}: the same integers unrolled by alkaid"):
            folder = args.output / "alkaid" / net.hash[:16]
            found["alkaid"] = unrolled.run(net, net.image.quantise(workload.images), folder, cells=args.synth)
    return found


def _ours(mapping: Mapping, codes: np.ndarray, args: argparse.Namespace, progress: Progress, name: str) -> Any:
    """Cycles of the engine: counted in RTL where that is affordable, and always predicted."""
    config = mapping.config
    affordable = args.rtl if args.rtl is not None else config.banks * config.lanes <= RTL_LANES
    rtl = None
    if affordable:
        with progress.stage(f"{name}: rtl", f"{name}: {len(codes)} images in Verilator") as stage:
            run = simulate(mapping, codes, args.output / "simulation", seed=args.seed, brief=bench_tables.LONG // 2)
            stage.note = f"{run.words:,} spike words compared"
        predicted = run.predicted
        rtl = {key: getattr(run, key) for key in ("mismatches", "cycle_mismatches", "words", "simulated_cycles")}
        rtl["cycles_per_second"] = run.simulated_cycles / run.seconds
    else:
        with progress.stage(f"{name}: cycles", f"{name}: cycle model on {len(codes)} images"):
            predicted = predict_all(mapping, golden.run(mapping.net, codes, layers=True))
    ours = figures.cycles(mapping, predicted)
    return {
        "cycles": run.cycles_per_image if affordable else ours["predicted_cycles_per_image"],
        "cycles_from": "rtl" if affordable else "model",
        "predicted_cycles": ours["predicted_cycles_per_image"],
        "utilisation": ours["utilisation"],
        "lane_cycles": ours["lane_cycles"],
        "layers": ours["layers"],
        "rtl": rtl,
    }


def _rivals(workload: Workload, mapping: Mapping, codes: np.ndarray, cycles: float) -> dict[str, Any]:
    net, config, groups = workload.net, workload.config, figures.groups(workload.net)
    dense = baselines.dense_cycles(net, config)
    found: dict[str, Any] = {"dense_cycles": dense, "dense_ratio": cycles / dense}
    for code in ("unary", "psg"):
        try:
            theirs = baselines.coded_cycles(net, config, codes, code)
        except OneSpikeError as error:  # say, g is no power of two
            found |= {f"{code}_cycles": None, f"{code}_ratio": None, f"{code}_refused": str(error)}
        else:
            found |= {f"{code}_cycles": theirs, f"{code}_ratio": cycles / theirs}
    found |= {f"{name}_{what}": None for name in ("parallel", "if") for what in ("cycles", "ratio")} | {"if": None}
    try:
        parallel = baselines.parallel_cycles(net, config, codes)
        found |= {"parallel_cycles": parallel, "parallel_ratio": cycles / parallel, "parallel_adders": groups}
        rival = baselines.integrate_and_fire(net, config, codes)
    except OneSpikeError as error:  # levels that are no counts, say
        return found | {"if_refused": str(error)}
    ratio = cycles / rival.cycles
    return found | {"if": dataclasses.asdict(rival), "if_cycles": rival.cycles, "if_ratio": ratio}


def _accuracy(workload: Workload) -> dict[str, Any] | None:
    """Ours, and the T-step network's with the same weights, if there is one; None where there are no labels."""
    if workload.labels is None:
        return None
    codes, labels = workload.net.image.quantise(workload.images), workload.labels
    assert len(codes) <= IMAGES
    found = {"golden": float((golden.run(workload.net, codes).argmax(1) == labels).mean()), "images": len(codes)}
    try:
        steps = stepped.run(workload.net, codes)
    except OneSpikeError:
        return found | {"if": None}
    return found | {"if": float((steps.logits.argmax(1) == labels).mean())}


def _against_spiker(measured: list[dict[str, Any]]) -> dict[str, Any] | None:
    for found in measured:
        if found["name"] == SPIKER:
            made = found.get("synthesis")
            cost = (made["luts"], made["multipliers"], made["fmax_mhz"]) if made else ()
            return dataclasses.asdict(peers.against_spiker(found["cycles"], *cost))
    return None

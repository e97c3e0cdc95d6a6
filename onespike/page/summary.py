# SPDX-License-Identifier: Apache-2.0
"""The first sections: the verdict, what it costs on a part, how fast it is, and the critical path."""

from __future__ import annotations

from typing import Any

from .critical_path import described
from .drawing import ACCENT, INK, LINE, SERIES, Picture, picture, tip
from .material import HERE, Material, cycles_per_image, placed
from .parts import Fact, Section, Table, cells, number, percent, several, share, words


def verdict(material: Material) -> Section:
    """What a reader wants to know first: is it right, is it exact, and how fast."""
    facts = [*_accuracy(material), *_exact(material), *_speed(material)]
    origins = dict.fromkeys(fact.origin for fact in facts)
    network = material["network"]
    values = f"values up to g = {network['groups']}, {network['weight_bits']}-bit weights"
    hardware = material["hardware"]
    sentence = (
        f"{several(network['layers'], 'layer')}, one timestep, {values}, on {hardware['banks']} banks x "
        f"{hardware['lanes']} lanes without a multiplier."
    )
    return Section(
        name="verdict",
        title="Verdict",
        sentences=(sentence,),
        facts=tuple(facts),
        missing=material.missing(),
        whole=True,
        origins=tuple(origins),
    )


def _accuracy(material: Material) -> list[Fact]:
    found = material.measured("accuracy")
    if found is None:
        own = material["accuracy"]
        if own["golden"] is None:
            return [Fact(name="Accuracy", cell=words("no labels"), origin=HERE)]
        note = f"of {own['images']} images, integers"
        return [Fact(name="Accuracy", cell=percent(own["golden"], 2), note=note, origin=HERE)]
    origin, images = material.origin("accuracy"), f"of {found['images']:,} images"
    facts = []
    if found.get("float") is not None:
        facts.append(Fact(name="Accuracy, float", cell=percent(found["float"], 2), note=images, origin=origin))
    name = "Accuracy, integers" if facts else "Accuracy"
    return [*facts, Fact(name=name, cell=percent(found["golden"], 2), note=images, origin=origin)]


def _exact(material: Material) -> list[Fact]:
    found = material.measured("rtl")
    if found is None:
        return [Fact(name="Bit-exact", cell=words("not simulated"), note="the Verilog has not been run")]
    wrong = found["mismatches"] + found["cycle_mismatches"]
    text = f"{found['images']:,} images" if not wrong else f"{wrong:,} differences"
    note = f"{found['words_compared']:,} spike words, all logits and cycles of the Verilog compared with the model"
    return [Fact(name="Bit-exact" if not wrong else "Not bit-exact", cell=number(wrong, text), note=note,
                 origin=material.origin("rtl"))]  # fmt: skip


def _speed(material: Material) -> list[Fact]:
    count, how, origin = cycles_per_image(material)
    facts = [Fact(name="Cycles an image", cell=number(count), note=how, origin=origin)]
    found = placed(material)
    if found is not None and found["clock_mhz"]:
        rate = 1e6 * found["clock_mhz"] / count
        note = f"at {found['clock_mhz']:.4g} MHz on {found['target']}"
        facts.append(Fact(name="Images a second", cell=number(rate), note=note, origin=found["origin"]))
    use = material["cycles"]["utilisation"]
    facts.append(Fact(name="Utilisation", cell=percent(use), note="useful additions per lane and cycle", origin=HERE))
    return facts


def resources(material: Material) -> Section:
    """The part, its clock, and how much of it is in use."""
    found = placed(material)
    if found is None:
        return _estimated(material)
    asked = found["asked_mhz"]
    facts = [
        Fact(name="Part", cell=words(found["target"]), note=found["what"]),
        Fact(name="Clock", cell=number(found["clock_mhz"], "{:.4g} MHz"), note="it runs at, all timing met"),
        Fact(name="Reached", cell=number(found["reached_mhz"], "{:.4g} MHz"), note="by place and route"),
        Fact(name="Asked", cell=number(asked, "{:.4g} MHz"), note="of place and route"),
        Fact(name="Seed", cell=words("-" if found["seed"] is None else found["seed"]), note="of the placement"),
    ]
    note = f"After place and route by {found['tools']}."
    rows = [cells(name, used, have, percent(used / have if have else None)) for name, used, have in found["resources"]]
    own = [(name, used, have) for name, used, have in found["resources"] if have]
    table = Table(name="resources", caption=f"Resources of {found['target']}",
                  heads=("resource", "in use", "available", "share"), rows=tuple(rows), note=note)  # fmt: skip
    return Section(
        name="part",
        title="Part and clock",
        facts=tuple(facts),
        pictures=(_bars(f"Resources of {found['target']} in use", own),),
        tables=(table,),
        origins=(found["origin"],),
    )


def _estimated(material: Material) -> Section:
    area = material["area"]
    if area["estimate"] is None:
        said = ("Nobody has placed and routed this engine.", area["why"])
        return Section(name="part", title="Part and clock", sentences=said, missing=material.missing("synthesis"))
    names = (("LUTs", "luts"), ("flip-flops", "flip_flops"), ("block RAMs", "block_rams"))
    rows = [(shown, area["estimate"][name], area["available"][name]) for shown, name in names]
    table = Table(
        name="resources", caption=f"Resources of {area['target']}, estimated",
        heads=("resource", "estimate", "available", "share"),
        rows=tuple(cells(name, used, have, percent(used / have)) for name, used, have in rows),
        note="An estimate that is fitted to synthesis, of the engine without a front; no clock is known.",
    )  # fmt: skip
    sentences = [f"Nobody has placed and routed this engine: what follows is an estimate for {area['target']}."]
    if area["refused"]:
        sentences.append(f"This part does not take it: the engine {area['refused']}")
    return Section(
        name="part",
        title="Part and clock",
        sentences=tuple(sentences),
        pictures=(_bars(f"Resources of {area['target']}, estimated", rows),),
        tables=(table,),
        missing=material.missing("synthesis"),
        origins=(HERE,),
    )


def _bars(caption: str, rows: list[tuple[str, int, int]]) -> Picture:
    def paint(figure: Any, narrow: bool) -> None:
        axes = figure.subplots()
        for at, (name, used, have) in enumerate(rows):
            axes.barh(at, 100, 0.55, color=LINE, alpha=0.5)
            colour = SERIES[9] if used > have else ACCENT
            tip(axes.barh(at, min(100, 100 * used / have), 0.55, color=colour)[0], f"{name}: {used:,} of {have:,}")
            text = f"{share(used / have)}" if narrow else f"{used:,} of {have:,} ({share(used / have)})"
            axes.text(103, at, text, va="center", color=INK)
        axes.set(yticks=range(len(rows)), yticklabels=[name for name, *_ in rows], xlim=(0, 118 if narrow else 140))
        axes.set_xticks([0, 50, 100], ["0", "50 %", "100 %"])
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    said = "; ".join(f"{name} {used:,} of {have:,}" for name, used, have in rows)
    tall = 0.45 + 0.32 * len(rows)
    return picture("resources", caption, f"Bars of the share in use: {said}.", paint, (tall, tall))


def speed(material: Material) -> Section:
    """Latency, throughput and utilisation, with the clock that they rest on."""
    count, how, origin = cycles_per_image(material)
    cycles, found = material["cycles"], placed(material)
    predicted = cycles["predicted_cycles_per_image"]
    rows = [("cycles an image", number(count, "{:,.1f}"), how)]
    rows.append(("predicted", number(predicted, "{:,.1f}"), f"exact cycle model on {cycles['images']} images here"))
    origins = [origin, HERE]
    if found is not None and found["clock_mhz"]:
        clock = found["clock_mhz"]
        rows += [
            ("clock", number(clock, "{:.4g} MHz"), f"{found['what']} on {found['target']}"),
            ("latency", number(count / clock / 1000, "{:.4g} ms"), "from the first cycle of an image to its answer"),
            ("images a second", number(1e6 * clock / count), "one after another"),
        ]
        origins.append(found["origin"])
    rows += [
        ("utilisation", percent(cycles["utilisation"]), "useful additions per lane and cycle; the limit is 100 %"),
        ("with zeros", percent(cycles["utilisation_with_zeros"]), "additions of weights of zero counted, too"),
    ]
    table = Table(
        name="speed", caption="Speed", heads=("what", "figure", "of what"), rows=tuple(map(_row, rows)), shown=True
    )
    return Section(name="speed", title="Latency, throughput and utilisation", tables=(table,),
                   origins=tuple(dict.fromkeys(origins)))  # fmt: skip


def _row(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return cells(*row)


def critical(material: Material) -> Section:
    """What sets the clock."""
    found = placed(material)
    path = None if found is None else described(found["critical_path"])
    if found is None or path is None:
        return Section(name="path", title="Critical path", sentences=("No router has looked for it yet.",),
                       missing=material.missing("synthesis"))  # fmt: skip
    rows = tuple(
        cells(str(at), number(step["ns"], "{:.2f}"), step["kind"], step["from"], step["to"], " -> ".join(step["cells"]))
        for at, step in enumerate(path["steps"], 1)
    )
    heads = ("step", "ns", "kind", "from", "to", "cells")
    note = "Names of cells as the router has them."
    table = Table(name="path", caption="Steps of the critical path", heads=heads, rows=rows, note=note)
    return Section(name="path", title="Critical path", sentences=(path["sentence"], path["advice"]), tables=(table,),
                   origins=(found["origin"],))  # fmt: skip

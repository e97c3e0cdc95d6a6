# SPDX-License-Identifier: Apache-2.0
"""Mutants: a fault in hardware or integer model at a time, and whether the tests of its file notice: `make mutants`.

The faults are drawn from `mutations.py`, some of every file, in an order that edits elsewhere do not change. Each is
made in a copy of the tree, where `mutant_host.py` runs the tests of the file's name until one fails. What is found is
kept, a file each: a second run takes up what the first one has finished, and tries again what survived when its tests
have changed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ..model.errors import OneSpikeError
from ..model.system import contents
from ..model.system.files import make_folder
from .mutant_tree import LISTED, Kept, Tree, Verdict
from .mutant_trial import Host, host
from .mutations import Mutation

SEED = 1
GOAL = 0.97  # of the mutants that are not equivalent: those that must be killed


def campaign(
    root: Path, keep: Path, *, seed: int = SEED, more: int = 1, wanted: Sequence[str] = (),
    console: Console | None = None,
) -> dict[Mutation, Verdict]:  # fmt: skip
    """The verdict on every drawn mutation, in order. OneSpikeError where a test that failed does so without a fault."""
    tree, kept = Tree(root), Kept(root, keep)
    console = console or Console(quiet=True)
    every = tree.drawn(seed, more, wanted)
    with host(root) as place:
        verdicts: dict[Mutation, Verdict] = {}
        for number, mutation in enumerate(every, 1):
            tests = tree.tests_of(mutation.file)
            if (verdict := kept.read(mutation, tests)) is None:
                verdict = place.trial(mutation, tests)
                kept.write(mutation, tests, verdict)
                say = f"{number}/{len(every)} {verdict.how} {verdict.seconds:.0f} s {mutation.shown} {verdict.test}"
                console.print(say, markup=False, highlight=False, soft_wrap=True)
            verdicts[mutation] = verdict
        _require_sound(place, keep, verdicts)
    return verdicts


def _require_sound(place: Host, keep: Path, verdicts: dict[Mutation, Verdict]) -> None:
    """Whoever killed a mutant passes on the tree as it is."""
    killers: dict[str, set[str]] = {}
    for verdict in verdicts.values():
        if verdict.test:
            killers.setdefault(verdict.test.partition("::")[0], set()).add(verdict.test)
    sources = (path for folder in contents.CODE for path in sorted((place.room / folder).rglob("*.py")))
    code = contents.digest(*(path.read_bytes() for path in sources))
    for file, tests in killers.items():
        mark = keep / "sound" / contents.digest(code, (place.room / file).read_bytes(), sorted(tests))[:32]
        if not mark.exists():
            whole = tests == {file}  # nothing but the import has ever failed
            found = place.run(sorted(tests - {file}) or [file], ["--collect-only"] if whole else [])
            if found["how"] != "passed":
                failed = found["test"] or file
                raise OneSpikeError(f"{failed} fails on the tree as it is; mend it first: no mutant counts.")
            make_folder(mark.parent)
            mark.touch()


def report(tree: Tree, verdicts: dict[Mutation, Verdict], console: Console) -> float:
    """Prints the table and what survived; the share that was killed of what is not equivalent."""
    rows: dict[str, Counter[str]] = {}
    open_ones = []
    for mutation, verdict in verdicts.items():
        how = verdict.how
        if how == "survived":
            how = "equivalent" if tree.reason(mutation) else "survived"
        for row in (Path(mutation.file).parent.as_posix(), "all"):
            rows.setdefault(row, Counter())[how] += 1
        if how == "survived":
            open_ones.append(mutation)
        elif how != "equivalent" and tree.reason(mutation):
            raise OneSpikeError(f"{LISTED} calls this equivalent, and {verdict.test} noticed it: {mutation.name}")
    console.print(f"{'':16}{'mutants':>9}{'killed':>9}{'timeout':>9}{'survived':>10}{'equivalent':>12}")
    for name, of in sorted(rows.items(), key=lambda item: item[0] == "all"):
        line = f"{name:16}{of.total():9}{of['killed']:9}{of['timeout']:9}{of['survived']:10}{of['equivalent']:12}"
        console.print(line, highlight=False)
    for mutation in open_ones:
        console.print(f"survived: {mutation.shown}", markup=False, highlight=False, soft_wrap=True)
    total = rows["all"]
    found = (total["killed"] + total["timeout"]) / max(1, total.total() - total["equivalent"])
    console.print(f"{found:.1%} killed of what is not equivalent", highlight=False)
    return found


def main() -> None:
    root = Path(__file__).parents[1]
    parser = argparse.ArgumentParser(prog="python -m onespike.sim.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], metavar="FILE", help="files, such as hw/engine/f*.py")
    parser.add_argument("--seed", type=int, default=SEED, help="which mutations are drawn (default: %(default)s)")
    parser.add_argument("--more", type=int, default=1, metavar="N", help="draw N times as many")
    parser.add_argument("--keep", default="build/mutants", metavar="DIR", help="where verdicts are kept (%(default)s)")
    given = parser.parse_args()
    console = Console()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # takes the copy away, too
    begin = time.monotonic()
    try:
        verdicts = campaign(
            root, Path(given.keep), seed=given.seed, more=given.more, wanted=given.only, console=console
        )
        share = report(Tree(root), verdicts, console)
    except OneSpikeError as error:
        sys.exit(f"onespike: {error}")
    console.print(f"{time.monotonic() - begin:.0f} s", highlight=False)
    sys.exit(share < GOAL)


if __name__ == "__main__":
    main()

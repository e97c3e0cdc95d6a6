# SPDX-License-Identifier: Apache-2.0
"""Every reader in turns, for a given time: `make fuzz`, or `python -m fuzz [READER ..] --seconds N`.

What was found before is kept in the folder and gone on from. Exit codes: 0 no failure, 1 some, 2 a mistake.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from .readers import READERS
from .search import Bench, Found, name_of, rounds

HERE = Path(__file__).parents[1]
TURN = 120  # seconds of a reader at a time, at most
START = 8  # seconds that a process takes to begin, which are no part of its turn


def main() -> int:
    args = _arguments()
    args.folder = args.folder.absolute()  # sentences that begin with a path begin with a slash
    names = [name for name in READERS if not args.readers or name.replace(" ", "_") in args.readers]
    unknown = set(args.readers) - {name.replace(" ", "_") for name in READERS}
    if unknown:
        known = ", ".join(name.replace(" ", "_") for name in READERS)
        print(f"fuzz: there is no reader {sorted(unknown)[0]!r}; choose from {known}.", file=sys.stderr)
        return 2
    if args.input is not None:
        return _again(names, args.input, args.folder)
    guided = importlib.util.find_spec("atheris") is not None
    how = "guided by coverage (Atheris)" if guided else "by chance; `pip install onespike[fuzz]` guides it by coverage"
    print(f"{len(names)} readers, {args.seconds} s, {how}", flush=True)
    end, failed, turn = time.monotonic() + args.seconds, 0, 0
    share = max(1, min(TURN, int(args.seconds / len(names)) - (START if guided else 0)))
    while time.monotonic() < end or not turn:
        for name in names:
            if turn and time.monotonic() >= end:
                break
            found = (_guided if guided else _by_chance)(name, args.folder / name.replace(" ", "_"), share, turn)
            failed += found
        turn += 1
    print(f"{failed} failures" + (f", kept in {args.folder}/*/failures" if failed else ""), flush=True)
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.split("\n\n")[0])
    parser.add_argument("readers", nargs="*", metavar="READER", help="as in the list of readers (default: all)")
    parser.add_argument("--seconds", type=int, default=3600, metavar="N", help="of all together (default: 3600)")
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"), help="what is kept (default: build/fuzz)")
    parser.add_argument("--input", type=Path, metavar="FILE", help="only this input, of the one reader that is named")
    return parser.parse_args()


def _guided(name: str, folder: Path, seconds: int, turn: int) -> int:
    """A process of its own; how many failures it told of, itself among them where something ended it."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "fuzz.guided", name, str(folder), str(seconds)]
    before = {path.name for path in (folder / "failures").glob("*")}
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            code = process.wait(seconds + 300)
        except BaseException:
            process.kill()
            process.wait()
            raise
    text = (folder / "log").read_text(errors="replace")
    told = re.findall(r"(?ms)^failure: (.*?)^again: (.*?)$", text)
    for found, again in told:
        print(f"{found}again: {again}\n", flush=True)
    stopped = [p for p in (folder / "failures").glob("*-*") if p.name not in before and p.name.startswith(
        ("crash-", "timeout-", "oom-", "slow-unit-", "leak-"))]  # fmt: skip
    for path in stopped:
        print(f"{name}: ended its process ({path.name.split('-')[0]}, exit code {code})\nagain: {path}\n", flush=True)
    if code and not stopped:
        print(f"{name}: exit code {code}\n{text[-2000:]}\n", flush=True)
    runs = re.search(r"stat::number_of_executed_units:\s+(\d+)", text)
    covered = re.findall(r"cov: (\d+)", text)
    print(f"{name}: {runs[1] if runs else '?'} inputs, {covered[-1] if covered else '?'} branches, turn {turn + 1}",
          flush=True)  # fmt: skip
    return len(told) + len(stopped) + (code != 0 and not stopped)


def _by_chance(name: str, folder: Path, seconds: int, turn: int) -> int:
    """Here, without coverage: seeds that no turn has had."""
    bench = Bench(READERS[name], folder)
    failures = folder / "failures"
    failures.mkdir(parents=True, exist_ok=True)
    end, told, number = time.monotonic() + seconds, dict[str, Found](), 0
    seed = int.from_bytes(os.urandom(6), "big")
    while time.monotonic() < end:
        for kind, found in rounds(bench, 20, seed=seed + number).items():
            if kind not in told:
                told[kind] = found
                (failures / name_of(found.data)).write_bytes(found.data)
                print(found.text(failures / name_of(found.data)) + "\n", flush=True)
        number += 20
    print(f"{name}: {number} inputs, turn {turn + 1}", flush=True)
    return len(told)


def _again(names: list[str], path: Path, folder: Path) -> int:
    if len(names) != 1 or not path.is_file():
        print("fuzz: --input needs a file and the name of its reader.", file=sys.stderr)
        return 2
    bench = Bench(READERS[names[0]], folder / names[0].replace(" ", "_"))
    failure = bench.try_one(path.read_bytes())
    print("no failure" if failure is None else f"{failure.kind}\n{failure.text}")
    return 0 if failure is None else 1


if __name__ == "__main__":
    sys.exit(main())

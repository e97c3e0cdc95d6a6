# SPDX-License-Identifier: Apache-2.0
"""One reader, guided by coverage: `python -m fuzz.guided READER FOLDER SECONDS`, a process of its own.

Atheris (libFuzzer) chooses which inputs to go on from, by the branches of our own code that they reach, and keeps them
in FOLDER/corpus; inputs are damaged as in the test suite, and now and then as libFuzzer does it. Failures are told once
for each kind, kept in FOLDER/failures, and the search goes on. What ends or stops the process itself (a crash in a
library, an input that never ends) is kept there by libFuzzer.
"""

import contextlib
import importlib
import io
import random
import sys
from pathlib import Path

import atheris

MOST_BYTES = 1 << 20
HANG = 60  # seconds by the clock, of an input that the processor's time did not stop
RESIDENT = 3072  # MiB of the whole process; 2 GiB an input are held by verdict.py
OURS = ["onespike"]


def main() -> None:
    name, folder, seconds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(include=OURS):
        readers = importlib.import_module("fuzz.readers").READERS
    from .search import Bench, name_of, smaller

    bench = Bench(readers[name], folder)
    corpus, failures = folder / "corpus", folder / "failures"
    for made in (corpus, failures):
        made.mkdir(parents=True, exist_ok=True)
    for seed in bench.seeds:
        (corpus / name_of(seed)).write_bytes(seed)
    told: set[str] = set()

    def one(data: bytes) -> None:
        failure = bench.try_one(data)
        if failure is None or failure.kind in told:
            return
        told.add(failure.kind)
        found = smaller(bench, data, failure)
        kept = failures / name_of(found.data)
        kept.write_bytes(found.data)
        kept.with_suffix(".txt").write_text(found.text(kept) + "\n", errors="replace")
        print(f"failure: {found.text(kept)}", flush=True)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        made = atheris.Mutate(data, most) if rng.random() < 0.15 else bench.damaged(data, rng)
        return bytes(made[:most])

    options = [f"-max_total_time={seconds}", f"-max_len={MOST_BYTES}", f"-timeout={HANG}", f"-rss_limit_mb={RESIDENT}",
               f"-artifact_prefix={failures}/", "-verbosity=1", "-print_final_stats=1", "-len_control=0"]  # fmt: skip
    atheris.Setup([name, str(corpus), *options], one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

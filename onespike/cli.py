# SPDX-License-Identifier: Apache-2.0
"""The command line: `onespike COMMAND`. Results go to stdout, progress and errors to stderr.

Exit codes: 0 done, 1 the hardware differs from the model, 2 a mistake that the user can mend, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Sequence

# Before torch and NumPy are imported: torch's threads sleep while they wait for one another, where they would spin and
# take a busy machine's time from themselves (training 10 times slower, measured); our own work needs no BLAS threads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from . import options
from .model import parallel
from .model.errors import OneSpikeError
from .parser import build_parser

# Command -> the module with its function `run_COMMAND`, imported when it is needed: not every command needs torch.
COMMANDS = {
    "demo": "demo",
    "train": "training",
    "convert": "training",
    "shapes": "shaping",
    "export": "exporting",
    "eval": "commands",
    "verilog": "commands",
    "simulate": "commands",
    "report": "commands",
    "bench": "bench",
    "explore": "exploring",
    "synth": "synthesis",
    "fpga": "bitstreams",
    "project": "synthesis",
    "asic": "synthesis",
    "run": "board",
    "board": "board",
}
PIPED_WIDTH = 120  # columns of a table that no terminal shows
# Module that is missing -> the extra that brings it.
EXTRAS = {
    "torch": "torch",
    "onnx": "onnx",
    "nir": "nir",
    "h5py": "nir",
    "cocotb": "sim",
    "cocotb_tools": "sim",
    "mlxtend": "demo",
    "matplotlib": "demo",
    "serial": "host",
    "PIL": "host",
}


def _run(arguments: Sequence[str] | None) -> None:
    args = build_parser().parse_args(arguments)
    if args.json is not None:
        options.writable(args.json, "figures")

    from rich.console import Console

    from .progress import Progress

    module = importlib.import_module(f".{COMMANDS[args.command]}", __package__)
    console = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH)
    with parallel.use(args.threads):
        parallel.count()  # refuse a bad number in the environment now
        result = getattr(module, f"run_{args.command}")(args, console, Progress())
    if args.json is not None:
        from .model.files import write_atomically

        write_atomically(args.json, json.dumps(result, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    try:
        _run(arguments)
    except OneSpikeError as error:
        print(f"onespike: {str(error).rstrip('.')}.", file=sys.stderr)
        return 2
    except AssertionError as error:
        print(f"onespike: the hardware differs from the model. {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        print(f"onespike: this command needs {error.name}; run `pip install onespike[{extra}]`.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("onespike: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has left
        with contextlib.suppress(OSError):
            sys.stdout.close()
        return 141
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""The command line: `onespike COMMAND`. Results go to stdout, progress and errors to stderr.

Exit codes: 0 done, 1 the hardware differs from the model, 2 a mistake that the user can mend, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

# The golden model works in pieces that one core's cache holds: more BLAS threads gain little, and on a busy machine
# they wait for one another (30 times slower, measured). NumPy reads this when it is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from . import options
from .model.errors import OneSpikeError
from .parser import build_parser

EXTRAS = {"torch": "torch", "cocotb": "sim", "cocotb_tools": "sim", "mlxtend": "demo", "matplotlib": "demo"}


def _run(arguments: Sequence[str] | None) -> None:
    args = build_parser().parse_args(arguments)
    if args.json is not None:
        options.writable(args.json, "figures")

    from rich.console import Console

    from . import commands
    from .progress import Progress

    runners: dict[str, Any]
    if args.command == "demo":
        from .demo import run_demo

        runners = {"demo": run_demo}
    elif args.command in ("train", "convert"):
        from . import training

        runners = {"train": training.run_train, "convert": training.run_convert}
    elif args.command == "synth":
        from .synthesis import run_synth

        runners = {"synth": run_synth}
    elif args.command == "explore":
        from .exploring import run_explore

        runners = {"explore": run_explore}
    else:
        runners = {
            "eval": commands.run_eval,
            "verilog": commands.run_verilog,
            "simulate": commands.run_simulate,
            "report": commands.run_report,
        }
    result = runners[args.command](args, Console(highlight=False), Progress())
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

# SPDX-License-Identifier: Apache-2.0
"""The command line: `onespike COMMAND`. Results go to stdout, progress and errors to stderr.

Exit codes: 0 done, 1 the hardware differs from the model, 2 a mistake that the user can mend, 130 interrupted, 143
terminated (128 + the signal).
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence

# Before torch and NumPy are imported: torch's threads sleep while they wait for one another, where they would spin and
# take a busy machine's time from themselves (training 10 times slower, measured); our own work needs no BLAS threads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _run(arguments: Sequence[str] | None) -> None:
    from . import outputs
    from .model.system import parallel
    from .parsers.parser import build_parser
    from .progress import Progress

    args = build_parser().parse_args(arguments)
    args.words = sys.argv[1:] if arguments is None else list(arguments)  # for those who will want the same again
    outputs.check(args)
    # Imported when it is needed: not every command needs torch.
    module = importlib.import_module(f".commands.{args.command}", __package__)
    with parallel.use(args.threads):
        parallel.count()  # refuse a bad number in the environment now
        result = module.run(args, outputs.make_console(args), Progress())
    outputs.write_figures(args, result)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    try:
        return _ended(arguments)
    except KeyboardInterrupt:
        print("onespike: interrupted.", file=sys.stderr)
        return 130


def _ended(arguments: Sequence[str] | None) -> int:
    """`main`, but for interrupts. Nearly all is imported inside: they may come while that takes its time, too."""
    from .model.errors import OneSpikeError
    from .signals import Terminated, terminable

    try:
        with terminable():
            _run(arguments)
    except OneSpikeError as error:
        print(f"onespike: {str(error).rstrip('.')}.", file=sys.stderr)
        return 2
    except AssertionError as error:
        print(f"onespike: the hardware differs from the model. {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        from .model.system import extras

        sentence = extras.missing("this command needs", error)
        if sentence is error:
            raise
        print(f"onespike: {sentence}", file=sys.stderr)
        return 2
    except Terminated as error:
        print("onespike: terminated.", file=sys.stderr)
        return 128 + error.number
    except BrokenPipeError:  # the reader of our output has left
        with contextlib.suppress(OSError):
            sys.stdout.close()
        return 141
    except OSError as error:  # a disk that fails, a path that the system refuses
        where = f"Cannot use {error.filename}: " if error.filename else ""
        print(f"onespike: {where}{error.strerror or error}.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

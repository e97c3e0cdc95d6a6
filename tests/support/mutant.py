# SPDX-License-Identifier: Apache-2.0
"""Mutant: a class with one line of its source changed, a mistake that a proof must find."""

import inspect
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest


def mutant(cls: type, right: str, wrong: str, folder: Path) -> Any:
    """`cls` with `wrong` in place of `right`, which must occur in its source exactly once.

    Its source lies in `folder`: Amaranth looks there for the names of signals and of lines.
    """
    source = textwrap.dedent(inspect.getsource(cls))
    assert source.count(right) == 1, f"{right!r} occurs {source.count(right)} times in {cls.__name__}"
    path = folder / f"{cls.__name__.lower()}_mutant.py"
    path.write_text(source.replace(right, wrong))
    scope = dict(vars(sys.modules[cls.__module__]))
    exec(compile(f"from __future__ import annotations\n{path.read_text()}", str(path), "exec"), scope)
    return scope[cls.__name__]


def mistakes(*found: tuple[Any, ...]) -> list[Any]:
    """Parameters of a test of mutants: the first runs with every suite, the others with `make proofs`."""
    return [pytest.param(*each, marks=pytest.mark.slow if at else ()) for at, each in enumerate(found)]


def slow_but_first(cases: dict[str, Any]) -> list[Any]:
    """Parameters by their names, as in `mistakes`."""
    marks = [(), *[pytest.mark.slow] * (len(cases) - 1)]
    return [pytest.param(case, marks=mark, id=name) for (name, case), mark in zip(cases.items(), marks, strict=True)]

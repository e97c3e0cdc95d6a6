# SPDX-License-Identifier: Apache-2.0
"""The arguments of `convert`, from one source: those of `prepare`, and the settings of every method.

Editors and mypy see `prepare`'s own, with `methods.Settings`; `help` and `inspect.signature` see the list that
`signature_of` makes; a name that is not in it is refused with the nearest one that is.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar, cast

from ..errors import OneSpikeError
from .methods import METHODS, Settings, method_of

Taken = ParamSpec("Taken")
Found = TypeVar("Found")
OWN = "own"  # what `prepare` calls the settings of the method
AFTER = "method"  # the argument that they follow


def like(
    prepare: Callable[Taken, Any],
) -> Callable[[Callable[..., Found]], Callable[Taken, Found]]:
    """A decorator: the function takes what `prepare` takes, and says so."""

    def change(function: Callable[..., Found]) -> Callable[Taken, Found]:
        answer = inspect.signature(function).return_annotation
        function.__signature__ = signature_of(prepare).replace(return_annotation=answer)  # type: ignore[attr-defined]
        return cast(Callable[Taken, Found], function)

    return change


def signature_of(prepare: Callable[..., Any]) -> inspect.Signature:
    """`prepare`'s signature with every setting by its name: psg's with their defaults, those of other methods alone
    with "...", as what they are without it depends on the method."""
    found = []
    for name, parameter in inspect.signature(prepare).parameters.items():
        if name != OWN:
            found.append(parameter)
        if name == AFTER:
            usual = inspect.signature(METHODS[parameter.default].convert).parameters
            for setting, kind in Settings.__annotations__.items():
                default = usual[setting].default if setting in usual else ...
                text = getattr(kind, "__forward_arg__", kind)
                keyword = inspect.Parameter.KEYWORD_ONLY
                found.append(inspect.Parameter(setting, keyword, default=default, annotation=text))
    return inspect.Signature(found)


def check_names(
    names: Iterable[str], prepare: Callable[..., Any], method: Any, function: str = "convert", more: Iterable[str] = ()
) -> None:
    """OneSpikeError for a name that no method takes, with the nearest one that this method does.

    function: what was called; more: arguments that it has of its own.
    """
    shared = [name for name in inspect.signature(prepare).parameters if name != OWN]
    known = list(dict.fromkeys([*more, *shared[:3], *method_of(method).settings, *shared[3:]]))
    for name in names:
        if name not in known and name not in Settings.__annotations__:
            begun = [other for other in known if name and other.startswith(name)]
            near = begun or difflib.get_close_matches(name, known, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}."
            raise OneSpikeError(f"{function} takes no argument {name!r}; {hint}")

# SPDX-License-Identifier: Apache-2.0
"""The command that helps a shell with all others."""

from __future__ import annotations

from . import options
from .options import Command

SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")


def add_complete(command: Command) -> None:
    complete = command(
        "complete",
        "print the script with which a shell completes commands, options and files",
        'For bash: eval "$(onespike complete bash)", there or in ~/.bashrc; for zsh, a file _onespike in a folder of '
        "$fpath.",
    )
    complete.add_argument("shell", choices=SHELLS, help="which shell")
    options.add_common(complete)


COMMANDS = (add_complete,)

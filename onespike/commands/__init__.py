# SPDX-License-Identifier: Apache-2.0
"""What the commands of `onespike` do: one file a command, whose function `run` returns the figures for `--json`.

Not here: their options (`onespike/parsers`), tables and figures that several share (`onespike/`).
"""

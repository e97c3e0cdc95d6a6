# SPDX-License-Identifier: Apache-2.0
"""The options of the command line, and what they become: engines, fronts, memories.

Not here: what a command does (`onespike/commands`).
"""

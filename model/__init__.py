# SPDX-License-Identifier: Apache-2.0
"""The network, from anybody's file to integers on an engine, and what it costs: one room a step of the data's way.

Here lies only what every room needs: errors, targets (the parts of FPGAs). Nothing that knows a network.
"""

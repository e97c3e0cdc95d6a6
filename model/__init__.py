# SPDX-License-Identifier: Apache-2.0
"""The network, from anybody's file to integers on an engine, and what it costs: one room a step of the data's way.

Here lies only what every room needs: errors, files, targets. Nothing that knows a network.
"""

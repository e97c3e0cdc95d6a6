# SPDX-License-Identifier: Apache-2.0
"""The hardware in Amaranth. Here lies what all of it shares: configuration, program format, memory, queue, loop.

Not here: anything that knows a network, but for `hw/emit`.
"""

# SPDX-License-Identifier: Apache-2.0
"""How a sum becomes spikes: one law a file, with its golden function and its paper.

Not here: how a whole network runs (`model/network`) and how the hardware does it (`hw/engine`).
"""

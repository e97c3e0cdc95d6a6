# SPDX-License-Identifier: Apache-2.0
"""What a mapped network costs (cycles, energy, area), its rivals' cost, and choosing by it.

Not here: measuring with real tools (`sim/`, `fpga/`).
"""

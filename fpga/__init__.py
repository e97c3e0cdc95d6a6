# SPDX-License-Identifier: Apache-2.0
"""From Verilog to a board that answers: synthesis, place and route, bitstreams, and the host with its C driver.

Not here: what parts there are (`model/targets.py`), estimates without tools (`model/cost`).
"""

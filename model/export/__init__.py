# SPDX-License-Identifier: Apache-2.0
"""From the integer network to other tools' formats: QONNX and NIR.

Not here: our own file (`model/network/spike_file.py`) and Verilog (`hw/emit`).
"""

# SPDX-License-Identifier: Apache-2.0
"""Out of Python: Verilog text, memory images, manifest.

Not here: scripts of FPGA tools and bitstreams (`fpga/`).
"""

# SPDX-License-Identifier: Apache-2.0
"""How the world talks to the engine: registers and control, AXI, Wishbone, UART, SPI.

Not here: the computation (`hw/engine`), and the host's side (`fpga/`).
"""

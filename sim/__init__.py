# SPDX-License-Identifier: Apache-2.0
"""The RTL against the model: cocotb benches, Verilator, formal proofs; mutants; power in standard cells.

Not here: golden functions (`model/machine`) and Amaranth's own simulator, which the block tests use.
"""

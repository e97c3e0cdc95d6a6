# SPDX-License-Identifier: Apache-2.0
"""The machine: one component a file, with a golden function of the same name in `model/machine`.

`fusion` stands alone: no engine has that fire unit yet. Not here: registers and buses around it (`hw/fronts`).
"""

# SPDX-License-Identifier: Apache-2.0
"""The golden function of each hardware block, in a file of the same name as in `hw/engine` or `hw/fronts`.

Not here: the golden model of a whole network (`model/network/golden.py`).
"""

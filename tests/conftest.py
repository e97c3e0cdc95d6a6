# SPDX-License-Identifier: Apache-2.0
"""Before NumPy is imported: one BLAS thread, because two test workers with two threads each wait for one another.

Verilator's library is compiled once for all tests, wherever they build.
"""

import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("ONESPIKE_LIBRARY", str(Path(__file__).parents[1] / "build" / "sim"))

# SPDX-License-Identifier: Apache-2.0
"""Before NumPy is imported: one BLAS thread, because two test workers with two threads each wait for one another."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

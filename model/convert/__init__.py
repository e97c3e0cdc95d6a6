# SPDX-License-Identifier: Apache-2.0
"""From the float graph to the integer network: calibration, quantisation, refit, and where accuracy is lost.

Not here: reading files (`model/frontend`), changing weights by training (`model/training`).
"""

# SPDX-License-Identifier: Apache-2.0
"""The workloads of `onespike bench`, the peers that it names, and its tables.

Not here: how a rival is counted (`model/cost/baselines.py`).
"""

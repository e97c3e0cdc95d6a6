# SPDX-License-Identifier: Apache-2.0
"""Where tests find the repository, and where they keep what is compiled once."""

from pathlib import Path

SUPPORT = Path(__file__).parent
ROOT = SUPPORT.parents[1]
BUILD = ROOT / "build" / "sim"

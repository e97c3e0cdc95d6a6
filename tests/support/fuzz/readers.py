# SPDX-License-Identifier: Apache-2.0
"""All that is read, by name."""

from . import data, line, networks, own
from .reader import by_name

READERS = by_name([*data.READERS, *networks.READERS, *own.READERS, *line.READERS])

# SPDX-License-Identifier: Apache-2.0
"""What becomes of frames that are shorter or longer than an image."""

from __future__ import annotations

from collections.abc import Sequence


def whole_image(frame: Sequence[int], beats: int) -> list[int]:
    """The image of `beats` beats that a frame becomes: zeros fill it up, surplus beats are dropped."""
    return [*frame[:beats], *[0] * (beats - len(frame))]

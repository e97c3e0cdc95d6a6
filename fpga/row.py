# SPDX-License-Identifier: Apache-2.0
"""Row: several boards, one behind the other, that compute one network; the host hands the maps from each to the next.

row = Row(split(net, cuts), [Board(link) for link in links])
row.load()
answer = row.classify(images)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from ..model.errors import OneSpikeError
from ..model.network.judge import answers_of
from ..model.network.split import Part
from .host import Answer, Board


class Row:
    """Boards that each compute a part of a network; OneSpikeError where there are not as many as parts.

    Every board works on another image: the slowest one, with its link, sets the rate.
    """

    def __init__(self, parts: Sequence[Part], boards: Sequence[Board]):
        if len(parts) != len(boards) or not parts:
            raise OneSpikeError(f"{len(parts)} parts need as many boards, not {len(boards)}.")
        self.parts, self.boards = tuple(parts), tuple(boards)

    def load(self) -> None:
        """Load every board's part, where the board does not hold it."""
        for part, board in zip(self.parts, self.boards, strict=True):
            board.load(part.net)

    def classify(self, images: np.ndarray, *, progress: Callable[[], None] = lambda: None) -> Answer:
        """As `Board.classify`, with the whole network's answers; progress: called after every image."""
        net = self.parts[-1].net
        codes = self.parts[0].net.image.quantise(images)
        pools = [ThreadPoolExecutor(1) for _ in self.boards]  # one a board: a link takes one request at a time

        def pass_on(number: int, before: Future[np.ndarray]) -> np.ndarray:
            part = self.parts[number]
            logits = self.boards[number].classify(before.result()).logits
            if part.cut is None:
                return logits
            return part.hand_over(logits).astype(self.parts[number + 1].net.image.code_type)

        try:
            ends: list[Future[np.ndarray]] = []
            for index in range(len(codes)):
                last: Future[np.ndarray] = Future()
                last.set_result(codes[index : index + 1])
                for number, pool in enumerate(pools):
                    last = pool.submit(pass_on, number, last)
                ends.append(last)
            logits = []
            for end in ends:
                logits.append(end.result()[0])
                progress()
        finally:
            for pool in pools:
                pool.shutdown(cancel_futures=True)
        values = np.array(logits, np.int64).reshape(len(codes), net.classes)
        return Answer(logits=values, classes=answers_of(net, values))

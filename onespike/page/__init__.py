# SPDX-License-Identifier: Apache-2.0
"""The page of `onespike report -o FILE.html`: figures of one network on one engine, measured here and elsewhere.

`measured.py` reads the files that other commands wrote; `insight.py`, `timeline.py` and `memories.py` find what only
the page shows; `gather.py` puts all of it together. Sections (`summary.py`, `layers.py`, `image.py`, `storage.py`,
`costs.py`, `origins.py`) are made from these figures alone, `drawing.py` draws and `render.py` writes. Not here: what
is counted and predicted (`model/cost/`), and what the terminal shows (`onespike/tables.py`).
"""

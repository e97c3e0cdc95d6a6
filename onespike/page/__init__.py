# SPDX-License-Identifier: Apache-2.0
"""The page of `onespike report -o FILE.html`: figures of one network on one engine, measured here and elsewhere.

`measured.py` reads the files that other commands wrote, `insight.py`, `timeline.py` and `memories.py` find what only the page
shows, the sections are made from these figures alone, `drawing.py` draws and `render.py` writes. Not here: what is counted
and predicted (`model/cost/`), and what the terminal shows (`onespike/tables.py`).
"""

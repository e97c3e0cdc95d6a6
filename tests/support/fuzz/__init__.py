# SPDX-License-Identifier: Apache-2.0
"""Fuzzing of everything that is read: `python -m fuzz` with tests/support on the path, or `make fuzz`.

| file | says |
|---|---|
| `readers.py` | all that is read: `data.py`, `networks.py`, `own.py`, `line.py` have it by kind |
| `openings.py` | where the product opens a file, and which reader of these covers the place |
| `mutations.py`, `formats.py` | how files are damaged: as bytes, and as what they hold |
| `verdict.py` | what must hold of every input |
| `search.py` | rounds with a seed, for the test suite; smaller inputs that fail in the same way |
| `guided.py` | rounds that coverage guides, with Atheris, one process for a reader |
| `__main__.py` | all readers in turns for a given time, with a corpus that is kept |
"""

# SPDX-License-Identifier: Apache-2.0
"""Files of a small citation network, as they come."""

import pickle

import numpy as np

RNG = np.random.default_rng(2)
WORDS = (RNG.random((50, 12)) < 0.3).astype(np.float32)
LABELS = np.arange(50) % 2
PAIRS = RNG.integers(0, 50, (80, 2))


def content(folder):
    """The classic files; the last citation is of a paper that is not there."""
    lines = [" ".join([f"p{i}", *map(str, row.astype(int)), f"class{LABELS[i]}"]) for i, row in enumerate(WORDS)]
    (folder / "cora.content").write_text("\n".join(lines))
    cites = [f"p{a}\tp{b}" for a, b in PAIRS]
    (folder / "cora.cites").write_text("\n".join([*cites, "p0 unknown"]))


def planetoid(folder, protocol=2, **changes):
    """Planetoid's files: 30 known papers, 4 of them to learn from, 19 to be tested, and one (44) that is nowhere."""
    from scipy import sparse as scipy_sparse  # of mlxtend: what wrote such files

    order = np.random.default_rng(3).permutation([*range(30, 44), *range(45, 50)])
    one_hot = np.eye(2, dtype=np.int32)[LABELS]
    graph = {node: sorted({int(b) for a, b in PAIRS if a == node}) for node in range(50)}
    sparse = scipy_sparse.csr_matrix
    parts = {
        "x": sparse(WORDS[:4]), "tx": sparse(WORDS[order]), "allx": sparse(WORDS[:30]), "y": one_hot[:4],
        "ty": one_hot[order], "ally": one_hot[:30], "graph": graph,
    }  # fmt: skip
    for name, part in (parts | changes).items():
        (folder / f"ind.cora.{name}").write_bytes(part if isinstance(part, bytes) else pickle.dumps(part, protocol))
    (folder / "ind.cora.test.index").write_text("\n".join(map(str, order)))

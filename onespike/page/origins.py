# SPDX-License-Identifier: Apache-2.0
"""The last section: the commands, seeds, versions and hashes behind every figure."""

from __future__ import annotations

from .material import Material
from .parts import Section, Table, cells, words


def section(material: Material) -> Section:
    """Where every figure comes from, and what it takes to make it again."""
    sources = material["sources"]
    commands = Table(
        name="sources", caption="Commands and files", shown=True,
        heads=("source", "command", "file", "SHA-256 of the file"),
        rows=tuple(
            cells(source["id"], words(source["command"] or "not recorded: a file of an older version"),
                  source["path"] or "this page", words(source["sha256"] or "-"))
            for source in sources
        ),
    )  # fmt: skip
    names = list(dict.fromkeys(name for source in sources for name in source["versions"]))
    versions = Table(
        name="versions", caption="Versions", heads=("source", *names),
        rows=tuple(
            cells(source["id"], *(words(source["versions"].get(name, "-")) for name in names)) for source in sources
        ),
    )  # fmt: skip
    rows = [("network", material["network"]["hash"]), ("network's file, SHA-256", material["hashes"]["file"]),
            ("engine", material["hashes"]["engine"]), ("image codes", material["hashes"]["images"])]  # fmt: skip
    data = material["data"]
    rows += [("data", f"{data['name']}, the first {data['images']} images of its {data['split']} split")]
    rows += [(f"seed of {source['id']}", str(source["seed"])) for source in sources if source["seed"] is not None]
    hashes = Table(name="hashes", caption="Hashes, data and seeds", heads=("what", "is"),
                   rows=tuple(cells(words(name), words(value)) for name, value in rows),
                   note="Engine: of its parameters and slices. Image codes: as the network takes them.")  # fmt: skip
    return Section(name="sources", title="Reproduce", tables=(commands, hashes, versions))

# SPDX-License-Identifier: Apache-2.0
"""A page as a test reads it: headings, ids, links, tables and pictures, by Python's own parser."""

import base64
from html.parser import HTMLParser

VOID = {"meta", "br", "link", "img", "input", "hr"}
SHAPES = {"path", "use", "image", "rect", "circle", "line"}


class Page(HTMLParser):
    """headings: (level, text); tables: id of the details -> rows of (text, number or None); files: name -> contents."""

    def __init__(self, text: str):
        super().__init__()
        self.headings, self.ids, self.links, self.open = [], [], [], []
        self.tables, self.files, self.labels, self.tags, self.captions = {}, {}, [], set(), []
        self.addresses: list[str] = []
        self._cell = self._table = None
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.addresses += [value for name, value in attributes if name in ("href", "src", "xlink:href") and value]
        if found.get("role") == "img":
            self.labels.append(found.get("aria-label", ""))
        if tag == "a" and "download" in found:
            head, data = found["href"].split(",", 1)
            assert head.startswith("data:") and head.endswith(";base64")
            self.files[found["download"]] = base64.b64decode(data).decode()
        elif tag == "a":
            self.links.append(found["href"])
        if tag == "details":
            self._table = self.tables.setdefault(found["id"].removeprefix("table-"), [])
        if tag == "tr":
            self._table.append([])
        if tag in ("td", "th", "h1", "h2", "h3", "figcaption"):
            self._cell = ["", None]
        if tag == "data" and self._cell is not None:
            self._cell[1] = float(found["value"])

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_data(self, data):
        if self._cell is not None:
            self._cell[0] += data

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self._table[-1].append((self._cell[0].strip(), self._cell[1]))
        elif tag in ("h1", "h2", "h3"):
            self.headings.append((int(tag[1]), self._cell[0].strip()))
        elif tag == "figcaption":
            self.captions.append(self._cell[0].strip())
        else:
            return
        self._cell = None

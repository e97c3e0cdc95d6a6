# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: on a wide screen and on a phone, nothing is cut off, overlaps or is complained of."""

import html
import json
import re
import shutil
import subprocess

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
WIDTHS = (1200, 360)
# In every frame: its width and what is wider, names of pictures in which text is cut off or lies on other text.
PROBE = """
onload = () => document.body.dataset.found = JSON.stringify([...document.querySelectorAll("iframe")].map(frame => {
  const page = frame.contentDocument, root = page.documentElement, wrong = [], seen = [];
  for (const picture of page.querySelectorAll("figure svg")) {
    const box = picture.getBoundingClientRect(), name = picture.closest("figure").id;
    if (!box.width) continue;
    seen.push(name);
    const texts = [...picture.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()]);
    texts.forEach(([text, a], number) => {
      if (a.left < box.left - 1 || a.right > box.right + 1 || a.top < box.top - 1 || a.bottom > box.bottom + 1)
        wrong.push(`${name}: ${text} is cut off`);
      for (const [other, b] of texts.slice(number + 1))
        if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
            && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3)
          wrong.push(`${name}: ${text} lies on ${other}`);
    });
  }
  return {wrong, seen, width: root.clientWidth, needed: root.scrollWidth, text: page.querySelector("dd").innerText};
}))
"""


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here: apt-get install chromium")
def test_in_chromium(whole, tmp_path):
    """Some seconds for the browser: nothing less lays the page out."""
    text, _ = whole
    frames = "".join(f'<iframe style="width: {width}px" srcdoc="{html.escape(text)}"></iframe>' for width in WIDTHS)
    head = '<!DOCTYPE html><meta charset="utf-8">'
    (tmp_path / "frames.html").write_text(f"{head}<body>{frames}<script>{PROBE}</script></body>")
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,900", str(tmp_path / "frames.html")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr, done.stderr
    found = json.loads(html.unescape(re.search(r'data-found="([^"]*)"', done.stdout)[1]))
    for width, frame in zip(WIDTHS, found, strict=True):
        assert frame["wrong"] == []
        assert frame["needed"] <= frame["width"] <= width
        assert len(set(frame["seen"])) == len(frame["seen"]) > 7  # one of both drawings of each
        assert frame["text"].startswith("0.00 %")

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The page on the operations port, in a headless Chromium: what it shows is what the agent
counted, it can be read by everyone, and it loads and runs nothing but itself.

Pictures of it are left in build/page/: look at them after a change."""
import json
import os
import signal
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))

from browser import Browser  # noqa: E402
from lake import ROOT, end, until  # noqa: E402
from test_run import Case  # noqa: E402

PICTURES = os.path.join(ROOT, "build", "page")
LOOKS = [(width, height, scheme) for width, height in ((1280, 900), (360, 740))
         for scheme in ("light", "dark")]

# Each text against what is painted behind it, by WCAG 2.2's formula; what is below its AA.
PALE = """(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = color => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const light = c => c.slice(0, 3).map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = rgba(getComputedStyle(e).backgroundColor);
      if (c[3] === 1) return c;
    }
    return [255, 255, 255, 1];
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let looked = 0;
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, style = getComputedStyle(e);
    if (!walk.currentNode.data.trim() || !e.checkVisibility() || e.closest("script, style")) continue;
    looked++;
    const [a, b] = [light(rgba(style.color)), light(behind(e))].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ratio = (a + .05) / (b + .05);
    if (ratio < (large ? 3 : 4.5)) found.push([walk.currentNode.data.trim(), ratio.toFixed(2)]);
  }
  return [looked, found];
})()"""

# Who can be reached by keyboard, and by what name a screen reader calls it.
NAMES = """[...document.querySelectorAll("a[href], button, input, [tabindex='0']")]
  .filter(e => e.checkVisibility()).map(e => [e.tagName + (e.id ? "#" + e.id : ""),
    (e.getAttribute("aria-label") || e.textContent || (e.labels && e.labels[0].textContent) || "").trim()])"""


class Page(Case):
    @classmethod
    def setUpClass(cls):
        os.makedirs(PICTURES, exist_ok=True)
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)

    def open(self, agent):
        self.browser.look(1280, 900)
        self.browser.call("Page.navigate", url=f"http://127.0.0.1:{agent.operations}/")
        self.browser.told.clear()
        self.see("#state", "Ready")

    def text(self, selector):
        """What can be seen of it."""
        return self.browser.run(f"(e => e && e.checkVisibility() ? e.innerText : '')"
                                f"(document.querySelector({json.dumps(selector)}))")

    def see(self, selector, words):
        try:
            until(lambda: words in self.text(selector), words)
        except AssertionError as error:
            raise AssertionError(f"{selector} says {self.text(selector)!r}\n"
                                 f"{self.browser.complaints()}") from error

    def asked(self):
        """How often the page has asked for the status."""
        return sum(url.endswith("/v1/status") for url in self.browser.requests())

    def turns(self, count):
        """Lets the page's clock pass so many of its seconds."""
        self.browser.run(f"new Promise(done => setTimeout(done, {count * 1000}))")

    def load(self, agent):
        for n in range(30):
            lines = "\n".join(f'{{"id":"private-{n}-{i}"}}' for i in range(40))
            agent.post("clicks", lines)
            agent.post("impressions", lines)
        agent.post("clicks", b'{"ix":1}\nnonsense-private')

    def test_shows_what_was_counted(self):
        agent = self.start()
        self.open(agent)
        self.assertIn("curl", self.text("#hint"))
        self.load(agent)
        self.see("#sums", "2,402")
        self.see("#tables", "required 1")
        self.assertFalse(self.browser.run("document.querySelector('#hint').checkVisibility()"))
        agent.post("clicks", b'{"id":"last"}')
        until(lambda: self.lake.inbox("clicks"), "an announcement")
        self.lake.once()
        self.see("#sums", "committed")
        until(lambda: self.text("#fresh-last") not in ("–", ""), "a receipt")
        self.see("#sums .sum:nth-child(2)", "adds up")
        self.assertEqual(self.text("#sums").count("✓ adds up"), 2)
        page = self.text("body")
        self.assertNotIn("private", page)
        for words in ("edge-1", "clicks", "impressions", f"127.0.0.1:{agent.port}"):
            self.assertIn(words, page)
        pictures = set()
        for width, height, scheme in LOOKS:
            self.browser.look(width, height, scheme)
            self.turns(0.5)
            size = self.browser.run("[document.documentElement.scrollWidth, innerWidth]")
            self.assertEqual(size, [width, width], "it is wider than the screen")
            looked, pale = self.browser.run(PALE)
            self.assertGreater(looked, 60)
            self.assertEqual(pale, [], f"too little contrast, {scheme}")
            pictures.add(self.browser.photograph(f"{PICTURES}/{width}-{scheme}.png"))
        self.assertEqual(len(pictures), len(LOOKS))
        self.assertEqual(self.browser.complaints(), [])
        origin = f"http://127.0.0.1:{agent.operations}/"
        self.assertEqual([url for url in self.browser.requests() if not url.startswith(origin)], [])
        agent.stop()

    def test_begins_with_what_was(self):
        """Who is woken opens it when it has happened already."""
        agent = self.start()

        def remembered(count):
            text = agent.get("/v1/history", agent.operations)[1]
            return len(json.loads(text)["samples"]) >= count

        until(lambda: remembered(1), "a sample")
        self.load(agent)
        until(lambda: remembered(2), "another")
        self.open(agent)
        line = "document.querySelector('#c-rate .line.in').getAttribute('d')"
        until(lambda: "L" in self.browser.run(line), "a line")
        highest = self.browser.run("Math.min(...%s.split(/[ML]/).slice(1).map(p => "
                                   "+p.split(' ')[1]))" % line)
        self.assertLess(highest, 60)  # what came before it was opened
        self.assertLess(self.asked(), 4)
        self.see("#answer-p99", "s")
        self.browser.photograph(f"{PICTURES}/history.png")
        agent.stop()

    def test_files_that_are_followed(self):
        """Who cleans up must see what is not read yet."""
        path = self.lake.write("logs/clicks.log", '{"id":"a"}\n{"id":"b"}\n{"id":"half')
        agent = self.start("--listen", f"http:127.0.0.1:0,tail:{path}?table=clicks")
        self.open(agent)
        self.see("#files", "clicks.log")
        self.see("#files", "22 B")
        self.see("#files", "no")
        for width, scheme in ((1280, "dark"), (360, "light")):
            self.browser.look(width, 740, scheme)
            self.turns(0.3)
            self.assertEqual(self.browser.run("document.documentElement.scrollWidth"), width)
            self.assertEqual(self.browser.run(PALE)[1], [])
            self.browser.photograph(f"{PICTURES}/files-{width}.png")
        agent.stop()

    def test_outage_and_return(self):
        """Who looks at it in the night must not take old figures for those of now."""
        agent = self.start("--roll-age", "1h")
        self.open(agent)
        self.assertEqual(self.text("#gone"), "")
        end(agent.process, signal.SIGKILL)
        self.see("#state", "No answer")
        self.see("#gone", "The agent does not answer")
        self.assertEqual(self.browser.run("document.querySelector('#gone').getAttribute('role')"),
                         "alert")
        self.assertIn("✕", self.browser.run("document.title"))
        self.browser.photograph(f"{PICTURES}/gone.png")
        agent = self.start("--operations", f"127.0.0.1:{agent.operations}")
        self.see("#state", "Ready")
        self.assertEqual(self.text("#gone"), "")
        agent.stop()
        self.see("#state", "No answer")

    def test_trouble_is_told_as_text(self):
        """A server's words are no markup, and warnings are seen."""
        self.lake.warehouse = self.lake.path("<img src=x onerror=alert(1)>")
        os.makedirs(self.lake.warehouse)
        agent = self.start()
        self.open(agent)
        os.rename(self.lake.warehouse, self.lake.path("away"))
        self.lake.write(os.path.basename(self.lake.warehouse), "")
        agent.post("clicks", b'{"id":"a"}')
        self.see("#log", "<img src=x onerror=alert(1)>")
        self.see("#state", "with warnings")
        self.see("#trouble", "store")
        self.assertEqual(self.browser.run("document.images.length"), 0)
        self.assertEqual(self.browser.run(PALE)[1], [])
        for width, scheme in ((1280, "light"), (360, "dark")):
            self.browser.look(width, 740, scheme)
            self.turns(0.5)
            self.assertEqual(self.browser.run("document.documentElement.scrollWidth"), width)
            self.assertEqual(self.browser.run(PALE)[1], [])
            self.browser.photograph(f"{PICTURES}/trouble-{width}.png")
        os.remove(self.lake.warehouse)
        os.rename(self.lake.path("away"), self.lake.warehouse)
        self.see("#checks", "store")
        until(lambda: self.text("#state") == "Ready", "ready again")
        agent.stop()

    def test_asks_only_while_it_is_seen(self):
        agent = self.start()
        self.open(agent)
        hidden = "Object.defineProperty(document, 'hidden', {configurable: true, get: () => %s});" \
                 "document.dispatchEvent(new Event('visibilitychange'))"
        self.turns(1.5)
        self.assertGreater(self.asked(), 0)
        self.browser.run(hidden % "true")
        self.turns(0.5)  # what is under way
        before = self.asked()
        self.turns(2.5)
        self.assertEqual(self.asked(), before)
        self.browser.run(hidden % "false")
        until(lambda: self.asked() > before, "it asks again")
        # Also while it asks: the answer does not undo it.
        self.browser.run("document.dispatchEvent(new Event('visibilitychange'));"
                         "document.querySelector('#pause').click()")
        self.turns(0.5)
        self.see("#state", "Paused")
        before = self.asked()
        self.turns(2.5)
        self.assertEqual(self.asked(), before)
        agent.stop()

    def test_by_keyboard(self):
        agent = self.start()
        self.open(agent)
        names = self.browser.run(NAMES)
        self.assertEqual([tag for tag, name in names if not name], [])
        reached = []
        for _ in range(14):
            self.browser.press("Tab")
            reached.append(self.browser.run("document.activeElement.id || "
                                            "document.activeElement.textContent"))
            outline = self.browser.run(
                "(e => [e, e.nextElementSibling].map(x => x ? getComputedStyle(x).outlineStyle"
                " : 'none'))(document.activeElement)")
            self.assertIn("solid", outline, reached[-1])
            if reached[-1] == "c-fresh":
                break
        self.assertEqual(reached[0], "Skip to the figures")
        for name in ("pause", "c-rate", "c-answer", "c-spool", "c-fresh"):
            self.assertIn(name, reached)
        self.turns(2.5)
        self.browser.press("ArrowLeft")
        self.see("#c-fresh .tip", "oldest")
        self.browser.press("Escape")
        self.assertEqual(self.text("#c-fresh .tip"), "")
        transition = "getComputedStyle(document.querySelector('main')).transitionDuration"
        self.assertNotEqual(self.browser.run(transition), "0s")
        self.browser.look(1280, 900, motion="reduce")
        self.assertEqual(self.browser.run(transition), "0s")
        agent.stop()

    def test_runs_nothing_else(self):
        """Should markup ever get into the page, its policy holds."""
        agent = self.start()
        self.open(agent)
        self.browser.run("(() => { const s = document.createElement('script');"
                         "s.textContent = 'window.ran = true'; document.body.append(s);"
                         "const i = new Image(); i.src = '/healthz'; document.body.append(i);"
                         "})()")
        self.assertIsNone(self.browser.run("window.ran"))
        said = [text for _, text in self.browser.complaints()]
        self.assertTrue(any("script-src" in text for text in said), said)
        until(lambda: any("img-src" in text for _, text in self.browser.complaints()), "no images")
        refused = self.browser.run("fetch('http://127.0.0.1:1/').then(() => 'went', () => 'refused')")
        self.assertEqual(refused, "refused")
        self.assertTrue(any("connect-src" in text for _, text in self.browser.complaints()))
        agent.stop()


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""What is wrong in a configuration is said by `check` and at the start: file, line, what was meant."""
import re
import unittest

import lake
from lake import USAGE, Lake, program

GOOD = """warehouse: file://{warehouse}
spool: {{directory: {spool}}}
tables: [openrtb, {mine}]
operations: 127.0.0.1:0
listen:
  - {{http: 127.0.0.1:0}}
  - {{unix: {sock}, table: clicks, ack: lines}}
"""
MINE = """table: mine
columns:
  id: {type: string, from: id, required: true}
"""
# What is put instead of what, in which file; the line that is to be named; and words.
AGENT, MAPPING = "agent.yaml", "mine.yaml"
WRONG = [
    (AGENT, "warehouse:", "wharehouse:", 1, ["wharehouse", "did you mean", "warehouse"]),
    (AGENT, "directory:", "dirctory:", 2, ["dirctory", "spool.directory"]),
    (AGENT, "operations: 127", "operatoins: 127", 4, ["operatoins", "did you mean", "operations"]),
    (AGENT, "operations:", "roll: {age: 60}\noperations:", 4, ["roll.age", "60"]),
    (AGENT, "operations:", "roll: {age: 2h}\noperations:", 4, ["roll.age", "1h"]),
    (AGENT, "operations:", "roll: {age: soon}\noperations:", 4, ["roll.age", "soon"]),
    (AGENT, "operations:", "roll: {rows: 1e6}\noperations:", 4, ["roll.rows", "1e6"]),
    (AGENT, "operations:", "spool.bytes: 1KiB\noperations:", 4,
     ["spool.bytes", "spool: {bytes: ...}"]),
    (AGENT, "directory:", "when_full: drop, directory:", 2, ["drop", "drop_oldest"]),
    (AGENT, "directory:", "bytes: 1KiB, directory:", 2, ["spool.bytes", "16MiB"]),
    (AGENT, "operations:", "background: {io: lowest}\noperations:", 4, ["lowest", "low"]),
    (AGENT, "directory:", "linger: 1s, directory:", 2, ["spool.linger", "5ms"]),
    (AGENT, "operations:", "warehouse: file:///x\noperations:", 4, ["warehouse", "twice"]),
    (AGENT, "operations:", "\toperations:", 4, []),
    (AGENT, "[openrtb,", "[openrtp,", 3, ["openrtp", "openrtb"]),
    (AGENT, "[openrtb,", "[openrtb, openrtb/clicks,", 3, ["clicks", "already"]),
    (AGENT, "[openrtb,", "[openrtb, /nowhere/x.yaml,", 3, ["/nowhere/x.yaml", "No such file"]),
    (AGENT, "- {{http:", "- {{htpp:", 6, ["htpp", "did you mean", "http"]),
    (AGENT, "{{http: 127.0.0.1:0}}", "{{http: localhost}}", 6, ["localhost"]),
    (AGENT, "{{http: 127.0.0.1:0}}", "{{http: 127.0.0.1:0, tabel: clicks}}", 6,
     ["tabel", "did you mean", "table"]),
    *[(AGENT, "{{http: 127.0.0.1:0}}", f"{{{{http: 127.0.0.1:0, threads: {wrong}}}}}", 6, ["threads"])
      for wrong in ("0", "65", "-1", "1x", "two")],
    (AGENT, "ack: lines", "threads: 2", 7, ["threads", "http"]),
    (AGENT, "table: clicks,", "", 7, ["table"]),
    (AGENT, "table: clicks,", "table: clikcs,", 7, ["clikcs", "did you mean", "clicks"]),
    (AGENT, "table: clicks,", "table: dead_letters,", 7, ["dead_letters", "own"]),
    (AGENT, "ack: lines", "ack: line", 7, ["ack"]),
    (AGENT, "ack: lines", "mode: 0999", 7, ["mode", "octal"]),
    (AGENT, "{{unix: ", "{{unix: here", 7, ["absolute"]),
    (AGENT, "ack: lines", "owner: nobodyy", 7, ["no user", "nobodyy"]),
    (AGENT, "ack: lines", "group: nogr", 7, ["no group", "nogr"]),
    (AGENT, "{{unix: {sock}", "{{unix: /tmp/" + 103 * "x", 7, ["107 bytes"]),
    (AGENT, "{{unix: {sock}", "{{unix: /etc/passwd", 7, ["/etc/passwd", "no socket"]),
    (AGENT, "{{http: 127.0.0.1:0}}", "{{unix_datagram: /etc/nowhere/x.sock, table: mine}}", 6,
     ["no directory", "/etc/nowhere"]),
    *[(AGENT, "- {{unix:", f"- {{{{{one}}}}}\n  - {{{{{two}}}}}\n  - {{{{unix:", 8,
       ["twice", "agent.yaml:7"])
      for one, two in (("http: 127.0.0.1:7188", "http: 127.0.0.1:07188"),
                       ("http: 0.0.0.0:7188", "http: 127.0.0.1:7188"),
                       ("http: \"[::1]:7188\"", "http: \"[::]:7188\""),
                       ("stdin: true, table: clicks", "stdin: true, table: mine"),
                       ("unix: /run/s, table: clicks", "unix: /run/s, table: mine"),
                       ("unix: /run/s, table: clicks", "unix_datagram: /run/s, table: mine"),
                       ("tail: /x/*, table: clicks", "tail: /x/*, table: mine"))],
    (AGENT, "- {{unix:", "- {{tail: /x/*, table: mine}}\n  - {{tail: /y/*, table: mine}}\n  - {{unix:", 8,
     ["{a,b}"]),
    (AGENT, "127.0.0.1:0\nlisten:\n  - {{http: 127.0.0.1:0}}",
     "127.0.0.1:7188\nlisten:\n  - {{http: 0.0.0.0:7188}}", 6, ["operations"]),
    (AGENT, "operations:", "http: {{token_file: /nowhere/token}}\noperations:", None,
     ["http.token_file", "/nowhere/token"]),
    (AGENT, "operations:", "memory: {{max: 32MiB}}\noperations:", None, ["memory.max", "roll.rows"]),
    (MAPPING, "columns:", "colunms:", 2, ["colunms", "did you mean", "columns"]),
    (MAPPING, "string", "strnig", 3, ["strnig", "did you mean", "string"]),
    (MAPPING, "columns:", "priority: hihg\ncolumns:", 2, ["hihg", "did you mean", "high"]),
    (MAPPING, "required: true", "required: yes please", 3, ["required"]),
]


class Configuration(unittest.TestCase):
    def setUp(self):
        self.lake = Lake()
        self.addCleanup(self.lake.__exit__)
        self.lake.init()

    def configure(self, changes=(None, None, None)):
        where, before, after = changes
        texts = {AGENT: GOOD, MAPPING: MINE}
        if where:
            self.assertIn(before, texts[where])
            if where == AGENT:
                after = re.sub(r"(?<!\{)\{(?!\{)|(?<!\})\}(?!\})", lambda found: found[0] * 2, after)
            texts[where] = texts[where].replace(before, after, 1)
        mine = self.lake.write(MAPPING, texts[MAPPING])
        return self.lake.write(AGENT, texts[AGENT].format(
            warehouse=self.lake.warehouse, spool=self.lake.spool, mine=mine,
            sock=self.lake.path("clicks.sock")))

    def test_the_good_one_is_well(self):
        result = program("bidlake-agent", "check", "--config", self.configure())
        self.assertEqual(result.code, lake.DONE, result.err)

    def test_each_mistake_is_named(self):
        for where, before, after, line, words in WRONG:
            config = self.configure((where, before, after))
            for command in ("check", "run"):
                with self.subTest(command=command, wrong=after):
                    result = program("bidlake-agent", command, "--config", config)
                    self.assertEqual(result.code, USAGE, result.err)
                    if line:
                        self.assertIn(f"{where}:{line}", result.err)
                    for word in words:
                        self.assertIn(word, result.err)


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""Header and body as they came: what nobody mapped can still be had from $raw, years later."""
import json
import random
import unittest

from lake import DONE, Lake
from test_run import Case

COLUMNS = """
columns:
  id: {type: string, from: id, required: true}
  exchange: {type: string, from: $header.x-exchange}
  body: {type: string, from: $raw}
  bid: {type: double, from: "imp[].bidfloor"}
"""


def bodies(count):
    """Events of all sizes, with blanks, escapes and signs of all lengths, none mapped."""
    draw = random.Random(7)
    parts = ["plain", "caf\u00e9", "\u6f22\u5b57", "\U0001f3ae", "\\\"", "\\u00e9\\n", "\\\\",
             "a" * 15, "b" * 64]
    out = []
    for i in range(count):
        inner = "".join(draw.choice(parts) for _ in range(draw.randrange(40)))
        blank = draw.choice(["", " ", "\t", "\r"])
        imps = ",".join(['{"bidfloor":%d.5}' % k for k in range(draw.randrange(4))])
        out.append(f'{{{blank}"id":"e{i}",{blank}"x":{{"y":["{inner}",{blank}1.50e0,null]}},'
                   f'"imp":[{imps}]{blank}}}'.encode())
    return out


class Raw(Case):
    def make(self, extra=""):
        self.lake.tables = self.lake.write("kept.yaml", "table: kept\nexplode: imp\n" + extra +
                                           COLUMNS)
        self.lake.init()

    def kept(self):
        table = self.lake.load("kept").scan().to_arrow().select(["id", "exchange", "body", "bid"])
        return table.to_pylist()

    def test_body_as_it_came(self):
        """A byte changed on the way is a field that can't be read later."""
        self.make()
        events = bodies(400) + [b'{"id":"large","x":"' + b"\xc3\xa9\\\\" * 60000 + b'"}']
        lines = b"\n".join(b" " * (i % 3) + event + b"\t" * (i % 2)
                           for i, event in enumerate(events))
        self.lake.ingest("kept", self.lake.write("kept.ndjson", lines), code=DONE)
        self.lake.once()
        rows = self.kept()
        wanted = {}
        for event in events:
            parsed = json.loads(event)
            for imp in parsed.get("imp") or [{}]:
                wanted.setdefault((parsed["id"], imp.get("bidfloor")), []).append(event.decode())
        found = {}
        for row in rows:
            found.setdefault((row["id"], row["bid"]), []).append(row["body"])
        self.assertEqual(found, wanted)
        self.lake.check("kept")

    def test_header_and_body(self):
        """Each form of a request: of an event only its own text, and its request's header."""
        self.make()
        agent = self.start()
        pretty = b'{\n  "id": "a",\n  "new": [1, 2]\n}'
        for body, exchange in ((b" " + pretty + b"\n", "adx"), (b'{"id":"b"}\n{"id":"c" }\n', "rubi"),
                               (b'[{"id":"d","z":"\\u00e9"} , {"id":"e"}]', None)):
            headers = {"X-Exchange": exchange} if exchange else {}
            self.assertEqual(agent.post("kept", body, headers)[0], 200)
        broken = agent.post("kept", b'{"id":"f","x":"\xff\xc3"}')
        self.assertEqual(broken, (200, {"accepted": 1, "refused": 0}))
        agent.stop()
        self.lake.once()
        found = sorted((row["id"], row["exchange"], row["body"]) for row in self.kept())
        self.assertEqual(found, [
            ("a", "adx", pretty.decode()), ("b", "rubi", '{"id":"b"}'), ("c", "rubi", '{"id":"c" }'),
            ("d", None, '{"id":"d","z":"\\u00e9"}'), ("e", None, '{"id":"e"}'),
            ("f", None, '{"id":"f","x":"\ufffd\ufffd"}')])


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""Too much at once, too little room: what is refused, what goes on, numbers that add up."""
import unittest

from test_run import Case


def lines(count, prefix="n", pad=0):
    """NDJSON of so many events for clicks or impressions."""
    fill = "x" * pad
    return "".join(f'{{"id":"{prefix}{n}","site_domain":"{fill}"}}\n'
                   for n in range(count)).encode()


class Bounds(Case):
    def test_request_that_can_never_fit(self):
        """Refused as full it would come again for ever; and of its events none may be kept."""
        agent = self.start("--spool-bytes", "16MiB")
        status, answer = agent.post("clicks", lines(6000, pad=1000))
        self.assertEqual((status, answer["accepted"], answer["error"]), (413, 0, "too_large"))
        self.assertIn("3 MiB of rows", answer["detail"])
        self.assertEqual(agent.post("clicks", lines(2000, pad=1000))[0], 200)
        counts = [agent.metric(f"bidlake_capture_events_{name}_total")
                  for name in ("received", "kept", "refused")]
        self.assertEqual(counts[1], 2000)
        self.assertEqual(counts[0], counts[1] + counts[2])
        agent.stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"), {f"n{n}": 1 for n in range(2000)})


if __name__ == "__main__":
    unittest.main()

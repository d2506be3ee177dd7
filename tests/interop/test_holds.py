# SPDX-License-Identifier: Apache-2.0
"""The spool holds: a running agent whose store refuses it answers all events, says once what was
asked, by whom, and what to look at, and goes on by itself when that is mended; then each event is
in the table once. Over Versity's gateway and MinIO."""
import collections
import os
import re
import struct
import unittest

from test_s3 import OnMinio, S3Case, S3Lake, line
from test_run import Agent

import lake as programs
from lake import end, until

CLOCK = os.path.join(programs.ROOT, os.environ.get("CLOCK_TOOLS", "build/release/crash/clock"),
                     "jump.so")
HOUR = 3600
KEYS = "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n{}"
RIGHT = KEYS.format("bidlake", "bidlake-secret", "")


class HostLake(S3Lake):
    """Its agent has such a name as machines have: the lines are as long as they get."""

    def agent_flags(self, spool=None,
                    agent_id="i-0123456789abcdef0.ap-southeast-2.compute.internal"):
        return super().agent_flags(spool, agent_id)


class Holds(S3Case):
    UNKNOWN_KEY = "XAdminUserNotFound|InvalidAccessKeyId"
    BAD_TOKEN = "InvalidToken"

    def setUp(self):
        self.lake = HostLake(self.peer, self.id().rpartition(".")[2].replace("_", "-"))
        self.addCleanup(self.lake.__exit__)
        self.sent = []

    def run_agent(self, credentials=RIGHT, **env):
        """By keys in a file, which may be mended."""
        self.lake.write("aws", credentials)
        agent = Agent(self.lake, env=self.peer.environment(
            AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="",
            AWS_SHARED_CREDENTIALS_FILE=self.lake.path("aws"), **env))
        self.addCleanup(end, agent.process)
        return agent

    def post(self, agent):
        key = f"c{len(self.sent)}"
        self.assertEqual(agent.post("clicks", line(key)), (200, {"accepted": 1, "refused": 0}))
        self.sent.append(key)

    def holds(self, agent, pattern):
        """Through several tries: one line about the upload, and one by whoever else was refused
        (the start's probe, the look for the table's contract and for uploads that were left)."""
        for tries in (1, 2, 4):
            self.post(agent)
            until(lambda: agent.metric("bidlake_upload_failures_total") >= tries, f"{tries} tries")
        said = re.findall("level=(?:warn|error) .*", agent.log())
        self.assertEqual(len([text for text in said if "step=upload" in text]), 1, said)
        messages = collections.Counter(re.search('msg="(.*?)"', text)[1] for text in said)
        self.assertEqual(max(messages.values()), 1, said)
        self.assertLessEqual(len(messages), 4, said)
        for text in said:
            self.assertRegex(text, pattern)
            self.assertNotIn("bidlake-secret", text)
        self.assertEqual(agent.metric("bidlake_spool_events"), len(self.sent))
        self.assertEqual(agent.metric("bidlake_capture_events_refused_total"), 0)

    def arrives(self, agent):
        """Of itself, once."""
        def count():
            self.lake.once()
            return int(self.lake.table("count", "db.clicks").out)
        self.post(agent)
        until(lambda: count() >= len(self.sent), "all is in the table", 70)
        agent.stop()
        found = self.lake.load().scan().to_arrow()["click_id"].to_pylist()
        self.assertEqual(collections.Counter(found), collections.Counter(self.sent))

    def mended(self, agent, credentials=RIGHT):
        self.lake.write("aws", credentials)
        self.arrives(agent)
        self.assertIn('msg="step works again" step=upload', agent.log())

    def test_wrong_secret(self):
        self.lake.init()
        agent = self.run_agent(KEYS.format("bidlake", "guessed", ""))
        self.holds(agent, r" in bucket lake: 403 SignatureDoesNotMatch.*the secret key is not "
                          r"that of this access key.*; s3:\w+[^;]* of profile default in us-east-1")
        self.mended(agent)

    def test_unknown_key(self):
        self.lake.init()
        agent = self.run_agent(KEYS.format("nobody", "guessed", ""))
        self.holds(agent, rf" in bucket lake: 40[34] ({self.UNKNOWN_KEY}).*this access key is "
                          r"unknown to the store: look at the credentials and s3.endpoint; "
                          r"s3:\w+[^;]* of profile default")
        self.mended(agent)

    def test_bad_session_token(self):
        self.lake.init()
        agent = self.run_agent(KEYS.format("bidlake", "bidlake-secret",
                                           "aws_session_token = of-somebody-s\n"))
        self.holds(agent, rf" in bucket lake: 40[03] {self.BAD_TOKEN}\b.*the session token is "
                          r"none of this access key's.*; s3:\w+[^;]* of profile default")
        self.assertNotIn("of-somebody-s", agent.log())
        self.mended(agent)

    def test_wrong_bucket(self):
        """It is there a little later."""
        bucket = self.id().rpartition("_")[2] + "-" + type(self).__name__.lower()
        self.lake.url = f"s3://{bucket}/x"
        agent = self.run_agent()
        self.holds(agent, rf" in bucket {bucket}: 404 NoSuchBucket.*look at the bucket's name in "
                          r"the warehouse and at s3.endpoint; s3:\w+[^;]* of profile default")
        self.peer.ask("PUT", bucket)
        self.lake.init()
        self.mended(agent)

    def test_wrong_region(self):
        """The store tells: nothing waits, one line says what to set."""
        self.lake.init()
        agent = self.run_agent(AWS_REGION="eu-central-1")
        self.arrives(agent)
        said = re.findall("level=(?:warn|error) .*", agent.log())
        self.assertEqual(len(said), 1, said)
        self.assertRegex(said[0], "another region: set s3.region.*region=us-east-1")

    def test_clock_off(self):
        """An hour, either way: requests go by the store's clock, a line for each leap says so."""
        self.lake.init()
        clock = self.lake.write("clock", struct.pack("q", 0))
        agent = self.run_agent(LD_PRELOAD=CLOCK, BIDLAKE_CLOCK=clock)
        leaps = (HOUR, 0, -HOUR)
        for seconds in leaps:
            with open(clock, "r+b") as file:
                file.write(struct.pack("q", seconds * 10**9))
            self.post(agent)
            uploaded = len(self.sent)
            until(lambda: agent.metric("bidlake_upload_events_total") >= uploaded, "uploaded")
        self.arrives(agent)
        self.assertEqual(len(re.findall(
            "level=warn at=s3 msg=\"this machine's clock is off: requests are signed by the store",
            agent.log())), len(leaps), agent.log())
        self.assertNotIn("level=error", agent.log())


class MinioHolds(OnMinio, Holds):
    UNKNOWN_KEY = "InvalidAccessKeyId"
    BAD_TOKEN = "InvalidTokenId"


if __name__ == "__main__":
    unittest.main()

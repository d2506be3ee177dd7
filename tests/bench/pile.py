# SPDX-License-Identifier: Apache-2.0
"""Announcements in any number, at the cost of a small file each: our agent wrote one with its
files, the others are the same for other streams and ranges, their files hard links."""
import copy
import glob
import hashlib
import json
import os
import shutil
import time

COUNTRIES = ("USA", "DEU", "FRA", "GBR", "ITA", "ESP", "POL", "NLD", "BRA", "IND")
ROWS = 200  # a file
OLD_SECONDS = 2 * 86400
LINKS_MAX = 20000  # a file: some file systems take 65,000


def write_events(path, countries):
    """ROWS for each of the countries, which are partitions."""
    with open(path, "w", encoding="utf-8") as file:
        for number in range(ROWS * len(countries)):
            file.write(json.dumps({
                "id": f"request-{number}", "ext": {"ts": 1767225600000 + number},
                "imp": [{"id": "1", "banner": {"w": 300, "h": 250}, "bidfloor": 0.5}],
                "site": {"id": f"s{number % 40}", "domain": f"site{number % 40}.example",
                         "cat": ["IAB1"], "publisher": {"id": "p1"}},
                "device": {"devicetype": 2, "os": "Android",
                           "geo": {"country": countries[number % len(countries)]}},
                "user": {"id": f"u{number}"}, "at": 1, "tmax": 120, "cur": ["USD"]}) + "\n")


class Pile:
    """`warehouse`: the folder where the store keeps it, also if it goes by another URL."""

    def __init__(self, warehouse, folder, namespace="db"):
        self.warehouse, self.folder = warehouse, folder
        self.table = f"{namespace}.bid_requests"
        self.place = f"{warehouse}/{namespace}/bid_requests"
        self.template, self.sources = None, {}

    def take_template(self, files):
        """What the agent has announced, which must have so many files, goes from the store."""
        (inbox,) = glob.glob(f"{self.warehouse}/_bidlake/inbox/{self.table}/*/*.json")
        with open(inbox, "rb") as file:
            self.template = json.load(file)
        os.unlink(inbox)
        if len(self.template["files"]) != files:
            raise ValueError(f"{len(self.template['files'])} files, wanted {files}")
        for number, entry in enumerate(self.template["files"]):
            os.makedirs(self.folder, exist_ok=True)
            source = os.path.join(self.folder, f"{number}.parquet")
            shutil.copy2(f"{self.place}/{entry['path']}", source)  # a gateway's attributes, too
            os.unlink(f"{self.place}/{entry['path']}")
            self.sources[number] = [source, 0]

    def source(self, number, old):
        """A file to link to, a new one after LINKS_MAX."""
        key = (number, "old") if old else number
        first = self.sources[number][0]
        if key not in self.sources or self.sources[key][1] >= LINKS_MAX:
            path = os.path.join(self.folder, f"{len(self.sources)}-{time.monotonic_ns()}.parquet")
            shutil.copy2(first, path)
            if old:
                at = time.time() - OLD_SECONDS
                os.utime(path, (at, at))
            self.sources[key] = [path, 0]
        self.sources[key][1] += 1
        return self.sources[key][0]

    def announce(self, number, turn, old=False):
        """The `turn`-th segment of the `number`-th stream; `old`: its files are two days old."""
        stream = f"edge-{number}/01900000-0000-7000-8000-{number:012x}/{self.table}"
        name = hashlib.sha256(stream.encode()).hexdigest()[:32]
        size = self.template["to"] - self.template["from"]
        first = turn * size
        document = copy.copy(self.template)
        document.update({"stream": stream, "from": first, "to": first + size, "table_uuid": None})
        document["files"] = []
        for place, entry in enumerate(self.template["files"]):
            folder = os.path.dirname(entry["path"])
            path = f"{folder}/{name}-{first}-{first + size}-0.parquet"
            document["files"].append(dict(entry, path=path))
            os.makedirs(f"{self.place}/{folder}", exist_ok=True)
            os.link(self.source(place, old), f"{self.place}/{path}")
        folder = f"{self.warehouse}/_bidlake/inbox/{self.table}/{name}"
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/{first:020}.json", "w", encoding="utf-8") as file:
            json.dump(document, file, separators=(",", ":"))

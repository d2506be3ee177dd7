# SPDX-License-Identifier: Apache-2.0
"""Log files that grow and are rotated, in all the ways that there are."""
import gzip
import json
import os


class Held:
    """A file that is not opened for appending: truncated under its writer it begins with a hole."""

    def __init__(self, path):
        self.path, self.file = path, None

    def write(self, data):
        try:
            here = self.file and os.path.samestat(os.stat(self.path), os.fstat(self.file.fileno()))
        except FileNotFoundError:
            here = False
        if not here:
            self.close()
            self.file = open(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o644), "wb", buffering=0)
            self.file.seek(0, os.SEEK_END)
        self.file.write(data)

    def close(self):
        if self.file:
            self.file.close()
        self.file = None


class Rotating:
    """Logs in a folder. `rng` draws what happens, `pause` takes the seconds between."""
    names = ("renamed.log", "truncated.log", "held.log")

    def __init__(self, folder, rng, pause):
        self.folder, self.rng, self.pause = folder, rng, pause
        self.rotations = 0
        self.held = Held(os.path.join(folder, "held.log"))
        os.makedirs(folder, exist_ok=True)

    def write(self, name, ids):
        """A line an event, one of them in two writes."""
        data = b"".join(json.dumps({"id": i}).encode() + b"\n" for i in ids)
        cut = self.rng.randrange(len(data))
        if name == "held.log":
            self.held.write(data[:cut])
            self.held.write(data[cut:])
            return
        with open(os.path.join(self.folder, name), "ab", buffering=0) as file:
            file.write(data[:cut])
            file.write(data[cut:])

    def rotate(self):
        self.rotations += 1
        to = os.path.join(self.folder, f"old-{self.rotations}")
        log = os.path.join(self.folder, self.rng.choice(self.names))
        if log.endswith("renamed.log"):
            os.rename(log, to)
        else:
            self.copy(log, to, open)
            os.truncate(log, 0)
        self.pause(self.rng.choice([0, 0, 0.003, 0.3]))
        fate = self.rng.randrange(6)
        if fate < 3:
            self.copy(to, to + ".gz", lambda path, mode: gzip.open(path, mode, 1))
        elif fate == 3:
            self.copy(to, to + ".bak", open)
        if fate < 2 or fate == 3:
            os.remove(to)
        if fate == 5:
            os.rename(to, to + ".renamed")

    def copy(self, source, to, how):
        """In pieces, as an agent sees it that looks in between."""
        with open(source, "rb") as data, how(to, "wb") as out:
            while piece := data.read(self.rng.choice([500, 5000, 50000])):
                out.write(piece)
                out.flush()
                if self.rng.random() < 0.2:
                    self.pause(0.001)


def all_taken(files, folder=None):
    """Of what /v1/status says of them, and of what lies there now: a look may be older, and right
    after the start there was none."""
    listed = {os.path.basename(file["path"]) for file in files}
    if not files or (folder and not listed.issuperset(os.listdir(folder))):
        return False
    return all(file["state"] in ("copy", "finished") or
               (not file["compressed"] and file["offset"] == size_now(file)) for file in files)


def size_now(file):
    try:
        return os.path.getsize(file["path"])
    except OSError:  # renamed since, or of a name that JSON can't say
        return file["size"]

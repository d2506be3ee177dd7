#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Foreign readers over files of lib/parquet: pyarrow with page checksums verified, DuckDB
with filters at every page's edges, and a reading of all structures byte by byte by the
specification. What they find is held against the rows made here, which the writer got.

usage: parquet_readers.py PARQUET_MAKE [--seed N] [--keep DIR]
Needs pyarrow and duckdb.
"""
import argparse
import bisect
import datetime
import math
import os
import random
import struct
import subprocess
import sys
import tempfile
import zlib

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

sys.modules.setdefault("pandas", None)  # DuckDB would look for it at each parameter, for 20 s in all

BOOL, INT, LONG, DOUBLE, STRING, TIME = range(6)
PHYSICAL = {BOOL: 0, INT: 1, LONG: 2, DOUBLE: 5, STRING: 6, TIME: 2}
LIST, REQUIRED, NO_BOUNDS, PLAIN_ONLY, BLOOM = 1, 2, 4, 8, 16


class Field:
    def __init__(self, name, kind, flags=0):
        self.name, self.kind, self.flags = name, kind, flags
        self.id = self.element_id = 0
        self.list, self.required = bool(flags & LIST), bool(flags & REQUIRED)
        self.no_bounds, self.plain = bool(flags & NO_BOUNDS), bool(flags & PLAIN_ONLY)
        self.bloom = bool(flags & BLOOM)


class Case:
    def __init__(self, name, fields, groups, page_rows=0, page_bytes=0, dictionary_bytes=0,
                 sorting=(), level=0, bloom_min=1):
        self.bloom_min = bloom_min or 1 << 20
        self.name, self.fields, self.groups = name, fields, groups
        self.page_rows, self.page_bytes = page_rows, page_bytes
        self.dictionary_bytes, self.sorting, self.level = dictionary_bytes, sorting, level
        for i, field in enumerate(fields):
            field.id, field.element_id = i + 1, 1000 + i

    def rows(self, field):
        i = self.fields.index(field)
        return [value for group in self.groups for value in group[i]]


# -- the case, for the writer ------------------------------------------------------------

def text(value):
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<I", len(data)) + data


def put_values(kind, values, codes):
    if kind == STRING and codes:
        distinct = sorted(set(values) | {b"never used", b""}, key=lambda v: zlib.crc32(v))
        at = {value: i for i, value in enumerate(distinct)}
        out = struct.pack("<II", len(values), len(distinct)) + b"".join(map(text, distinct))
        return b"\1" + out + b"".join(struct.pack("<I", at[v]) for v in values)
    head = b"\0" + struct.pack("<I", len(values))
    if kind == STRING:
        return head + b"".join(map(text, values))
    code = {BOOL: "B", INT: "i", LONG: "q", TIME: "q", DOUBLE: "d"}[kind]
    return head + struct.pack("<%d%s" % (len(values), code), *values)


def put_column(field, rows, codes, rng):
    filler = {BOOL: 1, INT: -7, LONG: -7, TIME: -7, DOUBLE: 9e99, STRING: b"filler"}[field.kind]
    has_valid = any(v is None for v in rows) or rng.random() < 0.3
    out = b"\1" + bytes(v is not None for v in rows) if has_valid else b"\0"
    if not field.list:
        return out + put_values(field.kind, [filler if v is None else v for v in rows], codes)
    offsets, flat = [], []
    if rng.random() < 0.5:
        flat.append(filler)  # ranges need not begin at 0
    for row in rows:
        offsets.append(len(flat))
        if row is None and rng.random() < 0.5:
            flat.append(filler)  # what a null list points at is not to be looked at
        flat.extend(row or [])
    offsets.append(len(flat))
    return out + struct.pack("<%dI" % len(offsets), *offsets) + put_values(field.kind, flat, codes)


def put_case(case, codes, rng):
    out = struct.pack("<IIIII", case.level, case.page_rows, case.page_bytes, case.dictionary_bytes,
                      case.bloom_min)
    out += struct.pack("<I", len(case.fields))
    for f in case.fields:
        out += text(f.name) + struct.pack("<BBII", f.kind, f.flags, f.id, f.element_id)
    out += struct.pack("<I", len(case.sorting)) + b"".join(struct.pack("<I", s) for s in case.sorting)
    out += text("bidlake version 0.1.0 (build 0123abc)") + text('{"type":"struct"}')
    out += struct.pack("<I", len(case.groups))
    parts = [out]
    for group in case.groups:
        parts.append(struct.pack("<I", len(group[0])))
        parts += [put_column(f, rows, codes, rng) for f, rows in zip(case.fields, group)]
    return b"".join(parts)


# -- a reading of the structures that shares nothing with the writer ---------------------

class Thrift:
    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def byte(self):
        self.at += 1
        return self.data[self.at - 1]

    def uvarint(self):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def varint(self):
        value = self.uvarint()
        return value >> 1 ^ -(value & 1)

    def value(self, kind, element=False):
        if kind in (1, 2):
            return self.byte() == 1 if element else kind == 1
        if kind in (4, 5, 6):
            return self.varint()
        if kind == 8:
            length = self.uvarint()
            self.at += length
            return bytes(self.data[self.at - length:self.at])
        if kind == 9:
            head = self.byte()
            count = head >> 4 if head >> 4 < 15 else self.uvarint()
            return [self.value(head & 15, True) for _ in range(count)]
        assert kind == 12, kind
        return self.struct()

    def struct(self):
        out, last = {}, 0
        while True:
            head = self.byte()
            if head == 0:
                return out
            last = last + (head >> 4) if head >> 4 else self.varint()
            assert last not in out
            out[last] = self.value(head & 15)


def levels(data, at, width, count):
    """One length-prefixed hybrid stream; returns values and where it ends."""
    length, = struct.unpack_from("<I", data, at)
    out, end = hybrid(data[at + 4:at + 4 + length], width, count), at + 4 + length
    return out, end


def hybrid(data, width, count):
    reader, out = Thrift(data), []
    while len(out) < count:
        head = reader.uvarint()
        assert head >> 1 > 0, "empty run"
        if head & 1:
            size = (head >> 1) * width
            bits = int.from_bytes(data[reader.at:reader.at + size], "little")
            reader.at += size
            out += [bits >> i * width & (1 << width) - 1 for i in range((head >> 1) * 8)]
            assert len(out) < count + 8
        else:
            size = (width + 7) // 8
            out += [int.from_bytes(data[reader.at:reader.at + size], "little")] * (head >> 1)
            reader.at += size
            assert len(out) <= count
    assert reader.at == len(data), "bytes behind the last run"
    assert not any(out[count:]), "padding is not zero"
    return out[:count]


def plain(kind, data, count):
    if kind == BOOL:
        assert len(data) == (count + 7) // 8
        return [data[i // 8] >> i % 8 & 1 for i in range(count)]
    if kind == STRING:
        out, at = [], 0
        for _ in range(count):
            length, = struct.unpack_from("<I", data, at)
            out.append(bytes(data[at + 4:at + 4 + length]))
            at += 4 + length
        assert at == len(data)
        return out
    return list(struct.unpack("<%d%s" % (count, {INT: "i", LONG: "q", TIME: "q", DOUBLE: "d"}[kind]),
                              data))


def bits_of(value):
    return struct.pack("<d", value) if isinstance(value, float) else value


ZSTD = pa.Codec("zstd")


class Page:
    def __init__(self, data, at):
        reader = Thrift(data, at)
        self.header = reader.struct()
        self.header_len = reader.at - at
        stored = data[reader.at:reader.at + self.header[3]]
        self.size = self.header_len + self.header[3]
        assert self.header_len <= 64
        assert zlib.crc32(stored) == self.header[4] & 0xFFFFFFFF, "page CRC"
        self.body = bytes(ZSTD.decompress(stored, self.header[2]))
        assert len(self.body) == self.header[2]
        self.dictionary = self.header[1] == 2
        self.info = self.header[7 if self.dictionary else 5]


def page_rows(field, page, dictionary):
    """The rows in a data page, from its bytes."""
    count, at = page.info[1], 0
    assert page.info[3] == page.info[4] == 3
    repetition, definition = [0] * count, [1] * count
    if field.list:
        repetition, at = levels(page.body, at, 1, count)
        definition, at = levels(page.body, at, 2, count)
    elif not field.required:
        definition, at = levels(page.body, at, 1, count)
    present = sum(d == (3 if field.list else 1) for d in definition)
    if page.info[2] == 8:
        width = page.body[at]
        assert 1 <= width <= 32
        values = [dictionary[i] for i in hybrid(page.body[at + 1:], width, present)]
    else:
        assert page.info[2] == 0
        values = plain(field.kind, page.body[at:], present)
    rows, left = [], iter(values)
    for r, d in zip(repetition, definition):
        if not field.list:
            rows.append(next(left) if d else None)
        elif r == 0:
            rows.append(None if d == 0 else [] if d == 1 else [next(left)])
        else:
            assert d == 3
            rows[-1].append(next(left))
    return rows, present


def leaves(field, rows):
    if field.list:
        return [v for row in rows if row for v in row]
    return [row for row in rows if row is not None]


def null_count(field, rows):
    return sum(not row for row in rows) if field.list else sum(row is None for row in rows)


def cut(value, size):
    """The longest whole-character prefix of at most `size` bytes."""
    out = value[:size]
    while len(value) > size:
        try:
            out.decode()
            break
        except UnicodeDecodeError:
            out = out[:-1]
    return out


def above(prefix):
    """The least text above all that begin with this, no longer in characters; None: none."""
    points = [ord(c) for c in prefix.decode()]
    while points:
        if points[-1] < 0x10FFFF:
            points[-1] = 0xE000 if points[-1] == 0xD7FF else points[-1] + 1
            return "".join(map(chr, points)).encode()
        points.pop()
    return None


def number(kind, value, upper):
    if kind == BOOL:
        return bytes([value])
    if kind == DOUBLE:
        return struct.pack("<d", (0.0 if upper else -0.0) if value == 0 else value)
    return struct.pack("<i" if kind == INT else "<q", value)


def bounds(field, values):
    """(min, max, min exact, max exact) as they should stand, or None."""
    values = [v for v in values if not (isinstance(v, float) and math.isnan(v))]
    if field.no_bounds or not values:
        return None
    low, high = min(values), max(values)
    if field.kind != STRING:
        return number(field.kind, low, False), number(field.kind, high, True), True, True
    first, last = cut(low, 64), cut(high, 64)
    if last != high:
        top = above(last)
        return (first, top, first == low, False) if top is not None else None
    return first, last, first == low, True


def iceberg_bounds(field, values):
    values = [v for v in values if not (isinstance(v, float) and math.isnan(v))]
    if field.no_bounds or field.list or not values:
        return None, None
    low, high = min(values), max(values)
    if field.kind != STRING:
        return number(field.kind, low, False), number(field.kind, high, True)
    head = high.decode()[:16].encode()
    return low.decode()[:16].encode(), head if head == high else above(head)


def decode_bound(kind, data):
    if kind == STRING:
        return data
    return plain(kind, data, 1)[0]


def order_of(field, found):
    pairs = [(decode_bound(field.kind, a), decode_bound(field.kind, b)) for a, b in found]
    steps = list(zip(pairs, pairs[1:]))
    if all(a[0] <= b[0] and a[1] <= b[1] for a, b in steps):
        return 1
    return 2 if all(a[0] >= b[0] and a[1] >= b[1] for a, b in steps) else 0


def check_indexes(data, case, field, rows, chunk, edges):
    """Page index against the rows; returns the pages' (offset, size, first row, end row)."""
    offset_index = Thrift(data, chunk[4])
    places = offset_index.struct()[1]
    assert offset_index.at == chunk[4] + chunk[5]
    firsts = [place[3] for place in places]
    ends = firsts[1:] + [len(rows)]
    assert firsts[0] == 0 and all(a < b for a, b in zip(firsts, ends))
    marks = case.page_rows or 20000
    assert all(first // marks == (end - 1) // marks for first, end in zip(firsts, ends))
    pieces = [rows[a:b] for a, b in zip(firsts, ends)]
    expected = [bounds(field, leaves(field, piece)) for piece in pieces]
    empty = [not leaves(field, piece) for piece in pieces]
    edges.update(firsts), edges.update(end - 1 for end in ends)
    may_have = not field.no_bounds and all(b or e for b, e in zip(expected, empty))
    assert (6 in chunk) == may_have, (case.name, field.name, "column index")
    if 6 in chunk:
        reader = Thrift(data, chunk[6])
        index = reader.struct()
        assert reader.at == chunk[6] + chunk[7]
        assert index[1] == empty
        assert index[2] == [b[0] if b else b"" for b in expected]
        assert index[3] == [b[1] if b else b"" for b in expected]
        assert index[4] == order_of(field, [b[:2] for b in expected if b])
        assert index[5] == [null_count(field, piece) for piece in pieces]
        nans = [sum(v != v for v in leaves(field, piece)) for piece in pieces]
        assert index.get(8) == (nans if field.kind == DOUBLE else None)
    return list(zip((p[1] for p in places), (p[2] for p in places), firsts, ends))


def check_statistics(field, rows, meta):
    statistics, values = meta[12], leaves(field, rows)
    assert statistics[3] == null_count(field, rows)
    # With NaN in a chunk DuckDB would take a filter that all else passes for always true.
    expected = None if any(v != v for v in values) else bounds(field, values)
    found = (statistics.get(6), statistics.get(5), statistics.get(8), statistics.get(7))
    assert found == (expected or (None,) * 4), (field.name, found, expected)
    if field.kind == DOUBLE:
        assert statistics[9] == sum(v != v for v in values)


def check_chunk(data, case, field, rows, chunk, at, edges):
    """All pages of a chunk that begins at `at`; returns where it ends."""
    meta = chunk[3]
    first, dictionary, kinds, uncompressed = at, None, [], 0
    assert field.name != "given_up" or 11 not in meta
    assert not case.name.startswith("10,000 values") or all(s[2] == 8 for s in meta[13] if s[1] == 0)
    if 11 in meta:
        assert meta[11] == at
        page = Page(data, at)
        assert page.dictionary and page.info[2] == 0
        assert page.header[2] <= (case.dictionary_bytes or 1 << 20)
        dictionary = plain(field.kind, page.body, page.info[1])
        assert len({bits_of(v) for v in dictionary}) == len(dictionary) > 0
        kinds.append((2, 0))
        uncompressed += page.header_len + page.header[2]
        at += page.size
    assert meta[9] == at
    entries = 0
    used = []
    for offset, size, begin, end in check_indexes(data, case, field, rows, chunk, edges):
        page = Page(data, at)
        assert (offset, size) == (at, page.size) and not page.dictionary
        found, present = page_rows(field, page, dictionary)
        expected = rows[begin:end]
        assert [bits_of(v) for v in leaves(field, found)] == \
            [bits_of(v) for v in leaves(field, expected)]
        assert null_count(field, found) == null_count(field, expected)
        assert page.header[2] <= (case.page_bytes or 1 << 20) or end == begin + 1
        if page.info[2] == 8:
            used += map(bits_of, leaves(field, expected))
        kinds.append((0, page.info[2]))
        entries += page.info[1]
        uncompressed += page.header_len + page.header[2]
        at += page.size
    if dictionary is not None:
        assert list(dict.fromkeys(used)) == [bits_of(v) for v in dictionary], "order of first use"
    assert kinds == sorted(kinds, key=lambda k: (-k[0], -k[1])), "dictionary pages first"
    assert {(s[1], s[2]): s[3] for s in meta[13]} == {k: kinds.count(k) for k in kinds}
    assert (11 in meta) == ((0, 8) in kinds)
    assert meta[1] == PHYSICAL[field.kind] and meta[4] == 6 and meta[5] == entries
    assert set(meta[2]) == {0} | ({3} if field.list or not field.required else set()) \
        | ({8} if 11 in meta else set())
    assert (meta[6], meta[7]) == (uncompressed, at - first)
    path = [field.name.encode()] + ([b"list", b"element"] if field.list else [])
    assert meta[3] == path
    check_statistics(field, rows, meta)
    return at


# -- Bloom filters, by BloomFilter.md ----------------------------------------------------

SALTS = (0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31)
PRIMES = (11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579,
          2870177450012600261)
U64 = (1 << 64) - 1


def turned(value, bits):
    value &= U64
    return (value << bits | value >> 64 - bits) & U64


def xxh64(data):
    p1, p2, p3, p4, p5 = PRIMES
    one = lambda acc, lane: turned(acc + lane * p2, 31) * p1 & U64
    at, length = 0, len(data)
    if length >= 32:
        accs = [(p1 + p2) & U64, p2, 0, -p1 & U64]
        while at + 32 <= length:
            accs = [one(acc, lane) for acc, lane in zip(accs, struct.unpack_from("<4Q", data, at))]
            at += 32
        h = sum(turned(acc, bits) for acc, bits in zip(accs, (1, 7, 12, 18)))
        for acc in accs:
            h = ((h ^ one(0, acc)) * p1 + p4) & U64
    else:
        h = p5
    h = (h + length) & U64
    while at + 8 <= length:
        h = (turned(h ^ one(0, struct.unpack_from("<Q", data, at)[0]), 27) * p1 + p4) & U64
        at += 8
    if at + 4 <= length:
        h = (turned(h ^ struct.unpack_from("<I", data, at)[0] * p1 & U64, 23) * p2 + p3) & U64
        at += 4
    for byte in data[at:]:
        h = turned(h ^ byte * p5 & U64, 11) * p1 & U64
    h = (h ^ h >> 33) * p2 & U64
    h = (h ^ h >> 29) * p3 & U64
    return h ^ h >> 32


def plain_bytes(kind, value):
    if kind == STRING:
        return value
    return struct.pack({INT: "<i", LONG: "<q", TIME: "<q", DOUBLE: "<d"}[kind], value)


class Bloom:
    def __init__(self, data, offset, length):
        reader = Thrift(data, offset)
        header = reader.struct()
        assert header == {1: header[1], 2: {1: {}}, 3: {1: {}}, 4: {1: {}}}
        size = header[1]
        assert 32 <= size <= 1 << 20 and size & size - 1 == 0
        assert reader.at + size == offset + length
        self.words = struct.unpack_from("<%dI" % (size // 4), data, reader.at)

    def may_have(self, data):
        h = xxh64(data)
        block = (h >> 32) * (len(self.words) // 8) >> 32
        return all(self.words[block * 8 + i] >> ((h & 0xFFFFFFFF) * salt & 0xFFFFFFFF) // (1 << 27) & 1
                   for i, salt in enumerate(SALTS))

    def maybe_share(self, joined):
        """The share of absent values that it, or one of half its size, can't exclude."""
        blocks = [self.words[at:at + 8] for at in range(0, len(self.words), 8)]
        if joined:
            blocks = [[x | y for x, y in zip(a, b)] for a, b in zip(blocks[::2], blocks[1::2])]
        return sum(math.prod(bin(w).count("1") / 32 for w in words) for words in blocks) / len(blocks)


def check_bloom(field, values, bloom, rng):
    for value in values:
        assert bloom.may_have(plain_bytes(field.kind, value)), (field.name, value)
        if field.kind == DOUBLE and value == 0:
            assert bloom.may_have(struct.pack("<d", -value)), "0.0 = -0.0"
        if value != value:
            assert bloom.may_have(struct.pack("<Q", 0x7FF8 << 48)), "one NaN for all"
    share, size = bloom.maybe_share(False), len(bloom.words) * 4
    assert share <= 0.01 or size == 1 << 20, (field.name, len(values), size, share)
    assert size == 32 or bloom.maybe_share(True) > 0.01, (field.name, len(values), size, "too large")
    probes = 20000 if len(values) > 10000 else 100
    found = sum(bloom.may_have(rng.randbytes(23)) for _ in range(probes))
    assert found <= probes * share + 4 * math.sqrt(probes * share) + 4, (field.name, found, probes, share)


def check_blooms(case, data, group, waiting, at, rng):
    """Filters of all chunks that wait, if they stand behind this group; returns where they end."""
    length = sum(chunk[3].get(15, 0) for _, _, chunk in waiting)
    here = [chunk[3][14] for _, _, chunk in waiting if 14 in chunk[3] and chunk[3][14] < group]
    assert len(here) in (0, len(waiting))
    if not here:
        assert length == 0 or at + length < case.bloom_min
        return at
    assert at + length >= case.bloom_min
    for field, values, chunk in waiting:
        assert chunk[3][14] == at
        check_bloom(field, values, Bloom(data, at, chunk[3][15]), rng)
        at += chunk[3][15]
    waiting.clear()
    return at


def check_structure(case, data, rng):
    """Returns the rows at the edges of pages, by row group."""
    assert data[:4] == data[-4:] == b"PAR1"
    size, = struct.unpack_from("<I", data, len(data) - 8)
    reader = Thrift(data, len(data) - 8 - size)
    meta = reader.struct()
    assert reader.at == len(data) - 8
    assert meta[1] == 1 and meta[3] == len(case.rows(case.fields[0]))
    assert meta[7] == [{1: {}}] * len(case.fields)
    assert meta[5] == [{1: b"iceberg.schema", 2: b'{"type":"struct"}'}]
    at, edges, waiting = 4, [], []
    starts = [group[5] for group in meta[4][1:]] + [len(data)]
    for ordinal, (group, columns) in enumerate(zip(meta[4], case.groups)):
        begin = at
        edges.append(set())
        for field, rows, chunk in zip(case.fields, columns, group[1]):
            at = check_chunk(data, case, field, rows, chunk, at, edges[-1])
            if field.bloom and leaves(field, rows):
                waiting.append((field, leaves(field, rows), chunk))
            else:
                assert 14 not in chunk[3] and 15 not in chunk[3]
        assert (group[3], group[5], group[6], group[7]) == (len(rows), begin, at - begin, ordinal)
        assert group[2] == sum(chunk[3][6] for chunk in group[1])
        sorting = [{1: s, 2: False, 3: True} for s in case.sorting]
        assert group.get(4, []) == sorting
        at = check_blooms(case, data, starts[ordinal], waiting, at, rng)
    assert all(14 not in chunk[3] for _, _, chunk in waiting)
    chunks = [chunk for group in meta[4] for chunk in group[1]]
    for chunk in [c for c in chunks if 6 in c]:
        assert chunk[6] == at
        at += chunk[7]
    for chunk in chunks:
        assert chunk[4] == at
        at += chunk[5]
    assert at == len(data) - 8 - size
    return edges, [[14 in chunk[3] for chunk in group[1]] for group in meta[4]]


# -- what the writer says, foreign readers -----------------------------------------------

def check_facts(case, data, facts, blooms):
    lines = [(line.split()[0], dict(p.split("=") for p in line.split()[1:]))
             for line in facts.splitlines()]
    total = len(case.rows(case.fields[0]))
    named = lambda name: [value for key, value in lines if key == name]
    assert int(named("file")[0]["size"]) == len(data)
    assert int(named("file")[0]["rows"]) == total
    assert [s["offset"] for s in named("split")] == [g["offset"] for g in named("group")]
    assert [int(g["rows"]) for g in named("group")] == [len(g[0]) for g in case.groups]
    for field, metric, leaf in zip(case.fields, named("metric"), named("leaf")):
        rows = case.rows(field)
        assert int(metric["id"]) == int(leaf["id"]) == (field.element_id if field.list else field.id)
        assert metric["size"] == leaf["size"]
        assert int(leaf["nulls"]) == null_count(field, rows)
        assert int(leaf["blooms"]) == sum(group[case.fields.index(field)] for group in blooms)
        counts = [int(metric[key]) for key in ("values", "nulls", "nans")]
        nans = sum(v != v for v in leaves(field, rows)) if field.kind == DOUBLE else -1
        assert counts == ([-1] * 3 if field.list else [total, null_count(field, rows), nans])
        expected = ["-" if b is None else b.hex() for b in iceberg_bounds(field, leaves(field, rows))]
        assert [metric["lower"], metric["upper"]] == expected, (case.name, field.name)


EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def same(field, found, expected):
    if found is None or expected is None:
        return found is None and expected is None
    if field.list:
        return len(found) == len(expected) and \
            all(bits_of(a) == bits_of(b) for a, b in zip(found, expected))
    return bits_of(found) == bits_of(expected)


def from_arrow(field, column):
    if field.kind == TIME:
        wide = pa.list_(pa.int64()) if field.list else pa.int64()
        column = column.cast(wide)
    rows = column.to_pylist()
    if field.kind == STRING:
        one = lambda v: None if v is None else v.encode()
        rows = [None if r is None else list(map(one, r)) if field.list else one(r) for r in rows]
    return rows


def check_pyarrow(case, path):
    table = pq.ParquetFile(path, page_checksum_verification=True).read()
    types = {BOOL: pa.bool_(), INT: pa.int32(), LONG: pa.int64(), DOUBLE: pa.float64(),
             STRING: pa.string(), TIME: pa.timestamp("us", tz="UTC")}
    for field in case.fields:
        arrow = table.schema.field(field.name)
        kind = types[field.kind]
        assert arrow.type == (pa.list_(kind) if field.list else kind), (field.name, arrow.type)
        assert arrow.nullable == (not field.required)
        assert arrow.metadata[b"PARQUET:field_id"] == b"%d" % field.id
        if field.list:
            assert arrow.type.value_field.metadata[b"PARQUET:field_id"] == b"%d" % field.element_id
        found, expected = from_arrow(field, table.column(field.name)), case.rows(field)
        assert len(found) == len(expected)
        for i, (a, b) in enumerate(zip(found, expected)):
            assert same(field, a, b), (case.name, field.name, i, a, b)


def sql_value(field, value):
    if field.kind == TIME:
        return EPOCH + datetime.timedelta(microseconds=value)
    return value.decode() if field.kind == STRING else value


def check_probe(con, case, path, field, blooms, rng):
    """What DuckDB makes of a Bloom filter: it excludes no row group that has the value."""
    column = case.fields.index(field)
    present = sorted({v for v in case.rows(field) if v is not None and v == v})
    absent = [b"absent-%d" % i for i in range(8)] if field.kind == STRING else []
    misses = 0
    for value in rng.sample(present, min(6, len(present))) + absent:
        found = con.execute("select row_group_id, bloom_filter_excludes from parquet_bloom_probe('%s', '%s', "
                            "cast(? as %s))" % (path, field.name, KINDS[field.kind]),
                            [sql_value(field, value)]).fetchall()
        assert len(found) == len(case.groups)
        for group, excludes in found:
            there = value in case.groups[group][column]
            assert not (excludes and (there or not blooms[group][column])), (case.name, field.name, value)
            if blooms[group][column] and value in absent and not excludes:
                misses += 1
    assert misses <= 2 + len(case.groups), (case.name, field.name, misses)


KINDS = {BOOL: "BOOLEAN", INT: "INTEGER", LONG: "BIGINT", DOUBLE: "DOUBLE", STRING: "VARCHAR",
         TIME: "TIMESTAMP WITH TIME ZONE"}


def check_duckdb(case, path, edges, blooms, rng):
    con = duckdb.connect()
    con.execute("set timezone = 'UTC'")
    con.execute("create view t as select * from read_parquet('%s')" % path)
    found = dict((r[0], r[1]) for r in con.execute("describe t").fetchall())
    ids = con.execute("select name, field_id from parquet_schema('%s')" % path).fetchall()
    for field in case.fields:
        assert found[field.name] == KINDS[field.kind] + ("[]" if field.list else "")
        assert (field.name, field.id) in ids
    groups = con.execute("select row_group_id, column_id, row_group_num_rows, num_values, "
                         "stats_null_count from parquet_metadata('%s')" % path).fetchall()
    assert len(groups) == len(case.groups) * len(case.fields)
    for group, column, rows, _, nulls in groups:
        assert rows == len(case.groups[group][column])
        assert nulls == null_count(case.fields[column], case.groups[group][column])
    for field in case.fields:
        column = con.execute('select "%s" from t' % field.name)
        if field.kind == TIME:
            column = con.execute(
                'select %s from t' % ('list_transform("%s", lambda x: epoch_us(x))' % field.name
                                      if field.list else 'epoch_us("%s")' % field.name))
        rows = [r[0] for r in column.fetchall()]
        if field.kind == STRING:
            rows = [None if r is None else [v.encode() for v in r] if field.list else r.encode()
                    for r in rows]
        expected = case.rows(field)
        assert len(rows) == len(expected)
        assert all(same(field, a, b) for a, b in zip(rows, expected)), (case.name, field.name)
        if not field.list:
            check_filters(con, case, path, field, edges, rng)
        if field.bloom and field.kind != TIME:
            check_probe(con, case, path, field, blooms, rng)
    con.close()


def check_filters(con, case, path, field, edges, rng):
    """Equal, below and above each value at an edge, and just beside it."""
    # Sorted once, so that what a filter must find is looked up and not counted each time.
    expected = [v for v in case.rows(field) if v is not None]
    nulls = con.execute('select count(*) from t where "%s" is null' % field.name).fetchone()[0]
    assert nulls == len(case.rows(field)) - len(expected)
    sought = set()
    for rows, group in zip(edges, case.groups):
        column = group[case.fields.index(field)]
        sought.update(column[i] for i in rows if column[i] is not None and column[i] == column[i])
    if expected and field.kind != DOUBLE:
        sought.update((min(expected), max(expected)))
    sought = sorted(sought)
    most = 24 if len(case.fields) < 100 else 3
    if len(sought) > most:
        sought = [sought[0], sought[-1]] + rng.sample(sought, most - 2)
    ordered = sorted(v for v in expected if v == v)
    for value in sought:
        # NaN is above all in DuckDB, and in no comparison true in pyarrow.
        below, up_to = bisect.bisect_left(ordered, value), bisect.bisect_right(ordered, value)
        counts = {"=": up_to - below, "<": below, "<=": up_to, ">=": len(expected) - below,
                  ">": len(expected) - up_to}
        for operator, right in counts.items():
            query = 'select count(*) from t where "%s" %s ?' % (field.name, operator)
            count = con.execute(query, [sql_value(field, value)]).fetchone()[0]
            assert count == right, (case.name, field.name, operator, value, count)
    for value in rng.sample(sought, min(3 if len(case.fields) < 100 else 1, len(sought))):
        # The type of the field: a bare Python number may be another one.
        operand = value.decode() if field.kind == STRING else value
        if field.kind == TIME:
            operand = EPOCH + datetime.timedelta(microseconds=value)
        elif field.kind == BOOL:
            operand = bool(value)
        below, up_to = bisect.bisect_left(ordered, value), bisect.bisect_right(ordered, value)
        for operator, right in (("==", up_to - below), (">=", len(ordered) - below)):
            table = pq.read_table(path, columns=[field.name], filters=[(field.name, operator, operand)])
            assert table.num_rows == right, (case.name, field.name, operator, value, table.num_rows)


# -- the cases ---------------------------------------------------------------------------

CHARACTERS = ["a", "z", "\x7f", "\u00e9", "\u07ff", "\u20ac", "\ud7ff", "\ue000", "\uffff",
              "\U0001f600", "\U0010fffe", "\U0010ffff", "\0"]


def awkward_text(rng):
    shape = rng.random()
    if shape < 0.2:
        return "".join(rng.choice(CHARACTERS) for _ in range(rng.randrange(6)))
    if shape < 0.6:  # around the 16 characters of one truncation and the 64 bytes of the other
        head = rng.choice(CHARACTERS) * rng.choice([12, 15, 16, 17, 20, 21, 22, 31, 32, 33, 60, 63, 64])
        return head + "".join(rng.choice(CHARACTERS) for _ in range(rng.randrange(4)))
    return "".join(rng.choice(CHARACTERS) for _ in range(rng.randrange(14, 70)))


def value_maker(kind, rng, cardinality):
    """A function of no argument that gives a value; few different ones or many."""
    special = {BOOL: [0, 1], INT: [0, -1, 2**31 - 1, -2**31], LONG: [0, -1, 2**63 - 1, -2**63],
               TIME: [0, 4102444799999999, 1], STRING: [b"", b"\x7f" * 70],
               DOUBLE: [0.0, -0.0, 1.5, -1e308, 5e-324, math.inf, -math.inf]}[kind]
    any_value = {
        BOOL: lambda: rng.randrange(2), INT: lambda: rng.randrange(-2**31, 2**31),
        LONG: lambda: rng.randrange(-2**63, 2**63), TIME: lambda: rng.randrange(4102444800000000),
        DOUBLE: lambda: rng.gauss(0, 1e6), STRING: lambda: awkward_text(rng).encode()}[kind]
    if cardinality == 0:
        return lambda: rng.choice(special) if rng.random() < 0.01 else any_value()
    pool = (special + [any_value() for _ in range(cardinality)])[-cardinality - 1:]
    return lambda: rng.choice(pool)


def make_rows(field, count, rng, cardinality, null_share, runs=False):
    one = value_maker(field.kind, rng, cardinality)
    nullable = not field.required
    if not field.list:
        rows = [None if nullable and rng.random() < null_share else one() for _ in range(count)]
        if runs:
            rows.sort(key=lambda v: (v is not None, v if v is not None else 0))
        return rows
    return [None if rng.random() < null_share else [one() for _ in range(rng.choice([0, 1, 1, 2, 5]))]
            for _ in range(count)]


def all_fields(prefix=""):
    kinds = [("bool", BOOL), ("int", INT), ("long", LONG), ("double", DOUBLE), ("text", STRING),
             ("time", TIME)]
    out = []
    for name, kind in kinds:
        out += [Field(prefix + name, kind), Field(prefix + name + "_req", kind, REQUIRED),
                Field(prefix + name + "_list", kind, LIST), Field(prefix + name + "_plain", kind, PLAIN_ONLY)]
        if kind != BOOL:
            out.append(Field(prefix + name + "_bloom", kind, BLOOM))
        if kind in (STRING, DOUBLE):
            out.append(Field(prefix + name + "_bloom_plain", kind, BLOOM | PLAIN_ONLY))
    return out + [Field(prefix + "personal", STRING, NO_BOUNDS),
                  Field(prefix + "personal_list", STRING, NO_BOUNDS | LIST)]


def typed_case(name, rng, sizes, cardinality, null_share, **options):
    fields = all_fields()
    runs = options.pop("runs", False)
    groups = [[make_rows(f, size, rng, cardinality, null_share, runs) for f in fields]
              for size in sizes]
    return Case(name, fields, groups, **options)


def fixed_cases(rng):
    nan = math.nan
    yield typed_case("one row", rng, [1], 0, 0.0)
    yield typed_case("one null row", rng, [1], 0, 1.0)
    yield typed_case("all null, many pages", rng, [700, 3], 3, 1.0, page_rows=100)
    yield typed_case("few values, many pages and groups", rng, [1000, 999, 1, 1001], 5, 0.2, page_rows=100)
    yield typed_case("many values", rng, [1000, 500], 0, 0.1, page_rows=64)
    yield typed_case("sorted, nulls first", rng, [3000], 40, 0.5, page_rows=250, runs=True, sorting=[0, 4])
    yield typed_case("tiny byte pages", rng, [300], 8, 0.1, page_rows=100, page_bytes=100)
    yield typed_case("a page a row", rng, [40], 3, 0.3, page_bytes=1)
    yield typed_case("default pages", rng, [20500], 9, 0.05)
    yield Case("dictionary ends in mid-chunk", [Field("text", STRING), Field("long", LONG),
               Field("tags", STRING, LIST), Field("double", DOUBLE), Field("int", INT)], [[
                   [b"few-%d" % (i % 7) if i < 2000 else b"many-%d" % i for i in range(6000)],
                   [i % 7 if i < 2000 else i for i in range(6000)],
                   [[b"few"] * (i % 4) if i < 2000 else [b"many-%d" % i, b"few"] for i in range(6000)],
                   [i % 7 + 0.5 if i < 2000 else i + 0.25 for i in range(6000)],
                   [i % 7 if i < 2000 else i for i in range(6000)]]] * 2,
               page_rows=500, dictionary_bytes=4000)
    yield Case("dictionary without gain", [Field("text", STRING), Field("text2", STRING)], [[
        [b"%d" % i for i in range(1000)], [None] * 300 + [b"%d" % i for i in range(700)]]], page_rows=100)
    doubles = [[nan] * 10, [nan] * 5 + [1.0] * 5, [0.0] * 10, [-0.0] * 10, [None] * 10, [0.0, nan] * 5]
    yield Case("NaN and zeros", [Field("d%d" % i, DOUBLE, flags) for i, flags in
                                 enumerate([0, PLAIN_ONLY] * 6)] + [Field("dl", DOUBLE, LIST)],
               [[column for rows in doubles for column in (rows * 3, rows * 3)] +
                [[[nan, 1.0], None, [], [-0.0], [nan]] * 6]], page_rows=10)
    yield Case("an all-NaN page", [Field("d", DOUBLE), Field("p", DOUBLE, PLAIN_ONLY)],
               [[[1.0] * 10 + [nan] * 10 + [2.0] * 10] * 2], page_rows=10)
    top = "\U0010ffff".encode()
    texts = [top * 15, top * 16, top * 17, b"a" + top * 15, b"a" + top * 16, b"a" + top * 30,
             "\ud7ff".encode() * 20, "\ud7ff".encode() * 30, b"\x7f" * 64, b"\x7f" * 65,
             b"x" * 63 + "\u00e9".encode(), b"x" * 62 + "\u20ac".encode(), b"x" * 61 + "\U0001f600".encode(),
             b"x" * 64 + b"y", b"x" * 63 + "\u00e9".encode() + b"y", b"y" * 20000]
    for i, one in enumerate(texts):
        yield Case("edge text %d" % i, [Field("t", STRING), Field("p", STRING, PLAIN_ONLY), Field("q", STRING)],
                   [[[one], [one], [b"a"]], [[one] * 5 + [b"x"] * 5 + [one, None] * 5] * 3], page_rows=5)
    yield Case("ascending, descending, flat", [Field("up", INT), Field("down", INT), Field("flat", INT),
               Field("s", STRING), Field("nulls", LONG)], [[
                   list(range(100)), list(range(100, 0, -1)), [7] * 100,
                   [b"x" * 70 + b"%03d" % i for i in range(100)],
                   [None] * 30 + list(range(40)) + [None] * 30]], page_rows=10)
    ids = [b"%032x" % rng.getrandbits(128) for _ in range(24000)]
    yield Case("Bloom filters of ids", [Field("unique", STRING, BLOOM), Field("twice", STRING, BLOOM),
               Field("few", STRING, BLOOM), Field("halved", LONG, BLOOM)], [
                   [ids, ids[:12000] * 2, ids[:300] * 80, [i // 2 for i in range(24000)]],
                   [ids[:2], ids[:2], [None] * 2, [7, None]]])
    yield Case("a dictionary too small to begin with", [Field("given_up", STRING)],
               [[[b"%036d" % (i * 2 // 3) for i in range(60000)]]], page_rows=10000, dictionary_bytes=300000)
    yield Case("Bloom filters wait for a file of 9,000 bytes", [Field("id", STRING, BLOOM), Field("n", INT)], [
                   [ids[i:i + 70], list(range(70))] for i in range(0, 700, 70)], bloom_min=9000)
    yield Case("no Bloom filters in small files", [Field("id", STRING, BLOOM)],
               [[ids[:100]], [ids[:100]]], bloom_min=0)
    bodies = [rng.randbytes(1000).hex().encode() * 50 + b"%d" % i for i in range(30)]
    yield Case("bodies of 100 kB", [Field("each", STRING), Field("few", STRING), Field("no_bounds", STRING, NO_BOUNDS),
               Field("list", STRING, LIST)], [[
                   bodies, [bodies[i % 3] for i in range(30)], [None] * 15 + bodies[:15],
                   [bodies[:i % 3] for i in range(30)]]])
    wide = [Field("c%d" % i, i % 6, REQUIRED if i % 7 == 0 else BLOOM if i % 6 == STRING else 0) for i in range(200)]
    yield Case("200 columns", wide, [[make_rows(f, 60, rng, i % 3 * 20, i % 4 / 3)
                                      for i, f in enumerate(wide)]])
    yield Case("10,000 values in any order", [Field("t", STRING)],
               [[[ids[rng.randrange(10000)] for _ in range(70000)]]], dictionary_bytes=380000)
    yield Case("large values", [Field("t", STRING), Field("l", STRING, LIST)],
               [[[b"v" * (1 << 20), b"w" * (3 << 20), b"", None, b"u"],
                 [[b"e" * 400000] * 5, [], None, [b"f"], [b""]]]])


def random_case(rng, number_):
    rows = rng.choice([1, 2, 7, 8, 9, 63, 64, 65, 500, 2500])
    small = rows <= 500  # thousands of pages in each of 30 columns take minutes to check
    return typed_case("random %d" % number_, rng, [rows + rng.randrange(9) for _ in range(rng.randrange(1, 4))],
                      rng.choice([0, 1, 2, 3, 17, 300]), rng.choice([0.0, 0.01, 0.5, 0.99]),
                      page_rows=rng.choice([0, 100, 1000] + [1, 7, 8] * small), runs=rng.random() < 0.4,
                      page_bytes=rng.choice([0, 1000, 20000] + [50] * small), level=rng.choice([0, 3]),
                      dictionary_bytes=rng.choice([0, 30, 500, 4000]),
                      bloom_min=rng.choice([1, 0, 20000]))


def run(make, case, directory, rng):
    contents = []
    for codes in (False, True):
        source, path = (os.path.join(directory, "case" + end) for end in (".bin", ".parquet"))
        with open(source, "wb") as out:
            out.write(put_case(case, codes, rng))
        facts = subprocess.run([make, source, path], check=True, stdout=subprocess.PIPE, text=True).stdout
        with open(path, "rb") as file:
            contents.append(file.read())
    assert contents[0] == contents[1], (case.name, "codes and strings give other bytes")
    edges, blooms = check_structure(case, contents[0], rng)
    check_facts(case, contents[0], facts, blooms)
    check_pyarrow(case, path)
    check_duckdb(case, path, edges, blooms, rng)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("make")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--random", type=int, default=7, help="number of random cases")
    parser.add_argument("--keep", help="directory for the files")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        directory = args.keep or scratch
        cases = list(fixed_cases(rng)) + [random_case(rng, i) for i in range(args.random)]
        for case in cases:
            try:
                run(args.make, case, directory, rng)
            except BaseException:
                print("case: %s, seed %d" % (case.name, args.seed), file=sys.stderr)
                raise
    print("%d cases read back by pyarrow %s and DuckDB %s" % (len(cases), pa.__version__, duckdb.__version__))


if __name__ == "__main__":
    main()

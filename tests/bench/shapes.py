#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Events of odd shapes, to look for cliffs: each shape is a file of NDJSON and a mapping.

usage: shapes.py [--out DIR] [--mb N] [SHAPE ...]     default: build/shapes, 20, all shapes
       shapes.py --list
Writes DIR/SHAPE.ndjson (about N MB, the same at each call) and DIR/SHAPE.yaml, whose table
is SHAPE. To be tried with `bench/shred_speed DIR/SHAPE.ndjson --mapping DIR/SHAPE.yaml`, or
with `bidlake-agent ingest SHAPE DIR/SHAPE.ndjson` and that mapping.
"""
import argparse
import json
import os
import random
import sys

WORDS = ("auction bid cat device floor geo header impression json key latency media network "
         "openrtb price quality region seat tag user video width").split()


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def text(draw, words):
    return " ".join(draw.choice(WORDS) for _ in range(words))


def uuid(draw):
    digits = f"{draw.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def number(draw, i):
    return (draw.randrange(10), draw.randrange(100000), round(draw.random() * 100, 4),
            draw.randrange(10**12))[i % 4]


# Each gives an event as text, from its number and a source of chance.

def one_column(draw, i):
    """Twenty fields, of which one is a column."""
    return compact({"id": f"e{i}", **{f"f{k}": text(draw, 2) for k in range(20)}})


def wide(draw, i):
    """Two hundred fields and as many columns, of all types."""
    return compact({"id": f"e{i}", **{f"s{k}": text(draw, 1) for k in range(80)},
                    **{f"n{k}": number(draw, k) for k in range(100)},
                    **{f"b{k}": draw.random() < 0.5 for k in range(19)}})


def sparse(draw, i):
    """Two hundred columns, of which an event has three, in any order."""
    return compact({"id": f"e{i}", **{f"s{draw.randrange(80)}": text(draw, 1) for _ in range(3)}})


def all_null(draw, i):
    """Two hundred columns and nothing in them."""
    return compact({"id": f"e{i}", **{f"s{k}": None for k in range(80)},
                    **{f"n{k}": "?" for k in range(100)}, **{f"b{k}": [] for k in range(19)}})


def distinct(draw, i):
    """Ten columns of strings that never come again."""
    return compact({"id": uuid(draw), **{f"s{k}": uuid(draw) for k in range(9)}})


def large(draw, i):
    """100 kB an event, most of it in objects and lists that no column wants."""
    filler = [{"id": uuid(draw), "name": text(draw, 6), "values": [number(draw, k)
               for k in range(12)], "nested": {"a": {"b": [[1, 2], [3, {"c": None}]]}}}
              for _ in range(430)]
    return compact({"id": f"e{i}", "filler": filler, "s0": text(draw, 3)})


def large_text(draw, i):
    """100 kB an event, in one string that a column takes."""
    return compact({"id": f"e{i}", "s0": text(draw, 16000)})


def many_rows(draw, i):
    """A thousand rows an event, three columns that all share and three of their own."""
    return compact({"id": f"e{i}", "s0": text(draw, 8), "n1": i, "list":
                    [{"s": text(draw, 1), "n": number(draw, k), "p": number(draw, 2)}
                     for k in range(1000)]})


def escaped(draw, i):
    """HTML in strings: an escape at each eighth byte, in columns and beside them."""
    markup = "".join(f'<a href="/{draw.choice(WORDS)}">\n\t' for _ in range(20))
    return compact({"id": f"e{i}", "s0": markup, "adm": markup + "\u0007", "s1": "a\\b/c"})


def unicode(draw, i):
    """Hardly any ASCII."""
    signs = [chr(0x4e00 + draw.randrange(0x2000)) for _ in range(100)]
    return compact({"id": f"e{i}", "s0": "".join(signs), "title": "".join(reversed(signs)),
                    "s1": "\u00fcber Stra\u00dfe", "s2": "\U0001f3ae" * 8})


def pretty(draw, i):
    """Blanks wherever they may stand; no newline, since these are lines."""
    event = json.loads(wide(draw, i))
    return json.dumps(event, indent="\t", separators=(" , ", " : ")).replace("\n", "\r")


def shuffled(draw, i):
    """A key order that never comes again."""
    items = list(json.loads(wide(draw, i)).items())
    draw.shuffle(items)
    return compact(dict(items))


def strangers(draw, i):
    """Keys that never come again."""
    return compact({"id": f"e{i}", **{f"k{draw.getrandbits(40)}": k for k in range(60)},
                    "s0": "x"})


def duplicates(draw, i):
    """One key, two hundred times."""
    return "{" + ",".join(f'"s0":"{k}"' for k in range(200)) + f',"id":"e{i}"}}'


def lists(draw, i):
    """Lists of a thousand strings and numbers."""
    return compact({"id": f"e{i}", "strings": [draw.choice(WORDS) for _ in range(1000)],
                    "longs": [number(draw, 1) for _ in range(1000)]})


def deep(draw, i):
    """Sixty levels."""
    return '{"id":"e%d","o":%s1%s,"s0":"x"}' % (i, '{"a":[' * 30, "]}" * 30)


def raw(draw, i):
    """The wide ones, with the whole body kept beside three columns."""
    return wide(draw, i)


SHAPES = {shape.__name__: shape for shape in
          (one_column, wide, sparse, all_null, distinct, large, large_text, many_rows, escaped,
           unicode, pretty, shuffled, strangers, duplicates, lists, deep, raw)}

ID = "id: {type: string, from: id, required: true}"
STRINGS = [f"s{k}: {{type: string, from: s{k}}}" for k in range(80)]
NUMBERS = [f"n{k}: {{type: {('int', 'long', 'double', 'timestamptz')[k % 4]}, from: n{k}}}"
           for k in range(100)]
BOOLEANS = [f"b{k}: {{type: boolean, from: b{k}}}" for k in range(19)]
WIDE = [ID] + STRINGS + NUMBERS + BOOLEANS
COLUMNS = {"one_column": [ID], "distinct": [ID] + STRINGS[:9],
           "many_rows": [ID, STRINGS[0], NUMBERS[1]] +
           ["s: {type: string, from: 'list[].s'}", "n: {type: long, from: 'list[].n'}",
            "p: {type: double, from: 'list[].p'}"],
           "lists": [ID, "strings: {type: list<string>, from: strings}",
                     "longs: {type: list<long>, from: longs}"],
           "raw": [ID, STRINGS[0], NUMBERS[1], "body: {type: string, from: $raw}"],
           **{name: [ID] + STRINGS[:3] for name in
              ("large", "large_text", "escaped", "unicode", "strangers", "duplicates", "deep")}}


def mapping(name):
    lines = [f"# Made by tests/bench/shapes.py: {SHAPES[name].__doc__}", f"table: {name}"]
    if name == "many_rows":
        lines.append("explode: list")
    lines.append("columns:")
    lines += ["  " + column for column in COLUMNS.get(name, WIDE)]
    return "\n".join(lines) + "\n"


def write(name, folder, size):
    draw = random.Random(name)
    pool = []  # a thousand different events, again and again, but for those that must differ
    with open(os.path.join(folder, name + ".yaml"), "w", encoding="utf-8") as out:
        out.write(mapping(name))
    with open(os.path.join(folder, name + ".ndjson"), "wb") as out:
        i = 0
        while out.tell() < size:
            if len(pool) < 1000 or name in ("distinct", "shuffled", "strangers"):
                pool.append((SHAPES[name](draw, i) + "\n").encode())
            out.write(pool[i % len(pool)])
            i += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("shapes", nargs="*", metavar="SHAPE")
    parser.add_argument("--out", default="build/shapes")
    parser.add_argument("--mb", type=float, default=20)
    parser.add_argument("--list", action="store_true", help="their names and what they are")
    options = parser.parse_args()
    if options.list:
        for name, shape in SHAPES.items():
            print(f"{name:12} {shape.__doc__}")
        return 0
    unknown = [name for name in options.shapes if name not in SHAPES]
    if unknown:
        print(f"shapes: {unknown[0]}: no such shape; --list shows them", file=sys.stderr)
        return 2
    os.makedirs(options.out, exist_ok=True)
    for name in options.shapes or SHAPES:
        write(name, options.out, options.mb * 1e6)
    return 0


if __name__ == "__main__":
    sys.exit(main())

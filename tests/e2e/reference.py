# SPDX-License-Identifier: Apache-2.0
"""The judge: from an event's JSON text to the rows that the tables must hold, written from
the rules (lib/shred/README.md, the presets' columns) and from nothing of the
program. Numbers keep their text: nothing here goes through a float before a rule says so.

    rows, refused, counts = map_lines("bid_requests", lines)

A row is a tuple in the order of columns(table), without received_at, which only the clock
knows; an event_timestamp that falls back to it is RECEIVED. Lists are tuples.
"""
import collections
import datetime
import json
import re

RECEIVED = "=received_at"
DEPTH_MAX = 64
EVENT_BYTES_MAX = 1 << 20
YEAR_2200_US = 7258118400 * 10**6
ABSENT = object()  # the path leads nowhere, or to null


class Refused(Exception):
    """The event's line is none: .reason is the name that the program counts it under."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


class Number(str):
    """A JSON number as it stands in the text."""


# -- what is an event --------------------------------------------------------------------

def not_a_number(text):
    raise ValueError(text)


DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=not_a_number)
BLANK = " \t\r\n"


def depth_of(text):
    """Of valid JSON text: how deep objects and arrays are in one another."""
    depth = deepest = 0
    inside = escaped = False
    for char in text:
        if inside:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                inside = False
        elif char == '"':
            inside = True
        elif char in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "}]":
            depth -= 1
    return deepest


def mend(value):
    """U+FFFD for each unpaired surrogate, in strings and keys; the last of equal keys
    has won already."""
    if isinstance(value, dict):
        return {mend(key): mend(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [mend(inner) for inner in value]
    if type(value) is str:
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    return value


def parse_event(line):
    """The event of a line of bytes, or Refused."""
    if len(line) > EVENT_BYTES_MAX:
        raise Refused("size")
    if line.startswith(b"\xef\xbb\xbf"):
        raise Refused("bom")
    # Python puts one U+FFFD for each maximal subpart, as the rule has it.
    text = line.decode("utf-8", "replace").strip(BLANK)
    if text[:1] != "{":
        try:
            json.loads(text, parse_constant=not_a_number)
        except ValueError:
            raise Refused("syntax") from None
        raise Refused("no_object")
    try:
        value, end = DECODER.raw_decode(text)
    except RecursionError:
        raise Refused("depth") from None
    except ValueError:
        raise Refused("syntax") from None
    if text[end:].strip(BLANK):
        raise Refused("trailing")
    if line.count(b"{") + line.count(b"[") > DEPTH_MAX and depth_of(text) > DEPTH_MAX:
        raise Refused("depth")
    return mend(value) if "\\u" in text else value


# -- coercions: a value, or None when the rule has none for it ----------------------------

INTEGER_TEXT = re.compile(r"-?[0-9]+", re.ASCII)
DECIMAL_TEXT = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE]-?[0-9]+)?", re.ASCII)
NUMBER_PARTS = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([-+]?[0-9]+))?", re.ASCII)
RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?"
                     r"(?:([Zz])|([-+])(\d\d):(\d\d))", re.ASCII)


def is_text(value):
    return isinstance(value, str) and not isinstance(value, Number)


def exact_integer(text):
    """The integer that a number's text says, else None: exact, whatever the exponent."""
    sign, whole, fraction, exponent = NUMBER_PARTS.fullmatch(text).groups()
    digits = (whole + (fraction or "")).lstrip("0")
    if not digits:
        return 0
    shift = int((exponent or "0")[:30]) - len(fraction or "")
    stripped = digits.rstrip("0")
    shift += len(digits) - len(stripped)
    if shift < 0 or len(stripped) + shift > 20:
        return None
    number = int(stripped) * 10**shift
    return -number if sign else number


def to_integer(value, bits):
    if isinstance(value, bool):
        return int(value)
    if is_text(value) and not INTEGER_TEXT.fullmatch(value):
        return None
    if not isinstance(value, str):
        return None
    number = exact_integer(value)
    if number is None or not -2**(bits - 1) <= number < 2**(bits - 1):
        return None
    return number


def to_double(value):
    if not isinstance(value, str):
        return None
    if is_text(value) and not DECIMAL_TEXT.fullmatch(value):
        return None
    number = float(value)
    return None if number in (float("inf"), float("-inf")) else number


def to_boolean(value):
    if isinstance(value, bool):
        return value
    if isinstance(value, Number):
        return any(digit in "123456789" for digit in re.split("[eE]", value)[0])
    if is_text(value):
        return {"true": True, "1": True, "false": False, "0": False}.get(value)
    return None


def to_string(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str) else None


def to_country(value):
    text = to_string(value)
    if text is None:
        return None
    upper = "".join(chr(ord(c) - 32) if "a" <= c <= "z" else c for c in text)
    if upper in ALPHA3:
        return upper
    return ALPHA2.get(upper)


def rfc3339_us(text):
    match = RFC3339.fullmatch(text)
    if not match:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, _, sign, offset_hour, offset_minute = match.groups()[6:]
    try:
        start = datetime.datetime(max(year, 1), month, day, hour, minute, min(second, 59))
    except ValueError:
        return None
    offset = 0
    if sign:
        if int(offset_hour) > 23 or int(offset_minute) > 59:
            return None
        offset = (int(offset_hour) * 60 + int(offset_minute)) * (-60 if sign == "-" else 60)
    since = start - datetime.datetime(1970, 1, 1)
    seconds = since.days * 86400 + since.seconds - offset
    if second == 60 and (seconds + 1) % 86400 == 0:
        seconds += 1  # a leap second, where there can be one
    elif second > 59:
        return None
    return seconds * 10**6 + int(((fraction or "") + "000000")[:6])


def to_timestamp(value):
    """Epoch milliseconds or RFC 3339 to microseconds."""
    if not isinstance(value, str):
        return None
    if isinstance(value, Number) or INTEGER_TEXT.fullmatch(value):
        number = exact_integer(value)
        us = None if number is None else number * 1000
    else:
        us = rfc3339_us(value)
    return us if us is not None and 0 <= us < YEAR_2200_US else None


def to_list(value, lost):
    if isinstance(value, dict):
        return None
    elements = value if isinstance(value, list) else [value]
    kept = []
    for element in elements:
        text = to_string(element)
        if text is not None:
            kept.append(text)
        elif element is not None:
            lost()
    return tuple(kept)


# -- paths --------------------------------------------------------------------------------

STEP = re.compile(r"([^.\[\]]+)|\[(\d*)\]")
EACH = object()


def parse_path(text):
    """Steps: a key, an index, or EACH."""
    steps = []
    for key, index in STEP.findall(text):
        if key:
            steps.append(key)
        elif steps and text and index == "":
            steps.append(EACH)
        else:
            steps.append(int(index))
    return steps


def follow(value, steps):
    for step in steps:
        if isinstance(step, int):
            if isinstance(value, list):
                value = value[step] if step < len(value) else ABSENT
            elif step > 0:
                value = ABSENT
        elif isinstance(value, dict):
            value = value.get(step, ABSENT)
        else:
            value = ABSENT
        if value is ABSENT or value is None:
            return ABSENT
    return value


def instances(value):
    """What explode walks: elements, each an object or ABSENT."""
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list) and value:
        return [element if isinstance(element, dict) else ABSENT for element in value]
    return [ABSENT]


def exploded(event, levels):
    """For each row the objects that EACH stands for, by level."""
    rows = [()]
    for level in range(len(levels)):
        longer = []
        for row in rows:
            above = row[-1] if row else event
            inner = ABSENT if above is ABSENT else follow(above, levels[level])
            longer += [row + (element,) for element in instances(inner)]
        rows = longer
    return rows


# -- tables -------------------------------------------------------------------------------

class Column:
    def __init__(self, name, kind, source, default=None, required=False):
        self.name, self.kind, self.default, self.required = name, kind, default, required
        self.sources = []
        for alternative in source.split("|"):
            steps = parse_path(alternative.strip())
            parts = [[]]
            for step in steps:
                if step is EACH:
                    parts.append([])
                else:
                    parts[-1].append(step)
            self.sources.append((len(parts) - 1, parts[-1]))


class Table:
    def __init__(self, explode, columns):
        self.levels = [parse_path(level) for level in explode]
        self.columns = [Column(*column) if not isinstance(column, Column) else column
                        for column in columns]


def plain(names, kind="string"):
    return [(name, kind, name) for name in names.split()]


BID = "seatbid[].bid[]."
TABLES = {
    "bid_requests": Table(["imp"], [
        Column("request_id", "string", "id", required=True),
        ("imp_id", "string", "imp[].id"),
        ("imp_banner_w", "int", "imp[].banner.w | imp[].banner.format[0].w"),
        ("imp_banner_h", "int", "imp[].banner.h | imp[].banner.format[0].h"),
        ("imp_bidfloor", "double", "imp[].bidfloor"),
        ("site_id", "string", "site.id | app.id"),
        ("site_domain", "string", "site.domain | app.domain | app.bundle"),
        ("site_cat", "list", "site.cat | app.cat"),
        ("publisher_id", "string", "site.publisher.id | app.publisher.id"),
        ("device_type", "int", "device.devicetype"),
        ("device_os", "string", "device.os"),
        ("device_geo_country", "country", "device.geo.country"),
        ("device_geo_region", "string", "device.geo.region"),
        ("user_id", "string", "user.id"),
        ("auction_type", "int", "at"),
        ("tmax", "int", "tmax"),
        ("currency", "string", "cur[0]"),
        ("is_coppa", "boolean", "regs.coppa"),
        ("is_gdpr", "boolean", "regs.gdpr | regs.ext.gdpr"),
        ("event_timestamp", "timestamp", "ext.ts"),
    ]),
    "bid_responses": Table(["seatbid", "bid"], [
        Column("request_id", "string", "id", required=True),
        ("bid_response_id", "string", "bidid"),
        ("seat", "string", "seatbid[].seat"),
        ("bid_id", "string", BID + "id"),
        ("imp_id", "string", BID + "impid"),
        ("price", "double", BID + "price"),
        Column("currency", "string", "cur", default="USD"),
        ("ad_id", "string", BID + "adid"),
        ("campaign_id", "string", BID + "cid"),
        ("creative_id", "string", BID + "crid"),
        ("deal_id", "string", BID + "dealid"),
        ("adomain", "list", BID + "adomain"),
        ("cat", "list", BID + "cat"),
        ("w", "int", BID + "w"),
        ("h", "int", BID + "h"),
        ("nbr", "int", "nbr"),
        ("event_timestamp", "timestamp", "ext.ts"),
    ]),
    "impressions": Table([], [
        Column("impression_id", "string", "id", required=True),
        *plain("request_id imp_id bid_id seat campaign_id creative_id site_domain publisher_id"),
        ("device_type", "int", "device_type"),
        ("device_geo_country", "country", "device_geo_country"),
        ("user_id", "string", "user_id"),
        ("price", "double", "price"),
        ("currency", "string", "currency"),
        ("event_timestamp", "timestamp", "ts | ext.ts"),
    ]),
    "clicks": Table([], [
        Column("click_id", "string", "id", required=True),
        *plain("impression_id request_id imp_id bid_id campaign_id creative_id site_domain"),
        ("device_geo_country", "country", "device_geo_country"),
        *plain("user_id landing_page"),
        ("event_timestamp", "timestamp", "ts | ext.ts"),
    ]),
}


def columns(table):
    return [column.name for column in TABLES[table].columns]


def coerce(kind, value, lost):
    """The column's value or None. `lost` is called for a list element that was dropped."""
    if kind == "list":
        return to_list(value, lost)
    return {
        "string": to_string,
        "country": to_country,
        "int": lambda v: to_integer(v, 32),
        "long": lambda v: to_integer(v, 64),
        "double": to_double,
        "boolean": to_boolean,
        "timestamp": to_timestamp,
    }[kind](value)


def evaluate(column, event, elements, count):
    """The first alternative that gives a value; count(name) for each that became null."""
    for level, steps in column.sources:
        start = event if level == 0 else elements[level - 1]
        value = ABSENT if start is ABSENT else follow(start, steps)
        if value is ABSENT:
            continue
        result = coerce(column.kind, value, lambda: count(column.name))
        if result is not None:
            return result
        count(column.name)
    if column.default is not None:
        return column.default
    return RECEIVED if column.name == "event_timestamp" else None


def map_event(table, event, count=lambda name: None):
    shape = TABLES[table]
    rows = []
    shared = {}  # what all rows of an event have in common is evaluated, and counted, once
    for elements in exploded(event, shape.levels):
        row = []
        for column in shape.columns:
            level = max(level for level, _ in column.sources)
            key = (column.name, tuple(id(element) for element in elements[:level]))
            if key not in shared or level == len(shape.levels) > 0:
                shared[key] = evaluate(column, event, elements, count)
            row.append(shared[key])
            if column.required and row[-1] is None:
                raise Refused("required")
        rows.append(tuple(row))
    return rows


Mapped = collections.namedtuple("Mapped", "rows events refused became_null")


def map_lines(table, lines):
    """Lines of bytes to rows; refused is [(line number, reason)]. Blank lines are none."""
    rows, refused, became_null, events = [], [], collections.Counter(), 0
    for number, line in enumerate(lines, 1):
        line = line.rstrip(b"\n")
        if not line.strip(b" \t\r"):
            continue
        counted = []
        try:
            rows += map_event(table, parse_event(line), counted.append)
        except Refused as refusal:
            refused.append((number, refusal.reason))
            continue
        events += 1
        became_null.update(counted)
    return Mapped(rows, events, refused, became_null)


# -- ISO 3166-1 ----------------------------------------------------------------------------

ALPHA2 = dict(pair.split("=") for pair in """
AF=AFG AX=ALA AL=ALB DZ=DZA AS=ASM AD=AND AO=AGO AI=AIA AQ=ATA AG=ATG AR=ARG AM=ARM AW=ABW
AU=AUS AT=AUT AZ=AZE BS=BHS BH=BHR BD=BGD BB=BRB BY=BLR BE=BEL BZ=BLZ BJ=BEN BM=BMU BT=BTN
BO=BOL BQ=BES BA=BIH BW=BWA BV=BVT BR=BRA IO=IOT BN=BRN BG=BGR BF=BFA BI=BDI CV=CPV KH=KHM
CM=CMR CA=CAN KY=CYM CF=CAF TD=TCD CL=CHL CN=CHN CX=CXR CC=CCK CO=COL KM=COM CG=COG CD=COD
CK=COK CR=CRI CI=CIV HR=HRV CU=CUB CW=CUW CY=CYP CZ=CZE DK=DNK DJ=DJI DM=DMA DO=DOM EC=ECU
EG=EGY SV=SLV GQ=GNQ ER=ERI EE=EST SZ=SWZ ET=ETH FK=FLK FO=FRO FJ=FJI FI=FIN FR=FRA GF=GUF
PF=PYF TF=ATF GA=GAB GM=GMB GE=GEO DE=DEU GH=GHA GI=GIB GR=GRC GL=GRL GD=GRD GP=GLP GU=GUM
GT=GTM GG=GGY GN=GIN GW=GNB GY=GUY HT=HTI HM=HMD VA=VAT HN=HND HK=HKG HU=HUN IS=ISL IN=IND
ID=IDN IR=IRN IQ=IRQ IE=IRL IM=IMN IL=ISR IT=ITA JM=JAM JP=JPN JE=JEY JO=JOR KZ=KAZ KE=KEN
KI=KIR KP=PRK KR=KOR KW=KWT KG=KGZ LA=LAO LV=LVA LB=LBN LS=LSO LR=LBR LY=LBY LI=LIE LT=LTU
LU=LUX MO=MAC MG=MDG MW=MWI MY=MYS MV=MDV ML=MLI MT=MLT MH=MHL MQ=MTQ MR=MRT MU=MUS YT=MYT
MX=MEX FM=FSM MD=MDA MC=MCO MN=MNG ME=MNE MS=MSR MA=MAR MZ=MOZ MM=MMR NA=NAM NR=NRU NP=NPL
NL=NLD NC=NCL NZ=NZL NI=NIC NE=NER NG=NGA NU=NIU NF=NFK MK=MKD MP=MNP NO=NOR OM=OMN PK=PAK
PW=PLW PS=PSE PA=PAN PG=PNG PY=PRY PE=PER PH=PHL PN=PCN PL=POL PT=PRT PR=PRI QA=QAT RE=REU
RO=ROU RU=RUS RW=RWA BL=BLM SH=SHN KN=KNA LC=LCA MF=MAF PM=SPM VC=VCT WS=WSM SM=SMR ST=STP
SA=SAU SN=SEN RS=SRB SC=SYC SL=SLE SG=SGP SX=SXM SK=SVK SI=SVN SB=SLB SO=SOM ZA=ZAF GS=SGS
SS=SSD ES=ESP LK=LKA SD=SDN SR=SUR SJ=SJM SE=SWE CH=CHE SY=SYR TW=TWN TJ=TJK TZ=TZA TH=THA
TL=TLS TG=TGO TK=TKL TO=TON TT=TTO TN=TUN TR=TUR TM=TKM TC=TCA TV=TUV UG=UGA UA=UKR AE=ARE
GB=GBR US=USA UM=UMI UY=URY UZ=UZB VU=VUT VE=VEN VN=VNM VG=VGB VI=VIR WF=WLF EH=ESH YE=YEM
ZM=ZMB ZW=ZWE""".split())
ALPHA3 = set(ALPHA2.values())
assert len(ALPHA2) == len(ALPHA3) == 249

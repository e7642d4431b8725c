# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Formats by their standards, for `jsonschema`: written from the RFCs, with Python's own libraries, apart from the engine."""
import datetime
import ipaddress
import re
import uuid

import jsonschema

checker = jsonschema.FormatChecker(formats=())
# Of these the engine has a part only, and where one is forbidden it refuses more than there is: texts between the two are refused both ways (formats.h).
wide_checker = jsonschema.FormatChecker(formats=())
NOT_EXACT = {"date-time", "time", "duration", "email", "hostname", "regex"}


def judges(name):
    def register(judge):
        def asked(value):
            return not isinstance(value, str) or bool(judge(value))

        checker.checks(name, raises=(ValueError, OverflowError))(asked)
        if name not in NOT_EXACT:
            wide_checker.checks(name, raises=(ValueError, OverflowError))(asked)
        return judge
    return register


@judges("date")
def date(text):
    return re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) and day(text)


def day(text):
    """Year 0 is a leap year, which Python has not."""
    year, month, of_month = map(int, text.split("-"))
    datetime.date(year if year > 0 else 2000, month, of_month)
    return True


CLOCK = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?([zZ]|[+-][0-9]{2}:[0-9]{2})")


@judges("time")
def time(text):
    return utc(text) is not None


def utc(text):
    """(minutes of the UTC day, days to add, leap second) of a full-time, or None."""
    match = CLOCK.fullmatch(text)
    if match is None:
        return None
    hour, minute, second = map(int, match.groups()[:3])
    offset = 0
    if match[5] not in "zZ":
        hours, minutes = int(match[5][1:3]), int(match[5][4:6])
        if hours > 23 or minutes > 59:
            return None
        offset = (hours * 60 + minutes) * (1 if match[5][0] == "+" else -1)
    days, of_day = divmod(hour * 60 + minute - offset, 1440)
    if hour > 23 or minute > 59 or second > 60 or (second == 60 and of_day != 1439):
        return None
    return of_day, days, second == 60


@judges("date-time")
def date_time(text):
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[tT].*", text, re.DOTALL) or not date(text[:10]):
        return False
    clock = utc(text[11:])
    if clock is None or not clock[2]:
        return clock is not None
    then = datetime.date(max(int(text[:4]), 1), *map(int, text[5:10].split("-"))) + datetime.timedelta(clock[1])
    return (then.month, then.day) in ((6, 30), (12, 31))


@judges("duration")
def duration(text):
    clock = r"T([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M([0-9]+S)?|[0-9]+S)"
    days = r"([0-9]+Y([0-9]+M([0-9]+D)?)?|[0-9]+M([0-9]+D)?|[0-9]+D)"
    return re.fullmatch(f"P({days}({clock})?|{clock}|[0-9]+W)", text)


@judges("ipv4")
def ipv4(text):
    return text.isascii() and ipaddress.IPv4Address(text)


@judges("ipv6")
def ipv6(text):
    return text.isascii() and "%" not in text and ipaddress.IPv6Address(text) is not None


@judges("hostname")
def hostname(text):
    return len(text) <= 253 and re.fullmatch(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*", text)


@judges("email")
def email(text):
    local, at, domain = text.rpartition("@")
    dots = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    quoted = r'"([ !#-\[\]-~]|\\[ -~])*"'
    if not at or len(local) > 64 or not re.fullmatch(f"{dots}|{quoted}", local):
        return False
    if domain[:1] == "[" and domain[-1:] == "]":
        return ipv6(domain[6:-1]) if domain.lower().startswith("[ipv6:") else ipv4(domain[1:-1])
    return hostname(domain)


UNRESERVED, SUB = r"[A-Za-z0-9._~-]", r"[!$&'()*+,;=]"
PCHAR = rf"(?:{UNRESERVED}|%[0-9A-Fa-f]{{2}}|{SUB}|[:@])"
URI = re.compile(rf"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?(?://(?P<authority>[^/?#]*)(?P<path>(?:/{PCHAR}*)*)|(?P<rootless>/?(?:{PCHAR}+(?:/{PCHAR}*)*)?))(?:\?(?:{PCHAR}|[/?])*)?(?:#(?:{PCHAR}|[/?])*)?")


@judges("uri-reference")
def uri_reference(text):
    match = URI.fullmatch(text)
    if match is None:
        return False
    if match["scheme"] is None and match["rootless"] and ":" in match["rootless"].split("/")[0]:
        return False
    return match["authority"] is None or authority(match["authority"])


def authority(text):
    user, at, host = text.rpartition("@")
    part = rf"(?:{UNRESERVED}|%[0-9A-Fa-f]{{2}}|{SUB})*"
    if at and not re.fullmatch(rf"(?:{part}|:)*", user):
        return False
    literal = re.fullmatch(r"\[([^\]]*)\](:[0-9]*)?", host)
    if literal:
        future = re.fullmatch(rf"[vV][0-9A-Fa-f]+\.(?:{UNRESERVED}|{SUB}|:)+", literal[1])
        return future or ipv6(literal[1])
    return re.fullmatch(rf"{part}(:[0-9]*)?", host)


@judges("uri")
def uri(text):
    return uri_reference(text) and URI.fullmatch(text)["scheme"] is not None


@judges("uuid")
def is_uuid(text):
    return re.fullmatch(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", text) and uuid.UUID(text)


@judges("json-pointer")
def json_pointer(text):
    return re.fullmatch(r"(/([^~/]|~[01])*)*", text, re.DOTALL)


@judges("relative-json-pointer")
def relative_json_pointer(text):
    match = re.fullmatch(r"(0|[1-9][0-9]*)(#|(/.*)?)", text, re.DOTALL)
    return match and (match[2] == "#" or json_pointer(match[2]))


@judges("regex")
def is_regex(text):
    """Python's reading: near enough for the patterns that tests write."""
    re.compile(text)
    return True

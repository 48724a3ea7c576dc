"""Cases that litesmith refuses for now, from not_yet.txt, a list that may only shrink."""

from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path


@cache
def entries():
    """(script, pattern, reason) of each line."""
    lines = Path(__file__).with_suffix(".txt").read_text().splitlines()
    return [tuple(part.strip() for part in line.split("|")) for line in lines if line and not line.startswith("#")]


def judge(script, case, passed, text):
    """(passed, text) of a case, in view of the list: a listed case must be refused, with exit code 3."""
    reason = next((reason for s, pattern, reason in entries() if s == script and fnmatchcase(case, pattern)), None)
    if reason is None:
        return passed, text
    if "exits with 3" in text:
        return True, f"refused, not yet: {reason}"
    return False, f"it is not refused any more: take it out of not_yet.txt ({text})"

"""Words for people: names from outside made safe to print, counts, times and rates."""

from __future__ import annotations


def shown(name: object) -> str:
    r"""A name from outside (of a file, class or run) for a terminal, a log or a page.

    Characters that a terminal would obey or cannot print become visible escapes: ``\x1b``, ``\n``, and ``\xff`` for a
    byte that is not text.
    """
    return "".join(each if each.isprintable() else _escaped(each) for each in str(name))


def _escaped(character: str) -> str:
    byte = ord(character) - 0xDC00  # a byte of a file name that is not UTF-8, as os.fsdecode gives it
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else character.encode("unicode_escape").decode()


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun: ``1 process``, ``2 processes``; the plural ends in s unless given."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """A time in the largest of s, min, h and d that gives at least 1: ``59 s``, ``2 h``."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def rate(per_second: float, noun: str = "step") -> str:
    """A rate: ``2.5 steps/s``, or below one per second ``4.0 s/step``."""
    if per_second >= 1:
        return f"{per_second:.1f} {noun}s/s"
    return f"{1 / per_second:.1f} s/{noun}" if per_second > 0 else f"- {noun}s/s"

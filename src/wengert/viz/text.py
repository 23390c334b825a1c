"""Text in pictures: how wide it is, and how text of users is shown whatever is in it.

A picture is laid out before anybody knows which font will draw it, so widths are those of DejaVu Sans, the widest of
the usual sans-serif fonts: with another one there is more room, never less.
"""

from __future__ import annotations

import re
import unicodedata
from xml.sax.saxutils import escape as _escape

FONT = "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
LONGEST = 44  # characters of a line; what is longer is cut, and shown whole when the pointer rests on it

# DejaVu Sans, thousandths of the size, from the space to the tilde.
_WIDTHS = (
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636, 636, 636, 636, 636,
    636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656, 557, 863,
    748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635,
    615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636,
    337, 636, 838,
)  # fmt: skip
_BOLD = 1.16  # the ratio of DejaVu Sans Bold, for words

# Control characters would end a line or break the file; marks of direction would turn the picture's own text around.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufffe\uffff]")


def visible(text: str) -> str:
    """The text on one line, with control characters, marks of direction and lone surrogates as escapes.

    >>> visible("a\\nb")
    'a\\\\nb'
    """
    return _HIDDEN.sub(lambda m: m[0].encode("unicode_escape").decode("ascii"), text)


def clipped(text: str, longest: int = LONGEST) -> str:
    """The text, or its beginning and its end around an ellipsis.

    >>> clipped("encoder.layers.11.attention.weight", 20)
    'encoder.la…on.weight'
    """
    if len(text) <= longest:
        return text
    head = longest // 2
    return f"{text[:head]}…{text[head + 1 - longest :]}"


def width(text: str, size: float, bold: bool = False) -> float:
    """How wide a line is, at most, in the unit of `size`."""
    total = sum([_WIDTHS[ord(c) - 32] if " " <= c <= "~" else _other(c) for c in text])
    return total * size / 1000 * (_BOLD if bold else 1)


def _other(c: str) -> int:
    if unicodedata.combining(c):
        return 0
    return 1250 if unicodedata.east_asian_width(c) in "WF" else 1000


def xml(text: str) -> str:
    """The text as content of an XML element, or of an attribute in double quotes."""
    return _escape(visible(text), {'"': "&quot;"})

"""The fonts of this machine that write what Matplotlib's own font cannot."""

import functools
import unicodedata
from collections.abc import Iterable, Iterator

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from m6rec.spark.messages import say

# It comes with Matplotlib.
OWN_FONT = "DejaVu Sans"
# Fonts without serifs that people read text in; of the others, the first by name is taken.
_FIRST = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Noto Sans JP",
    "Noto Sans KR",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "NanumGothic",
    "IPAGothic",
    "Noto Sans Thai",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Arial Unicode MS",
)
# Its signs are boxes with the name of a script.
_OF_BOXES = "Last Resort"
_OF_EAST_ASIA = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO")
_SHOWN = 5


def fonts_for(texts: Iterable[str]) -> list[str]:
    """Fonts that together write the texts, Matplotlib's own first.

    It warns, once for the same signs, of those that no font of this machine has.
    """
    signs = frozenset(sign for text in texts for sign in text if _is_drawn(sign))
    return list(_fonts_for(signs))


@functools.cache
def _fonts_for(signs: frozenset[str]) -> tuple[str, ...]:
    chosen, missing = [OWN_FONT], signs - _signs_of(font_manager.findfont(OWN_FONT))
    # To open all fonts can take a second, and few texts need any.
    for name, path in _other_fonts() if missing else ():
        found = missing & _signs_of(path)
        if found:
            chosen.append(name)
            missing -= found
        if not missing:
            break
    if missing:
        _warn(sorted(missing))
    return tuple(chosen)


def _is_drawn(sign: str) -> bool:
    """Whether a sign is more than space or a control of other signs."""
    return unicodedata.category(sign)[0] not in "CZ"


def _known_fonts() -> list[tuple[str, str]]:
    """Names and files of the upright fonts of usual weight that Matplotlib knows."""
    fonts = font_manager.fontManager.ttflist
    return sorted(
        {(font.name, font.fname) for font in fonts if font.style == "normal" and font.weight == 400}
    )


def _other_fonts() -> Iterator[tuple[str, str]]:
    """All others, those that are read best first.

    Matplotlib keeps a list of fonts on disk, in which those are not that were installed later.
    """
    known = {font.fname for font in font_manager.fontManager.ttflist}
    for path in sorted({*font_manager.findSystemFonts()} - known):
        try:
            font_manager.fontManager.addfont(path)
        except (OSError, RuntimeError, ValueError):
            # It is broken, or of a kind that Matplotlib does not draw.
            continue
    places = {name: place for place, name in enumerate(_FIRST)}
    fonts = sorted(_known_fonts(), key=lambda font: (places.get(font[0], len(places)), font))
    for name, path in fonts:
        if name != OWN_FONT and not name.startswith(_OF_BOXES):
            yield name, path


@functools.cache
def _signs_of(path: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):
        # The file was removed, or is broken.
        return frozenset()


def _warn(missing: list[str]) -> None:
    more = ", ..." if len(missing) > _SHOWN else ""
    packages = {
        "fonts-noto-cjk"
        if unicodedata.name(sign, "").startswith(_OF_EAST_ASIA)
        else "fonts-noto-core"
        for sign in missing
    }
    say(
        "warning",
        f"no font of this machine has {len(missing)} of the signs in a plot"
        f" ({', '.join(missing[:_SHOWN])}{more}), which stand there as boxes; install fonts that"
        f" have them, such as those of the package {' and '.join(sorted(packages))} of Debian",
    )

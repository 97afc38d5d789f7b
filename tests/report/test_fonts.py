"""Plots with texts in any script, by the fonts that a machine has."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from m6rec.report import fonts, plots

TEA, GREEN_TEA, HIKING_BOOTS = "\u8336", "\u7eff\u8336", "\ub4f1\uc0b0\ud654"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The files of fonts beside Matplotlib's own, none at first."""
    files: list[str] = []
    manager = font_manager.fontManager
    own = [font for font in manager.ttflist if font.name == fonts.OWN_FONT]
    monkeypatch.setattr(manager, "ttflist", own)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: files)
    fonts._fonts_for.cache_clear()
    yield files
    fonts._fonts_for.cache_clear()


def write_font(path: Path, name: str, signs: str) -> str:
    """A font in which each of the signs is a square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 800), (800, 800), (800, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(sign): "square" for sign in signs})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": square})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": name, "styleName": "Regular"})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    builder.save(path)
    return str(path)


def drawn(text: str) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return plots.png(plots.explanation("Tea", {"members": [(text, 0.5)]}))


def test_texts_are_drawn_by_fonts_that_have_their_signs(
    installed: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = drawn(GREEN_TEA)
    fonts._fonts_for.cache_clear()
    # Nothing but the second has the signs; the third is broken.
    installed.append(write_font(tmp_path / "a.ttf", "Aland", TEA))
    installed.append(write_font(tmp_path / "b.ttf", "Bland", GREEN_TEA + HIKING_BOOTS))
    (tmp_path / "c.ttf").write_bytes(b"no font")
    installed.append(str(tmp_path / "c.ttf"))
    capsys.readouterr()
    assert fonts.fonts_for([GREEN_TEA, "tea\n"]) == [fonts.OWN_FONT, "Aland", "Bland"]
    assert fonts.fonts_for([HIKING_BOOTS]) == [fonts.OWN_FONT, "Bland"]
    assert fonts.fonts_for(["tea, th\u00e9"]) == [fonts.OWN_FONT]
    assert drawn(GREEN_TEA) != boxes
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("installed")
def test_it_is_said_once_which_signs_no_font_has_and_what_to_install(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for _ in range(2):
        assert drawn(f"{GREEN_TEA} \u0e0a\u0e32").startswith(b"\x89PNG")
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: no font of this machine has 4 of the signs in a plot (")
    assert TEA in line and "the package fonts-noto-cjk and fonts-noto-core of Debian" in line

"""The encoding of a text file, by its first bytes."""

import codecs
import re
from collections.abc import Iterable, Mapping, Sequence

from charset_normalizer import from_bytes

_BOMS = (
    (codecs.BOM_UTF8, "UTF-8"),
    (codecs.BOM_UTF16_LE, "UTF-16LE"),
    (codecs.BOM_UTF16_BE, "UTF-16BE"),
)
# For each encoding: the range of first bytes of the characters that its language uses most, their
# least second byte, and more usual characters. Korean text also passes for usual Chinese, but
# Chinese hardly ever passes for Korean; so, of encodings with equal shares, the first one wins.
_OF_COUNTRIES = {
    "EUC-KR": (0xB0, 0xC8, 0xA1, "\u3001-\u3011"),
    "GB18030": (0xB0, 0xD7, 0xA1, "\u3001-\u3011\uff01-\uff5e"),
    "Shift_JIS": (0x88, 0x97, 0x40, "\u3001-\u30ff\uff01-\uff5e"),
    "Big5": (0xA4, 0xC6, 0x40, "\u3001-\u3011\uff01-\uff5e"),
    "EUC-JP": (0xB0, 0xCF, 0xA1, "\u3001-\u30ff\uff01-\uff5e"),
}
_MOST_SIGNS = 0.8
# Bytes beyond ASCII stand alone in words of a Latin script, and side by side in those of others.
_ALONE = re.compile(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])")
_SIDE_BY_SIDE = re.compile(rb"[\x80-\xff]{3,}")
_MOST_BYTES = 0.5
# Encodings of other scripts as Python has them, and as Java does.
_OF_SCRIPTS = {
    "cp1251": "windows-1251",
    "koi8_r": "KOI8-R",
    "koi8_u": "KOI8-U",
    "iso8859_5": "ISO-8859-5",
    "cp866": "IBM866",
    "cp1253": "windows-1253",
    "iso8859_7": "ISO-8859-7",
    "cp1255": "windows-1255",
    "iso8859_8": "ISO-8859-8",
    "cp1256": "windows-1256",
    "iso8859_6": "ISO-8859-6",
    "tis_620": "TIS-620",
}
# The letters beyond ASCII of languages that ISO-8859-1 has all of: French, German, Spanish,
# Portuguese, Italian, Catalan, Swedish and Finnish, Danish and Norwegian, Icelandic, Dutch,
# Estonian.
_WESTERN = (
    *("àâæçèéêëîïôœùûüÿ", "äöüßé", "áéíñóúüç", "ãáàâçéêíóôõúü", "àèéìíîòóù", "àçèéíïòóúü"),
    *("åäöé", "æøåé", "áéíóúýðþæö", "áéèëïóöü", "äöõü"),
)
# The same of others: Polish, Czech and Slovak, Hungarian, Romanian, Croatian; Turkish; Lithuanian,
# Latvian. Where two encodings fit alike, all letters are the same in both.
_CENTRAL = ("ąćęłńóśźż", "áäčďéěíĺľňóôŕřšťúůýž", "áéíóöőúüű", "ăâîşţșț", "čćđšž")
_OTHER_LATIN: Mapping[str, Sequence[str]] = {
    "windows-1250": _CENTRAL,
    "ISO-8859-2": _CENTRAL,
    "windows-1254": ("âçğ\u0131i\u0307îöşüû",),
    "windows-1257": ("ąčęėįšųūž", "āčēģīķļņšūž"),
}
_NEARLY_ALL_LETTERS = 0.95
# A few letters of several western languages may all be those of another one.
_FEWEST_LETTERS = 6
_OF_THE_WEST = frozenset(("iso8859-1", "iso8859-15", "cp1252"))
# Signs that stand within words of any language.
_WITHIN_WORDS = "\u00ad\u00b4\u00b7\u2010-\u2019"
_SIGN = re.compile(
    rf"[^\W\d_a-zA-Z]|(?<=[^\W\d_])[^\x00-\x7f{_WITHIN_WORDS}](?=[^\W\d_])|[\x80-\x9f\ufffd]"
)


def encoding_of(start: bytes) -> str:
    """The encoding of a text file, by its first bytes."""
    for bom, name in _BOMS:
        if start.startswith(bom):
            return name
    if start[1:40:2].count(0) > len(start[1:40:2]) / 2:
        return "UTF-16LE"
    lines = start[: start.rfind(b"\n") + 1 or None]
    try:
        lines.decode("utf-8")
    except UnicodeDecodeError:
        return _encoding_of_a_country(lines)
    return "UTF-8"


def shows_another(start: bytes, given: str) -> str | None:
    """The encoding that a file shows, where it is read without an error in another one.

    Only those of western languages are doubted: every byte is a character in them. None where
    nothing speaks against the given one.
    """
    try:
        is_western = codecs.lookup(given).name in _OF_THE_WEST
    except LookupError:
        return None
    if not is_western or start.isascii():
        return None
    likely = encoding_of(start)
    return None if codecs.lookup(likely).name in _OF_THE_WEST else likely


def line_beyond_ascii(start: bytes, encoding: str) -> str:
    """The first line with a character that ASCII does not have, in an encoding."""
    line = next((line for line in start.splitlines() if not line.isascii()), b"")
    return line.decode(encoding, errors="replace").strip()


def _encoding_of_a_country(lines: bytes) -> str:
    """The encoding by which most characters beyond ASCII are usual ones of its language."""
    beyond = sum(one >= 0x80 for one in lines)
    latin = _latin_encoding(lines)
    if latin is not None and len(_ALONE.findall(lines)) >= _MOST_BYTES * beyond:
        return latin
    shares = {name: _usual_share(lines, name, *usual) for name, usual in _OF_COUNTRIES.items()}
    best = max(shares, key=lambda name: shares[name])
    if shares[best] >= _MOST_SIGNS:
        return best
    if sum(map(len, _SIDE_BY_SIDE.findall(lines))) > _MOST_BYTES * beyond:
        found = from_bytes(lines, cp_isolation=list(_OF_SCRIPTS)).best()
        if found is not None and found.encoding in _OF_SCRIPTS:
            return _OF_SCRIPTS[found.encoding]
    return latin or _western_encoding(lines)


def _western_encoding(lines: bytes) -> str:
    # These bytes are control characters in ISO-8859-1, and quotes, dashes and the euro in Windows.
    return "windows-1252" if any(0x80 <= one <= 0x9F for one in lines) else "ISO-8859-1"


def _latin_encoding(lines: bytes) -> str | None:
    """The encoding by which nearly all letters beyond ASCII are those of one language; or None."""
    western = _western_encoding(lines)
    shares = {western: _share_of_letters(lines, western, _WESTERN)}
    many = sum(one >= 0x80 for one in lines) >= _FEWEST_LETTERS
    if shares[western] < _NEARLY_ALL_LETTERS and many:
        for name, alphabets in _OTHER_LATIN.items():
            shares[name] = _share_of_letters(lines, name, alphabets)
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] >= _NEARLY_ALL_LETTERS else None


def _share_of_letters(lines: bytes, encoding: str, alphabets: Iterable[str]) -> float:
    """The share of signs within words that belong to the language with most of them."""
    signs = _SIGN.findall(lines.decode(encoding, errors="replace").lower())
    known = (sum(sign in alphabet for sign in signs) for alphabet in alphabets)
    return max(known) / len(signs) if signs else 0.0


def _usual_share(
    lines: bytes, encoding: str, first: int, last: int, second: int, others: str
) -> float:
    """The share of usual characters: those of a range of bytes, and a class of others."""
    try:
        signs = [sign for sign in lines.decode(encoding) if not sign.isascii()]
    except UnicodeDecodeError:
        return 0.0
    pattern = re.compile(f"[{others}]")
    usual = (
        pattern.match(sign)
        or (
            (len(code := sign.encode(encoding)) > 1 and first <= code[0] <= last)
            and code[1] >= second
        )
        for sign in signs
    )
    return sum(map(bool, usual)) / len(signs) if signs else 0.0

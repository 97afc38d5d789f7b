"""Split text into the word pieces that an encoder knows, as BERT's tokenizer does.

Text is cleaned, and put in lower case without accents where the encoder was trained so. Chinese
characters stand alone, punctuation as well. Each word is then cut from its start into the longest
known pieces, of which all but the first are marked by `##` (Wu et al. 2016, "Google's neural
machine translation system").
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

_LONGEST_WORD = 100
# The blocks of Chinese characters that BERT sets apart.
_SIGNS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
# ASCII characters that count as punctuation, whatever Unicode says of them.
_ASCII_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


@dataclass(frozen=True)
class WordPieces:
    """The pieces that an encoder knows.

    Attributes:
        vocabulary: the number of each piece.
        unknown: the number of what cannot be cut into known pieces.
        first, last: the numbers of what stands before and after a text; None where nothing does.
        lowers: whether text is put in lower case.
        strips: whether it is freed of accents.
    """

    vocabulary: Mapping[str, int]
    unknown: int
    first: int | None
    last: int | None
    lowers: bool
    strips: bool

    def numbers(self, text: str, longest: int) -> list[int]:
        """The numbers of a text's pieces, cut to `longest` with what stands around them."""
        pieces = [piece for word in self._words(text) for piece in self._pieces(word)]
        start = [] if self.first is None else [self.first]
        end = [] if self.last is None else [self.last]
        return [*start, *pieces[: longest - len(start) - len(end)], *end]

    def _words(self, text: str) -> list[str]:
        text = "".join(f" {sign} " if _stands_alone(sign) else _cleaned(sign) for sign in text)
        if self.lowers:
            text = text.lower()
        if self.strips:
            decomposed = unicodedata.normalize("NFD", text)
            text = "".join(sign for sign in decomposed if unicodedata.category(sign) != "Mn")
        return [word for part in text.split() for word in _around_punctuation(part)]

    def _pieces(self, word: str) -> list[int]:
        if len(word) > _LONGEST_WORD:
            return [self.unknown]
        found, start = [], 0
        while start < len(word):
            mark = "##" if start else ""
            stop = next(
                (
                    stop
                    for stop in range(len(word), start, -1)
                    if mark + word[start:stop] in self.vocabulary
                ),
                None,
            )
            if stop is None:
                return [self.unknown]
            found.append(self.vocabulary[mark + word[start:stop]])
            start = stop
        return found


def _stands_alone(sign: str) -> bool:
    code = ord(sign)
    return code >= _SIGNS[1][0] and any(low <= code <= high for low, high in _SIGNS)


def _cleaned(sign: str) -> str:
    if sign in "\t\n\r":
        return " "
    if sign in "\0\ufffd" or unicodedata.category(sign) in {"Cc", "Cf"}:
        return ""
    return sign


def _around_punctuation(part: str) -> list[str]:
    words = [""]
    for sign in part:
        if sign in _ASCII_PUNCTUATION or unicodedata.category(sign).startswith("P"):
            words += [sign, ""]
        else:
            words[-1] += sign
    return [word for word in words if word]

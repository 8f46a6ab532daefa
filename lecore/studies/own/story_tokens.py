"""The tokenizer of llama2.c: pairs of pieces are merged, the best first (byte-pair encoding)."""

import os
import struct
from collections.abc import Sequence
from pathlib import Path

from lecore.errors import LecoreError
from lecore.studies.own.llama import read_bytes

BEGIN = 1
"""The token that a text begins with."""

FIRST_BYTE = 3
"""The token of byte 0; those of the others follow. Characters without a piece are spelled so."""


class StoryTokens:
    """Text to tokens and back.

    Args:
        path: A file of llama2.c: the longest length, then a score (float32), a length (int32) and
            the bytes of each piece. Nothing of it is executed.
        words: How many pieces there must be: as many as the model knows.

    Raises:
        LecoreError: If the file is missing, damaged, or of another vocabulary.
    """

    def __init__(self, path: str | os.PathLike[str], words: int) -> None:
        raw, where = read_bytes(path), Path(path).name
        self.pieces: list[bytes] = []
        self.scores: list[float] = []
        at = 4
        while at < len(raw):
            if at + 8 > len(raw):
                raise LecoreError("the file ends within a piece", where=where)
            score, length = struct.unpack_from("<fi", raw, at)
            at += 8 + length
            if length < 0 or at > len(raw):
                raise LecoreError("the file ends within a piece", where=where)
            self.scores.append(score)
            self.pieces.append(raw[at - length : at])
        if len(self.pieces) != words:
            what = f"the file has {len(self.pieces)} pieces, but the model knows {words}"
            raise LecoreError(what, "take the tokenizer that the model was trained with", where)
        if words < FIRST_BYTE + 256:
            raise LecoreError("the file has no pieces for single bytes", where=where)
        self.numbers = {piece: number for number, piece in reversed([*enumerate(self.pieces)])}

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, :data:`BEGIN` first."""
        found = []
        for character in f" {text}":
            spelled = character.encode()
            known = self.numbers.get(spelled)
            found += [byte + FIRST_BYTE for byte in spelled] if known is None else [known]
        while merges := [
            (-self.scores[number], place, number)
            for place in range(len(found) - 1)
            if (number := self._joined(found[place], found[place + 1])) is not None
        ]:
            _, place, number = min(merges)
            found[place : place + 2] = [number]
        return [BEGIN, *found]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens; the space that every text begins with is left out."""
        spelled = b"".join(self._spelled(token) for token in tokens if token != BEGIN)
        text = spelled.decode(errors="replace")
        return text.removeprefix(" ") if tokens[:1] == [BEGIN] else text

    def _joined(self, left: int, right: int) -> int | None:
        return self.numbers.get(self.pieces[left] + self.pieces[right])

    def _spelled(self, token: int) -> bytes:
        byte = token - FIRST_BYTE
        return bytes([byte]) if 0 <= byte < 256 else self.pieces[token]

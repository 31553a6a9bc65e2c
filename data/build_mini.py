"""Builds librispeech_mini/ from Debian's package pocketsphinx-testdata.

usage: build_mini.py UNPACKED OUT, UNPACKED being the folder into which it was unpacked
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from librispeech_layout import Utterance, write_chapter

PHRASES = {'goforward.raw': 'GO FORWARD TEN METERS', 'something.raw': 'GO SOMEWHERE AND DO SOMETHING'}
DIGITS = {'tidigits/dhd.2934z.raw': 'TWO NINE THREE FOUR ZERO'}


def transcribed(transcript: Path) -> Iterator[Utterance]:
    """Utterances of a transcript with lines `<s> text </s> (file name)`, beside which the WAV files lie."""
    for text, name in re.findall(r'^<s> (.*?)\s*</s> \((.*)\)', transcript.read_text(), re.M):
        samples, _ = soundfile.read(transcript.parent / f'{name}.wav', dtype='int16')
        yield samples, text.upper()


def raw(folder: Path, texts: dict[str, str]) -> Iterator[Utterance]:
    """Utterances in files of bare little-endian samples."""
    for name, text in texts.items():
        yield np.fromfile(folder / name, '<i2'), text


def main(unpacked: Path, out: Path) -> None:
    source = unpacked / 'usr/share/pocketsphinx/test/data'
    subset = out / 'dev-clean-xs'
    write_chapter(subset, 2001, 20011, transcribed(source / 'librivox/transcription'))
    write_chapter(subset, 2002, 20021, transcribed(source / 'cards/cards.transcription'))
    write_chapter(subset, 2003, 20031, raw(source, PHRASES))
    write_chapter(subset, 2004, 20041, raw(source, DIGITS))


if __name__ == '__main__':
    main(*map(Path, sys.argv[1:]))

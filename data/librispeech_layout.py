"""The layout of LibriSpeech: SPEAKER/CHAPTER/SPEAKER-CHAPTER-NNNN.flac, and one .trans.txt beside them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000  # samples per second

Utterance = tuple[np.ndarray, str]  # int16 samples, text


def write_chapter(subset: Path, speaker: int, chapter: int, utterances: Iterable[Utterance]) -> None:
    """Writes utterances as one chapter of a speaker."""
    folder = subset / str(speaker) / str(chapter)
    folder.mkdir(parents=True, exist_ok=True)
    transcript = []
    for index, (samples, text) in enumerate(utterances):
        name = f'{speaker}-{chapter}-{index:04d}'
        soundfile.write(folder / f'{name}.flac', samples, RATE, subtype='PCM_16')
        transcript.append(f'{name} {text}\n')
    (folder / f'{speaker}-{chapter}.trans.txt').write_text(''.join(transcript), encoding='utf-8')

"""Builds a tree in LibriSpeech layout from Debian's packages asterisk-core-sounds-LANG and -LANG-g722.

usage: build_fixture.py UNPACKED OUT [LANG,LANG,...], UNPACKED being the folder into which they were unpacked

Needs soundfile, and av, which decodes G.722. Left out: sounds without words (written in brackets), utterances
shorter than 0.3 s or longer than 20 s, and texts with numbers or symbols that are not spelled out.
"""

import gzip
import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from librispeech_layout import RATE, write_chapter

SPEAKERS = {
    'en': (1001, 'F', 'Allison Smith'),
    'es': (1002, 'F', 'Allison (es-MX)'),
    'fr': (1003, 'F', 'June Wallack'),
    'it': (1004, 'M', 'Carlo Flora'),
    'ru': (1005, 'F', 'IvrvoiceRU'),
}
SUBSET = 'train-clean-xs'
MIN_SECONDS, MAX_SECONDS = 0.3, 20.0
NAMES = ['ZERO', 'ONE', 'TWO', 'THREE', 'FOUR', 'FIVE', 'SIX', 'SEVEN', 'EIGHT', 'NINE']
ENGLISH_SYMBOLS = {'*': 'STAR', '#': 'POUND'} | {str(digit): name for digit, name in enumerate(NAMES)}


def normalized(text: str, language: str) -> str | None:
    """The text in capitals without punctuation, or None where it is not certain how it is spoken."""
    if language == 'en' and not re.search(r'\d\d', text):
        text = re.sub(r'[*#0-9]', lambda symbol: f' {ENGLISH_SYMBOLS[symbol.group()]} ', text)
    if re.search(r'[\d*#%&@$]', text):
        return None
    text = unicodedata.normalize('NFC', text).upper().replace('\N{RIGHT SINGLE QUOTATION MARK}', "'")
    return ' '.join(re.sub(r"[^\w' ]", ' ', text).split())


def decoded(path: Path) -> np.ndarray:
    """The int16 samples of a G.722 file."""
    with av.open(str(path), format='g722') as container:
        frames = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
    return np.concatenate(frames).astype(np.int16)


def prompts(unpacked: Path, language: str) -> Iterator[tuple[str, np.ndarray, str]]:
    """Name, samples and text of each prompt that is kept."""
    [transcript] = unpacked.rglob(f'core-sounds-{language}.txt.gz')
    sounds = next(unpacked.glob(f'usr/share/asterisk/sounds/{language}_*'))
    for line in gzip.decompress(transcript.read_bytes()).decode(errors='replace').splitlines():
        name, colon, text = map(str.strip, line.partition(':'))
        path = sounds / f'{name}.g722'
        if name.startswith(';') or not colon or not text or text[0] in '[(<' or not path.exists():
            continue
        words, samples = normalized(text, language), decoded(path)
        if words and MIN_SECONDS <= len(samples) / RATE <= MAX_SECONDS:
            yield name, samples, words


def main(unpacked: str, out: str, languages: str = 'en') -> None:
    speakers = [';ID  |SEX| SUBSET           |MINUTES| NAME']
    for language in languages.split(','):
        speaker, sex, person = SPEAKERS[language]
        chapters = defaultdict(list)  # one for each folder of prompts
        for name, samples, text in prompts(Path(unpacked), language):
            folder, slash, _ = name.partition('/')
            chapters[folder if slash else 'main'].append((samples, text))
        for number, utterances in enumerate(chapters.values(), start=1):
            write_chapter(Path(out) / SUBSET, speaker, 10 * speaker + number, utterances)
        lengths = [len(samples) for utterances in chapters.values() for samples, _ in utterances]
        minutes = round(sum(lengths) / RATE / 60, 1)
        speakers.append(f'{speaker} | {sex} | {SUBSET} | {minutes} | {person}')
        print(f'{language}: {len(lengths)} utterances, {minutes} minutes')
    (Path(out) / 'SPEAKERS.TXT').write_text('\n'.join(speakers) + '\n')


if __name__ == '__main__':
    main(*sys.argv[1:])

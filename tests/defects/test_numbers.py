"""Every number of the two lists of defects of the published library has its tests."""

import re
from pathlib import Path

NUMBERS = {'q': set(range(1, 27)), 'l': set(range(1, 41))}


def test_every_defect_has_a_test():
    sources = '\n'.join(path.read_text() for path in Path(__file__).parent.glob('test_*.py'))
    for letter, numbers in NUMBERS.items():
        assert {int(n) for n in re.findall(rf'^def test_{letter}(\d+)_', sources, re.MULTILINE)} == numbers

"""The README's code runs as it stands."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / 'README.md'


def test_the_code_of_the_readme_runs(capsys):
    blocks = re.findall(r'```python\n(.*?)```', README.read_text(), re.DOTALL)
    assert len(blocks) >= 2
    namespace = {}
    for block in blocks:
        exec(compile(block, str(README), 'exec'), namespace)
    printed = capsys.readouterr().out
    expected = re.search(r'print\(.*\)\s+# (.*)', blocks[0])[1]
    assert printed.startswith(expected)
    assert 'LeakyDelay(3) keeps the contract' in printed

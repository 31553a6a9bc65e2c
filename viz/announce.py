"""What goes on, in HTML: for those who see it, and for those who hear it."""

import html

WORKING = 'working ... the picture is still the one before'


def status(words: str) -> str:
    """What is done at the moment."""
    return f'<div role="status" style="opacity:.75">{html.escape(words)}</div>'


def heard(words: str) -> str:
    """What an image shows, for those who do not see it."""
    hidden = 'position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)'
    return f'<div role="status" style="{hidden}">{html.escape(words)}</div>'

"""Numbers in words."""

import math

_SUPERSCRIPTS = str.maketrans('0123456789-', '⁰¹²³⁴⁵⁶⁷⁸⁹⁻')


def signed(number: float) -> str:
    """A relative time: +5, 0, −10, −∞."""
    if number == 0:
        return '0'
    digits = '∞' if math.isinf(number) else str(abs(int(number)))
    return ('+' if number > 0 else '−') + digits


def span(field: tuple[float, float] | None) -> str:
    """A range of relative times: '−10 … +5'."""
    return f'{signed(field[0])} … {signed(field[1])}' if field else 'nothing'


def thousands(number: int) -> str:
    """A count with thin spaces: 44 580."""
    return f'{number:,}'.replace(',', '\N{THIN SPACE}')


def plural(number: int, one: str, many: str) -> str:
    """'1 block', '3 blocks'."""
    return f'{thousands(number)} {one if number == 1 else many}'


def power_of_ten(power: int) -> str:
    """10⁻⁴."""
    return '10' + str(power).translate(_SUPERSCRIPTS)


def size(number: float) -> str:
    """A difference in two digits: 0.19, 1.2e-07."""
    return '∞' if math.isinf(number) else f'{number:.2g}'

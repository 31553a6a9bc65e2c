"""One JupyterLab for all tests of a process."""

from collections.abc import Iterator

import pytest

from tests.browser.lab import Jupyter, jupyterlab


@pytest.fixture(scope='session')
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    with jupyterlab(tmp_path_factory.mktemp('jupyter')) as running:
        yield running

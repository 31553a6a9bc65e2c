"""Fixtures shared by the tests."""

import inspect
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager

import jax
import pytest
from hypothesis import settings
from playwright.sync_api import Browser, Page, sync_playwright

# Nearly all of the time goes into compiling small functions that run once. XLA reads its flags when JAX starts, and
# ends the process at one that it does not know, as it does since JAX 0.11.1 at the one that halves the time.
# Notebooks, in processes of their own, run with all optimizations.
jax.config.update('jax_disable_most_optimizations', True)
if 'XLA_FLAGS' not in os.environ:
    plain_fusions = ['--xla_cpu_use_fusion_emitters=false'] if jax.__version_info__ < (0, 11, 1) else []
    os.environ['XLA_FLAGS'] = ' '.join([*plain_fusions, '--xla_cpu_parallel_codegen_split_count=1'])
    jax.devices()
    del os.environ['XLA_FLAGS']

# The time of an example includes compilation, so it says nothing; a failure must be repeatable.
settings.register_profile('seqlayers', deadline=None, derandomize=True)
settings.load_profile('seqlayers')


@pytest.fixture
def abstract_gpu() -> AbstractContextManager:
    """In it kernels are lowered for a GPU where there is none. JAX wishes to know its platform, but 0.10 not yet."""
    facts = {'device_kind': 'NVIDIA H100 80GB HBM3', 'num_cores': 132, 'platform': 'gpu'}
    known = inspect.signature(jax.sharding.AbstractDevice).parameters
    device = jax.sharding.AbstractDevice(**{name: fact for name, fact in facts.items() if name in known})
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((1,), ('one',), abstract_device=device))


BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')


@pytest.fixture(scope='session')
def browser() -> Iterator[Browser]:
    """A headless Chromium. Without one the test is skipped, but in CI it fails."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        message = f'no browser: install one of {", ".join(BROWSERS)}'
        pytest.fail(message) if os.environ.get('CI') else pytest.skip(message)
    with sync_playwright() as playwright:
        # The sandbox needs user namespaces, which root in a container lacks; the tests open only local pages.
        yield playwright.chromium.launch(executable_path=executable, args=['--no-sandbox'])


def is_elsewhere(url: str) -> bool:
    return not url.startswith(('http://127.0.0.1', 'file:', 'data:'))


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page that can reach this machine only: a request to any other host is aborted."""
    context = browser.new_context()
    context.route(is_elsewhere, lambda route: route.abort())
    yield context.new_page()
    context.close()

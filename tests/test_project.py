"""The project's own files agree with each other."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
EXTRAS = PROJECT['optional-dependencies']
CONDA_NAMES = {'soundfile': 'pysoundfile'}


def requirements(*extras: str) -> list[Requirement]:
    """What the project and these extras require, without the extras' references to each other."""
    lines = [line for extra in extras for line in EXTRAS[extra]] + PROJECT['dependencies']
    return [r for r in map(Requirement, lines) if r.name != PROJECT['name']]


def output_of(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_conda_environment_has_the_same_requirements():
    *conda, pip = yaml.safe_load((ROOT / 'environment.yml').read_text())['dependencies']
    expected = [f'{CONDA_NAMES.get(r.name, r.name)}{r.specifier}' for r in requirements('viz', 'notebooks')]
    assert sorted(conda) == sorted([f'python{PROJECT["requires-python"]}', 'pip', *expected])
    assert pip == {'pip': ['-e .[test]']}


def test_extras_build_on_each_other():
    assert 'seqlayers[viz]' in EXTRAS['notebooks']
    assert 'seqlayers[einops,notebooks]' in EXTRAS['test']


def test_constraints_hold_a_tested_version_of_each_requirement():
    lines = (ROOT / 'constraints.txt').read_text().splitlines()
    pinned = {r.name: r for r in map(Requirement, (line for line in lines if not line.startswith('#')))}
    for requirement in requirements('viz', 'notebooks', 'test'):
        [version] = pinned[requirement.name].specifier
        assert version.operator == '==' and requirement.specifier.contains(version.version)


def test_constraints_bind_only_the_python_they_were_tested_with():
    lines = (ROOT / 'constraints.txt').read_text().splitlines()
    markers = {str(Requirement(line).marker) for line in lines if not line.startswith('#')}
    assert markers == {'python_version == "3.11"'}


def test_core_imports_no_extra():
    program = """
import sys, flax.nnx, jax, numpy
before = set(sys.modules)  # flax itself imports optax, and IPython where it is installed
import seqlayers
print(*sorted({module.partition('.')[0] for module in set(sys.modules) - before}))
"""
    imported = set(output_of(sys.executable, '-c', program).split())
    assert 'seqlayers' in imported
    assert imported.isdisjoint({'viz', 'matplotlib', 'ipywidgets', 'soundfile', 'pytest', 'hypothesis'})


@pytest.fixture(scope='module')
def makefile() -> str:
    return (ROOT / 'Makefile').read_text()


def test_help_lists_every_command(makefile):
    [phony] = re.findall(r'^\.PHONY: (.*)', makefile, re.M)
    listed = output_of('make', '--no-print-directory', 'help').splitlines()
    assert [line.split()[0] for line in listed] == phony.split()


def test_every_script_of_the_makefile_exists(makefile):
    scripts = re.findall(r'python (\w+/\w+\.py)', makefile)
    assert scripts and [script for script in scripts if not (ROOT / script).exists()] == []

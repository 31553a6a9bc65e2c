"""Prints the versions installed in this environment as pip constraints for this version of Python.

Other versions of Python are left free: the newest release of a package need not support each of them.
"""

import sys
from importlib.metadata import distributions

PROJECT = 'seqlayers'
INSTALLERS = {'pip', 'setuptools', 'wheel'}

if __name__ == '__main__':
    python = f"python_version == '{sys.version_info.major}.{sys.version_info.minor}'"
    versions = {d.name.lower().replace('_', '-'): d.version for d in distributions()}
    print('# The versions that the suite was last run with. `make constraints` writes this file.')
    for name in sorted(versions.keys() - INSTALLERS - {PROJECT}):
        print(f'{name}=={versions[name]} ; {python}')

"""Proofs and helpers for tests: `check_contract`, random sequences and models, and the outputs of every layer."""

from seqlayers.testing.compare import Difference, first_difference
from seqlayers.testing.contract import check_contract
from seqlayers.testing.quick import quick_check, random_run
from seqlayers.testing.random_architectures import random_architecture, random_constants
from seqlayers.testing.report import Clause, ContractError, ContractReport
from seqlayers.testing.sequences import MASK_KINDS, mask_battery, poison, random_sequence, random_values
from seqlayers.testing.shrink import shrink
from seqlayers.testing.tape import output_offsets, record_layer, record_step

__all__ = [
    'MASK_KINDS',
    'Clause',
    'ContractError',
    'ContractReport',
    'Difference',
    'check_contract',
    'first_difference',
    'mask_battery',
    'output_offsets',
    'poison',
    'quick_check',
    'random_architecture',
    'random_constants',
    'random_run',
    'random_sequence',
    'random_values',
    'record_layer',
    'record_step',
    'shrink',
]

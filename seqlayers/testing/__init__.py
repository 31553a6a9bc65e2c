"""Proofs and helpers for tests: `check_contract`, random sequences, and the outputs of every layer in a model."""

from seqlayers.testing.compare import Difference, first_difference
from seqlayers.testing.contract import check_contract
from seqlayers.testing.report import Clause, ContractError, ContractReport
from seqlayers.testing.sequences import MASK_KINDS, mask_battery, poison, random_sequence, random_values
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
    'random_sequence',
    'random_values',
    'record_layer',
    'record_step',
]

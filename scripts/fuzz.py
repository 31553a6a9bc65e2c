"""Puts many random architectures through the contract: `python scripts/fuzz.py --count 5000 --seed 0 --jobs 2`.

Each failure is printed as its seed, the smallest model found that still fails in the same way, how it was run, and the
report. The exit status is 1 if there was any.
"""

import argparse
import concurrent.futures
import contextlib
import multiprocessing
import sys
from typing import Any, NamedTuple

import jax

import seqlayers as sl
from seqlayers.testing.quick import fast_compilation

SPEC = sl.ChannelSpec((4,))
BATCH = 50  # seeds that a process takes at a time


class Failure(NamedTuple):
    """What went wrong: `kinds` say in which way, `report` in words."""

    kinds: frozenset[str]
    report: str


def check(model: sl.SequenceLayer, run: dict[str, Any]) -> Failure | None:
    """The failure of a model in a run, if it does. An exception is one too, for the generator makes legal models."""
    try:
        report = sl.testing.quick_check(model, SPEC, **run, compiler_options=fast_compilation())
    except Exception as error:
        return Failure(frozenset({f'{type(error).__name__} {str(error).rpartition(": ")[2]}'}), repr(error))
    return Failure(frozenset(clause.name for clause in report.failures), repr(report)) if report.failures else None


def smallest(model: sl.SequenceLayer, run: dict[str, Any]) -> tuple[sl.SequenceLayer, dict[str, Any], Failure]:
    """A smaller model, and a shorter and simpler run, that fail in one of the ways in which these do."""
    failure = check(model, run)
    if failure is None:
        raise ValueError(f'{model!r} does not fail in the run {run}')
    kinds = failure.kinds

    def fails(model: sl.SequenceLayer, run: dict[str, Any]) -> bool:
        found = check(model, run)
        return found is not None and bool(found.kinds & kinds)

    model = sl.testing.shrink(model, lambda smaller: fails(smaller, run))
    simpler = {'offset': range(run['offset']), 'blocks': range(1, run['blocks']), 'time': range(run['time'])}
    for name, values in simpler.items():
        run = {**run, name: next((n for n in values if fails(model, {**run, name: n})), run[name])}
    return model, run, check(model, run) or failure


def check_seeds(seeds: range) -> list[str]:
    """A text for each seed that fails."""
    failures = []
    for seed in seeds:
        model = sl.testing.random_architecture(seed, SPEC)
        run = sl.testing.random_run(model, seed)
        if check(model, run):
            small, run, failure = smallest(model, run)
            failures.append(f'seed {seed}: {model!r}\nsmallest: {small!r}\nrun: {run}\n{failure.report}')
    jax.clear_caches()
    return failures


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--count', type=int, default=1000, help='how many architectures')
    parser.add_argument('--seed', type=int, default=0, help='of the first; the others follow')
    parser.add_argument('--jobs', type=int, default=1, help='how many processes')
    options = parser.parse_args(arguments)
    stop = options.seed + options.count
    batches = [range(first, min(first + BATCH, stop)) for first in range(options.seed, stop, BATCH)]
    found = 0
    with contextlib.ExitStack() as stack:
        if options.jobs > 1:
            spawn = multiprocessing.get_context('spawn')
            pool = concurrent.futures.ProcessPoolExecutor(options.jobs, spawn, prepare)
            texts = stack.enter_context(pool).map(check_seeds, batches)
        else:
            texts = map(check_seeds, batches)
        for batch, failures in zip(batches, texts, strict=True):
            found += len(failures)
            progress = f'{batch.stop - options.seed} of {options.count} checked, {found} failed'
            print(*failures, progress, sep='\n\n', flush=True)
    return 1 if found else 0


def prepare() -> None:
    """Compiles with little care: everything runs once."""
    jax.config.update('jax_disable_most_optimizations', True)


if __name__ == '__main__':
    prepare()
    sys.exit(main())

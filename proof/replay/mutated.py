"""A function with a bug, for FUNCTION_SOURCE: MUTANT names one of those that the simulation must find."""

import importlib.util
import os
from pathlib import Path

from proof.simulation.mutants import MUTANTS

(_mutant,) = (mutant for mutant in MUTANTS if mutant.bug == os.environ["MUTANT"])
_applied = _mutant.applied()
_applied.__enter__()  # for as long as this process lives

_target = os.environ["FUNCTION_TARGET"]
_spec = importlib.util.spec_from_file_location("mutated", Path(__file__).parents[2] / "functions" / _target / "main.py")
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
globals()[_target] = getattr(_module, _target)

"""All small mutants: each a promise that goes, and the tests that must notice within seconds."""

from tests.mutants import command, manifests, sending, setup, shop

MUTANTS = (*command.MUTANTS, *manifests.MUTANTS, *sending.MUTANTS, *setup.MUTANTS, *shop.MUTANTS)

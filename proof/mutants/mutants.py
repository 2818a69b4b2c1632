"""All small mutants: each a promise that goes, and the tests that must notice within seconds."""

from proof.mutants import command, console, identity, manifests, protocol, sending, setup, shop, waiting, webhooks

MUTANTS = (
    *(*manifests.MUTANTS, *shop.MUTANTS, *setup.MUTANTS, *protocol.MUTANTS),
    *(*command.MUTANTS, *sending.MUTANTS, *waiting.MUTANTS, *identity.MUTANTS, *console.MUTANTS, *webhooks.MUTANTS),
)

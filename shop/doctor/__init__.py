"""Look at manifests before a cluster does: what it would accept without a word, and nobody would want.

Promise: a manifest that loses events or answers is refused before it is applied, with the field, what would happen
and what to write instead.

This is a command of the project's folder, not of an image: it needs the manifests, PyYAML and kubectl's kustomize, and
an image carries none of them.
"""

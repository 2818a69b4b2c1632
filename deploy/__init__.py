"""Onto a cluster, and what is there: an image, its bill of materials, and the verbs of make that run kubectl and kn.

Nothing here is in an image. Each verb prints the commands that it runs, so that anybody can run them by hand.
"""

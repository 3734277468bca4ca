"""The machine that a network runs on: device, threads, precision, memory, and which cells run.

This room must not know training, scoring or files of the user: it is asked before they begin.
"""

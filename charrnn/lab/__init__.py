"""Experiments: what gradients, clipping, depth and memory do, and which settings are better.

Each lab returns a Result (result.py): a table, a sentence that says what to see, and curves. The
labs must not know the command line that asks for them, nor how a curve is drawn (picture.py).
"""

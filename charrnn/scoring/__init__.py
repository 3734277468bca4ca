"""A model and a text in, the nats of every character out, whatever kind of model it is.

`score.py` defines that seam. A network (`network.py`, `cached.py`, `dynamic.py`) and counting
(`counting.py`) stand behind it. `evaluation.py` makes the card of `charrnn eval` from what they
yield. This room must not know how a model is trained, who asks for a score, or how it is printed.
"""

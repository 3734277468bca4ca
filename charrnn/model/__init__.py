"""The networks, from ids of characters to logits and a state, and the cells as in textbooks.

This room must not know the disk, texts or training. It takes settings, tensors and ids, and returns
tensors. Reading order: equations.py (the reference), recurrent.py (the cells in PyTorch),
kernel*.py (the cells compiled), charmodel.py (the network around them).
"""

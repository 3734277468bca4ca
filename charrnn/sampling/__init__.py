"""Weights -> text: steps of a model in numpy or in the compiled kernel, and samplers on top.

Knows text/, the model file and the texts of a run. Must not know scoring, training or torch.
"""

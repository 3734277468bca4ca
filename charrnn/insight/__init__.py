"""Insight: looking at what a model does with a text, and at what it writes.

    gates, cells       what every gate and state did as a network read a text
    features, search   which cell follows quotes, brackets and other features of a text
    lecture, explain   a cell's equations, matrices and one step in numbers
    copies             what samples copy: card, matches, nearest, structure, verdicts
    cooccur            which characters or words stand near each other

It must not know training, how its results are shown, and torch.
"""

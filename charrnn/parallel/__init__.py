"""Several processes as one training: who they are, and numbers added in an order that stays.

    tree    parts of a whole and the order in which they are added
    group   the processes of a launch: joining, talking, adding

This room knows tensors and processes. It must not know what is trained.
"""

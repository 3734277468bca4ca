"""The compiled kernel: plain C without Python in it, and the Python file that finds the library.

Knows pointers and shapes. Must not know torch, numpy, files or settings: callers check and pack.

    library.py                what Python loads, and whether there is anything to load
    level.h, *_level.inc.h    instruction sets: each vector part is compiled once for each LEVEL
    team.h                    threads that compute one thing together
    sampling.c                steps, prompts and samples
        sampling.h, decoding.h, following.h, panels.inc.h, step.inc.h, choice.inc.h, mixing.inc.h
    training.c                a layer over a sequence, products, scores
        training.h, packing.inc.h, products.inc.h, recurrence.inc.h, gradients.inc.h, scores.inc.h
"""

"""The room text/: files become ids, splits, batches and counts.

    reading    files -> codes (code points or bytes): decoding, line ends, normalisation
    census     what one pass over a text counts; mode.py decides from it: lines or stream
    building   survey a text, then write its ids, split into train, val and test
    corpus     the stored ids and their description: written, opened, checked
    batches    lanes and length buckets for training
    doctor     what a person should know of a text before training on it; leaks.py: of its splits
    linehash   lines as hashes; folding.py: of lines that differ in form alone
    novelty    a filter of the training text: what is surely not in it
    matching   the longest run and the n-grams that two texts share
    counting   n-grams counted; ngram.py is the model made of them

It must not know torch, except for batches.py, and it knows no model, no run and no command.
"""

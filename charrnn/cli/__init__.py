"""The command line: words typed by a person become one call, and its result becomes words again.

    main.py       the commands, the version, and what a fault looks like
    train.py ...  one file a command: its options, and the call
    options.py    how options are declared; command.py: how help looks; examples.py: its examples

This room must not import anything heavy at the top of a file (no torch, no numpy, no other room):
`--help`, `--version` and a mistyped option answer at once. A command imports what it needs when it
runs. No other room may import this one.
"""

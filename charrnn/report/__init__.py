"""Report: one HTML page about a run.

    record             what the training wrote down
    contents           all that the page says, as data: curves, results, writing, inside, viewer
    page               the file: the data, one script and one style sheet

It must not know the command line. It never trains, and it writes no file: the page is returned.
"""

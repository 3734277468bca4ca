"""Training: batches -> weights, exactly resumable, and the only writer of run directories.

From a person's request to a finished run:

    session     a new training, or one that goes on (resuming): texts, directory, signals
    recipe      the sizes that nobody chose; finetune: the weights of an earlier model
    assembly    settings and corpus -> the parts of a training; memory: whether they fit
    loop        step, evaluate, sample, save; counted: the same for n-grams (counting_flags)
    pacing      clocks and the plan (plan): how many steps, and when something is due
    step        one update (optim, average), or many in one CUDA graph (graph); health: how it went
    recovery    when a training diverges
    checkpoint  what is written, and how it is read again

This room knows texts, models, scores and samples. It must not know what is done with a finished
run: the lab's experiments, the report, the command line.
"""

"""charrnn sample: words typed by a person -> calls of sampling.engine and sampling.constraints.

Never loads torch.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Annotated, Any

import typer

from charrnn.cli.chosen import read_chosen, say_chosen
from charrnn.cli.json_lines import write_json
from charrnn.cli.options import INTEGER, OUTPUT, TEXT, Run, option, switch
from charrnn.cli.prompt import as_meant, begin_of, check_utf8
from charrnn.cli.prompts import check_alone, read_prompts, texts_of
from charrnn.cli.sample_options import (
    TEXTS,
    Fill,
    Label,
    Likeliest,
    Matching,
    MaxLength,
    MinLength,
    MinP,
    Novel,
    Prime,
    PrimeFile,
    Prompts,
    Rank,
    RepetitionPenalty,
    Seed,
    Temp,
    TopK,
    TopP,
    Tries,
    Unique,
)
from charrnn.cli.seeking import check_likeliest, say_sought, seeker_of, write_likeliest
from charrnn.errors import CheckpointError, SettingsError
from charrnn.terminal import many, one_line, say, write_stdout

SPEED = "Speed"


def sample(
    run: Run = None,
    count: Annotated[
        int | None,
        option(
            "--count",
            "-n",
            help="Number of texts",
            metavar=INTEGER,
            default="10 lines or 1 stream",
            panel=TEXTS,
        ),
    ] = None,
    length: Annotated[
        int | None,
        option(
            "--length",
            "-l",
            help="Most characters after the prompt",
            metavar=INTEGER,
            default="500; for a line 1000",
            panel=TEXTS,
        ),
    ] = None,
    prime: Prime = None,
    prime_file: PrimeFile = None,
    prompts: Prompts = None,
    label: Label = None,
    until: Annotated[
        str,
        option("--until", help="Stop after this text", metavar=TEXT, default="none", panel=TEXTS),
    ] = "",
    unknown: Annotated[
        str,
        option(
            "--unknown",
            help="Characters of the prompt that the model does not know",
            choices=("error", "skip", "replace"),
            metavar=TEXT,
            default="error",
            panel=TEXTS,
        ),
    ] = "error",
    cache: Annotated[
        int,
        option(
            "--cache",
            help="Reuse names from the prompt: favour what followed similar contexts in its last "
            "characters, such as 2000 (streams)",
            metavar=INTEGER,
            default="0, off",
            panel=TEXTS,
        ),
    ] = 0,
    temp: Temp = 0.8,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    min_p: MinP = 0.0,
    repetition_penalty: RepetitionPenalty = 1.0,
    seed: Seed = None,
    novel: Novel = False,
    unique: Unique = False,
    matching: Matching = None,
    fill: Fill = None,
    min_length: MinLength = 0,
    max_length: MaxLength = None,
    rank: Rank = False,
    tries: Tries = None,
    likeliest: Likeliest = None,
    weights: Annotated[
        str,
        option(
            "--weights",
            help="How weights are held; auto is float16 for streams",
            choices=("auto", "float32", "float16"),
            metavar=TEXT,
            default="auto",
            panel=SPEED,
        ),
    ] = "auto",
    threads: Annotated[
        int | None,
        option(
            "--threads",
            help="Processor threads",
            metavar=INTEGER,
            default="as many as pay",
            panel=SPEED,
        ),
    ] = None,
    # Sampling runs on the processor. Hidden, because it has nothing to choose; still read, because
    # scripts give it, and a GPU that was asked for must not be ignored in silence.
    device: Annotated[str, typer.Option("--device", hidden=True)] = "auto",
    interactive: Annotated[
        bool,
        switch("--interactive", "-i", help="Write a text by turns with the model", panel=OUTPUT),
    ] = False,
    json: Annotated[
        bool,
        switch("--json", help="Print a JSON object for each text: text, nats, novel", panel=OUTPUT),
    ] = False,
    raw: Annotated[
        bool, switch("--raw", help="Print the exact bytes on a terminal too", panel=OUTPUT)
    ] = False,
) -> None:
    """Write text with a trained model

    A model of lines writes lines; any other writes one stream, shown as it comes.
    """
    # 1. What can be refused before anything is loaded.
    if prime is not None and prime_file is not None:
        raise SettingsError("--prime and --prime-file both say how to begin; give one")
    if device not in ("auto", "cpu"):
        raise SettingsError(
            f"--device {device!r}: sampling runs on the processor; leave it out, or say cpu"
        )
    check_utf8("--prime", prime or "")
    check_utf8("--until", until)
    check_utf8("--matching", matching or "")
    check_utf8("--fill", fill or "")

    from charrnn.cli import sample_view
    from charrnn.cli.labels import check_one_label, marked, of_labels
    from charrnn.modelfile import MISCOUNTED
    from charrnn.sampling import labelled
    from charrnn.sampling.bounds import RECORD_LENGTH, check_count, check_held
    from charrnn.sampling.constraints import (
        Constraints,
        Tally,
        accepted,
        ranked,
        tries_allowed,
    )
    from charrnn.sampling.decode import Decoding, checked_seed
    from charrnn.sampling.engine import Sampler
    from charrnn.text.labels import asked_labels
    from charrnn.texts import OpenedRun

    # 2. The model, and how it is to write.
    decoding = Decoding(temp, top_k, top_p, min_p, repetition_penalty)
    constraints = Constraints(novel, unique, matching, min_length, max_length, fill)
    true_seed = checked_seed(seed)
    model = read_chosen(run)
    is_lines = model.mode == "lines"
    default_count = 10 if is_lines else 1
    labels = asked_labels(label, model.vocabulary) if label else []
    if labels:
        default_count = labelled.default_count(labels)
        check_one_label(labels, prompts is not None, interactive, likeliest is not None)
    wanted = default_count if count is None else count
    if likeliest is not None:
        check_likeliest(
            likeliest,
            {
                "--count": count is not None,
                "--temp": temp != 0.8,
                "--top-k": top_k != 0,
                "--top-p": top_p != 1.0,
                "--min-p": min_p != 0.0,
                "--repetition-penalty": repetition_penalty != 1.0,
                "--seed": seed is not None,
                "--tries": tries is not None,
                "--rank": rank,
                "--cache": cache != 0,
                "--interactive": interactive,
            },
        )
        wanted = likeliest
    check_count(wanted, rank=rank or likeliest is not None, unique=unique)
    tries = tries_allowed(tries, wanted, temp)
    if prompts is not None:
        check_alone(
            {
                "--prime": prime is not None,
                "--prime-file": prime_file is not None,
                "--cache": cache != 0,
                "--rank": rank,
                "--interactive": interactive,
                "--novel": novel,
                "--unique": unique,
                "--matching": matching is not None,
                "--fill": fill is not None,
                "--likeliest": likeliest is not None,
                "--min-length": min_length != 0,
                "--max-length": max_length is not None,
            }
        )
    if interactive and str(prime_file) == "-":
        raise SettingsError(
            "--interactive and --prime-file - both read standard input; name a file"
        )
    begin = begin_of(prime, prime_file, model)
    until = as_meant("--until", until, model)
    if cache > 0 and not interactive:
        cache = min(cache, len(begin.encode()) + 1)  # nothing else is given to read
    if model.is_miscounted:
        say(f"note: {MISCOUNTED}")
    sampler = Sampler(model, weights=weights, cache=cache)
    if len(labels) == 1 or prompts is not None or interactive:
        sampler = sampler.labelled(labels[0] if labels else "")
    if cache and not begin and not interactive:
        raise SettingsError(
            "--cache needs a prompt to look back on: "
            "add --prime or --prime-file, or leave --cache out"
        )

    # 3. Many prompts, or by turns with a person.
    if prompts is not None:
        of_each = 1 if count is None else count
        objects = texts_of(
            sampler,
            OpenedRun(model).novelty,
            read_prompts(prompts),
            count=of_each,
            decoding=decoding,
            length=length,
            until=until,
            seed=true_seed,
            unknown=unknown,
            threads=threads,
        )
        say_chosen(run, model)
        if seed is None and temp > 0:
            say(f"seed {true_seed} (--seed {true_seed} writes this again)")
        return write_json(objects, raw=raw)
    if interactive:
        if json or rank or constraints or count is not None:
            raise SettingsError(
                "--interactive writes one text by turns; "
                "leave out --count, --json and the constraints"
            )
        from charrnn.cli.interactive import converse

        say_chosen(run, model)
        return converse(
            sampler,
            decoding=decoding,
            length=length,
            until=until,
            seed=seed,
            prime=begin,
            unknown=unknown,
            raw=raw,
            threads=threads,
        )

    # 4. What is drawn, and what it has to pass.
    how: dict[str, Any] = {
        "decoding": decoding,
        "length": length,
        "prime": begin,
        "until": until,
        "seed": true_seed,
        "unknown": unknown,
        "threads": threads,
    }
    samples = sampler.generate(wanted, **how)  # says at once what is wrong with the rest
    if constraints:
        [prompt] = sampler.generate(1, **how | {"length": 0})
        how["length"] = constraints.length(
            model.mode,
            model.vocabulary.unit,
            prompt,
            until,
            RECORD_LENGTH if length is None and model.vocabulary.has_breaks else length,
        )
    as_it_comes = not (is_lines or json or rank or constraints or likeliest is not None)
    if not as_it_comes and how["length"] is not None:
        check_held(wanted, how["length"])
    known = None if as_it_comes else OpenedRun(model).novelty
    if novel and known is None:
        place = one_line(str(model.path))
        raise CheckpointError(
            f"--novel: the training text of {place} is not beside it; sample from its run directory"
        )
    if wanted == 0:
        return
    seek = None if likeliest is not None else seeker_of(sampler, constraints, how)
    say_chosen(run, model)
    if likeliest is not None:
        return write_likeliest(sampler, constraints, known, likeliest, how, json=json, raw=raw)
    if top_k > len(model.vocabulary):
        size = many(len(model.vocabulary), "character")
        say(f"--top-k {top_k}: this model knows {size}, so all are kept")
    if seed is None and temp > 0:
        say(f"seed {true_seed} (--seed {true_seed} writes this again)")

    # 5. Drawing and writing.
    end_line = sys.stdout is not None and sys.stdout.isatty()
    if as_it_comes:
        streams = (sampler.stream(first=number, **how) for number in range(wanted))
        write_stdout(sample_view.divided(streams, end_line=end_line), raw=raw)
        return
    tally = Tally(wanted)
    if len(labels) > 1:
        samples = of_labels(sampler, labels, how, tally, tries, constraints, known)
    elif constraints:
        samples = accepted(
            lambda first, n: sampler.generate(n, first=first, **how),
            tally,
            tries,
            constraints,
            known,
            seek=seek,
        )
    if len(labels) == 1:
        samples = marked(samples, labels[0])
    verdicts: Counter[bool | None] = Counter()
    if json:
        objects = sample_view.as_objects(samples, known, true_seed, rank=rank, novel=novel)
        write_json(objects, raw=raw)
    else:
        if rank:
            pieces = sample_view.as_ranking(ranked(samples), with_labels=len(labels) > 1)
        elif is_lines:
            asked = None if novel else known  # with --novel all are
            pieces = sample_view.as_lines(
                samples,
                asked,
                verdicts,
                with_labels=len(labels) > 1,
                is_divided=model.vocabulary.has_breaks,
            )
        else:
            pieces = sample_view.divided(([one.data] for one in samples), end_line=end_line)
        write_stdout(pieces, raw=raw)

    # 6. What is said about it, on standard error.
    say_sought(seek)
    if tally.ran_out:
        advice = "loosen them or raise --tries"
        if temp == 0:
            advice = "--temp 0 always writes the same text"
        counts = f"found {tally.kept:,} of {wanted:,} in {many(tally.tried, 'try', 'tries')}"
        raise SettingsError(f"{counts}: {tally.reasons()}; {advice}")
    if tally.refused and not json:
        say(f"kept {tally.kept:,} of {many(tally.tried, 'try', 'tries')}: {tally.reasons()}")
    if verdicts:
        say(f"{verdicts[True]} of {verdicts.total()} are not in the training text")

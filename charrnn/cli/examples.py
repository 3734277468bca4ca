"""Examples at the end of each command's help. A test parses every one of them."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "": (
        "charrnn train names",
        "charrnn sample --count 20",
        "charrnn eval",
    ),
    "train": (
        "charrnn train novel.txt --budget 10m",
        "charrnn train poems.txt:0.7 letters.txt:0.3",
        "charrnn train novel.txt --resume",
    ),
    "sample": (
        "charrnn sample --count 20 --novel",
        "charrnn sample runs/novel --prime 'Once upon' --length 1000 --temp 0.7",
        "charrnn sample --label Irish --label Greek",
    ),
    "eval": (
        "charrnn eval",
        "charrnn eval runs/novel --file other.txt --json",
        "charrnn eval --samples 1000",
    ),
    "report": (
        "charrnn report",
        "charrnn report runs/novel --out novel.html",
    ),
    "cooccur": (
        "charrnn cooccur novel.txt --words --window 3",
        "charrnn cooccur names --top 30 --plot pairs.png",
    ),
    "cells": (
        "charrnn cells runs/novel --top 3",
        "charrnn cells runs/novel --show layer0.cell:17",
        "charrnn cells names --text Marianne --show layer0.update",
    ),
    "explain": (
        "charrnn explain lstm",
        "charrnn explain gru --latex",
        "charrnn explain runs/novel --text 'Once upon'",
    ),
    "compare": (
        "charrnn compare names",
        "charrnn compare novel.txt --vary cell=lstm,gru --steps 2000",
        "charrnn compare names --vary dropout=0,0.3 --plot dropout.png",
    ),
    "export": (
        "charrnn export runs/novel --html novel.html",
        "charrnn export runs/novel --numpy novel.py",
        "charrnn export --onnx novel.onnx --hub novel-model",
    ),
    "runs": (
        "charrnn runs",
        "charrnn runs --json",
        "charrnn runs --delete novel-2",
    ),
    "lab": (
        "charrnn lab vanish --plot vanish.png",
        "charrnn lab depth --cell lstm",
    ),
    "lab vanish": (
        "charrnn lab vanish",
        "charrnn lab vanish runs/novel --lags 100 --plot vanish.png",
    ),
    "lab depth": (
        "charrnn lab depth",
        "charrnn lab depth --cell lstm --csv depth.csv",
    ),
    "lab memory": (
        "charrnn lab memory",
        "charrnn lab memory runs/novel --plot memory.svg",
    ),
    "lab explode": (
        "charrnn lab explode",
        "charrnn lab explode --seed 2 --json",
    ),
}

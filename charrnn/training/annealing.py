"""When validation has levelled off: back to the best weights, whose learning rate falls to zero.

What is best lies in the run's model file, so that a checkpoint holds one set of weights. Whether
and how long follows from the steps alone (plan.py): a resume goes back where the training did.
"""

from __future__ import annotations

from typing import NamedTuple

from charrnn.config import TrainingSettings
from charrnn.training import optim
from charrnn.training.assembly import Parts, to_torch
from charrnn.training.best import best_model
from charrnn.training.checkpoint import RunDirectory
from charrnn.training.outcome import Place
from charrnn.training.plan import Plan, has_levelled_off


class WayDown(NamedTuple):
    """How a training that has levelled off goes on. note: what a person is told."""

    plan: Plan
    note: str


def anneal(
    plan: Plan, place: Place, settings: TrainingSettings, run: RunDirectory, parts: Parts
) -> WayDown | None:
    """Go back to the best weights, if it is time; else return None.

    A person who sets a patience or a constant rate gets that.
    """
    if settings.patience is not None or settings.schedule == "constant" or place.bad_steps:
        return None
    steps = place.step - place.began_step
    learning_steps = place.progress_step - place.began_step
    is_level = has_levelled_off(plan, steps, learning_steps, place.evaluations_since_best)
    if not place.has_learnt or not is_level:
        return None
    share = optim.schedule_share(place.step, plan, settings)
    start = place.best_step if _return_to_best(run, parts, place) else place.step
    note = f"step {place.step:,}: validation has levelled off; annealing from step {start:,}"
    return WayDown(plan.annealed(place.step, learning_steps, share), note)


def _return_to_best(run: RunDirectory, parts: Parts, place: Place) -> bool:
    """Put the weights of the best step, and their mean, where the present ones are.

    Moments and carried state stay. Beside counting, the best step may be one at which the network
    knew little: then nothing is changed. Nor where the run's model is of another step, since a
    damaged checkpoint was passed over. Returns whether the weights changed.
    """
    if place.best_step - place.began_step < (place.progress_step - place.began_step) / 2:
        return False
    model = best_model(run.path, place.best_step)
    if model is None:
        return False
    tensors = to_torch({name: value.copy() for name, value in model.tensors.items()})
    parts.load_weights(tensors)
    if parts.average.tensors():
        parts.average.load_tensors(tensors)
    place.val_nats = place.best_nats
    place.evaluations_since_best = 0
    return True

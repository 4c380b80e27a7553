"""Optuna: the grid's runs asked for and told in one process, the study in memory."""

import time

import optuna
import torch

from bench.peers.by_hand import objective
from bench.work import Figures, Outcome, Work, key


def contend(work: Work) -> Outcome:
    """Enqueue every combination (GridSampler's cost grows with the grid's square), then ask and tell."""
    torch.set_num_threads(1)
    optuna.logging.disable_default_handler()
    measured = objective(work)
    figures: dict[str, Figures] = {}
    start = time.perf_counter()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler())
    for knobs in work.combinations:
        study.enqueue_trial(knobs)
    for _ in range(work.runs):
        trial = study.ask()
        leaf = work.leaf(
            {path: trial.suggest_categorical(path, values) for path, values in work.axes.items()}
        )
        figures[key(leaf)] = measured(leaf)
        study.tell(trial, figures[key(leaf)][-2])  # the last epoch's validation loss
    return Outcome(time.perf_counter() - start, figures)

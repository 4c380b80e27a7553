"""Optuna: its SuccessiveHalvingPruner, two processes that share a study kept in a file."""

from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from bench.halving import Found, Search
from bench.peers.by_hand import data, epochs, sliced
from bench.work import PROCESSES

STUDY = "digits"


def contend(search: Search) -> Found:
    """The configurations are enqueued in their order, and taken up one by one."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for split in data():
        sliced(split, torch.arange(1), 1)  # prepared once, before the processes part
    with TemporaryDirectory() as folder:
        path = str(Path(folder, "study.log"))
        study = optuna.create_study(study_name=STUDY, storage=_storage(path), direction="maximize")
        for index in range(len(search.leaves)):
            study.enqueue_trial({"index": index})
        with get_context("fork").Pool(PROCESSES) as pool:
            ended = pool.map(partial(_next, path, search), range(len(search.leaves)), chunksize=1)
    by_index = dict(ended)
    found = [by_index[index] for index in range(len(search.leaves))]
    return Found([trained for trained, _ in found], [accuracy for _, accuracy in found])


def _storage(path: str) -> JournalStorage:
    return JournalStorage(JournalFileBackend(path))


def _next(path: str, search: Search, _turn: int) -> tuple[int, tuple[int, float]]:
    """Train the study's next configuration; its index, epochs and accuracy."""
    pruner = optuna.pruners.SuccessiveHalvingPruner(search.min_epochs, search.reduction_factor)
    study = optuna.load_study(study_name=STUDY, storage=_storage(path), pruner=pruner)
    trial = study.ask()
    index = trial.suggest_int("index", 0, len(search.leaves) - 1)
    epoch, accuracy = 0, 0.0
    for epoch, figures in enumerate(epochs(search.leaves[index], sliced), 1):
        accuracy = figures[-1]
        trial.report(accuracy, epoch)
        if epoch < search.max_epochs and trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return index, (epoch, accuracy)
    study.tell(trial, accuracy)
    return index, (epoch, accuracy)

"""What only a GPU can show. Where there is none, all of it is skipped, in one line."""

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.sandbox import TrainingSandbox

DEVICE = "cuda:0"
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as every worker has it


NONE = "tests/gpu: skipped, because torch finds no GPU that it can use"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.option.markexpr == "gpu" and not torch.cuda.is_available():
        terminalreporter.write_line(NONE)


@pytest.fixture(autouse=True)
def _on_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip(NONE)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Callable[..., TrainingSandbox]]:
    """Makes a worker's place on the GPU; its data workers and its memory go with the test."""
    torch.cuda.init()
    made = []

    def make(spec: str, name: str = "place", **options: Any) -> TrainingSandbox:
        made.append(TrainingSandbox(tmp_path / name, spec, device=DEVICE, **options))
        return made[-1]

    yield make
    for each in made:
        each.executor.close()
    made.clear()
    gc.collect()
    torch.cuda.empty_cache()

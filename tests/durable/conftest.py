"""Runs train on one thread here, as they do on a CPU worker, so that their bits can be compared."""

import torch

torch.set_num_threads(1)

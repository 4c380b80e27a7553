"""Every test of the stage runs on one thread, as a CPU worker does."""

import torch

torch.set_num_threads(1)

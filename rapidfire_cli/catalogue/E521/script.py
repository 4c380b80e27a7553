from rapidfire_cli import Experiment, MLSpec


class Mine(MLSpec):
    """Defined where no other process can find it."""


Experiment(Mine)

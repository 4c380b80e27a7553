from rapidfire_cli.automl import LIST as LIST
from rapidfire_cli.automl import RANGE as RANGE
from rapidfire_cli.automl import AdaptiveSearch as AdaptiveSearch
from rapidfire_cli.automl import GridSearch as GridSearch
from rapidfire_cli.automl import Hyperband as Hyperband
from rapidfire_cli.automl import List as List
from rapidfire_cli.automl import RandomSearch as RandomSearch
from rapidfire_cli.automl import Range as Range
from rapidfire_cli.automl import SuccessiveHalving as SuccessiveHalving
from rapidfire_cli.automl import Zip as Zip
from rapidfire_cli.experiment import Experiment as Experiment
from rapidfire_cli.experiment import load_run as load_run
from rapidfire_cli.mlspec import MLSpec as MLSpec

__version__: str

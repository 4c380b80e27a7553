"""The templates of `rapidfire init`: experiment files and MLSpecs that come with rapidfire.

In a checkout they are the files of `configs/` and `specs/` themselves, which a wheel has in `templates/`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

PACKAGE = Path(__file__).parents[1]
PACKAGED = PACKAGE / "templates"
ROOT = PACKAGED if PACKAGED.is_dir() else PACKAGE.parent

Name: TypeAlias = Literal["digits", "imagenet", "imdb", "causal_lm", "lora", "tabular"]
File: TypeAlias = tuple[str, bytes]
"""Its path below a project's directory, with slashes, and its content."""


@dataclass(frozen=True, slots=True)
class Template:
    """An MLSpec and the experiment files that use it, by their paths; the first file is the main one."""

    spec: str
    configs: tuple[str, ...]

    def files(self) -> Iterator[File]:
        """The MLSpec first."""
        return ((path, (ROOT / path).read_bytes()) for path in (self.spec, *self.configs))


REFERENCE = "configs/reference"  # the examples of RapidFire AI's documentation
TEMPLATES: dict[Name, Template] = {
    "digits": Template("specs/digits.py", ("configs/digits.yaml",)),
    "imagenet": Template(
        "specs/imagenet.py",
        (
            "configs/imagenet.yaml",
            *(f"{REFERENCE}/{name}.yaml" for name in ("config", "gridsearch", "sha", "config_group")),
        ),
    ),
    "imdb": Template("specs/imdb.py", ("configs/imdb.yaml", f"{REFERENCE}/randomsearch.yaml")),
    "causal_lm": Template("specs/causal_lm.py", ("configs/causal_lm.yaml",)),
    "lora": Template("specs/causal_lm.py", ("configs/lora.yaml",)),
    "tabular": Template("specs/tabular.py", ("configs/tabular.yaml", "configs/tabular_regression.yaml")),
}

"""Import the user's MLSpec, and check that it has the methods that training needs."""

import inspect
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rapidfire_cli.engine.messages import Finding
from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.problems import did_you_mean
from rapidfire_cli.training import user_code
from rapidfire_cli.training.failure import one_line, traced
from rapidfire_cli.training.shadowing import shadowed

OVERRIDDEN = ("create_model", "compute_forward")  # methods without a default in MLSpec
PASSED = {  # the number of arguments that each method receives
    "__init__": 0,
    "load_data": 2,
    "prepare": 3,
    "initialize_run": 3,
    "create_model": 1,
    "row_prep": 3,
    "collate": 2,
    "compute_forward": 3,
    "metric_inputs": 3,
    "predictions": 3,
    "metrics": 1,
    "state_dict": 0,
    "load_state_dict": 1,
}


class SpecProblem(Exception):  # noqa: N818 - what users read
    """The MLSpec cannot be used at all."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def load(dotted: str) -> type[MLSpec]:
    """Import the class at `module:Class`, also from the working directory. Raises SpecProblem."""
    module_name, _, name = dotted.replace(":", ".").rpartition(".")
    module = _imported(module_name, dotted)
    spec = getattr(module, name, None)
    if spec is None:
        close = did_you_mean(name, [key for key, one in vars(module).items() if isinstance(one, type)])
        raise _problem(
            "E411",
            f"module `{module_name}` has no `{name}`",
            dotted,
            "the name of a class in the module",
            close,
        )
    if not (isinstance(spec, type) and issubclass(spec, MLSpec)):
        expected = "a subclass of rapidfire_cli.mlspec.MLSpec"
        raise _problem(
            "E411", f"`{dotted}` is not an MLSpec", _kind(spec), expected, f"class {name}(MLSpec): …"
        )
    for method in OVERRIDDEN:
        if getattr(spec, method) is getattr(MLSpec, method):
            expected = f"def {method}{inspect.signature(getattr(MLSpec, method))}"
            problem = _problem("E412", f"`{dotted}` does not define `{method}`", expected=expected)
            raise SpecProblem(replace(problem.finding, at=user_code.definition(spec)))
    return spec


def findings(spec: type[MLSpec], data: object) -> Iterator[Finding]:
    """Yield the mistakes in the MLSpec's signatures, and a finding if it has no data to load."""
    if data is None and spec.load_data is MLSpec.load_data:
        message = f"missing `data` section, which the default `load_data` of `{spec.__name__}` needs"
        expected = "`data`, as datasets.load_dataset takes it: {path: csv, data_files: {train: train.csv}}"
        yield Finding(-1, ("data",), "E414", message, expected=expected)
    for method, count in PASSED.items():
        signature = inspect.signature(getattr(spec, method))
        bound = isinstance(inspect.getattr_static(spec, method), staticmethod | classmethod)
        try:
            signature.bind(*range(count if bound else count + 1))
        except TypeError:
            yield _misfit(spec, method, signature)


def _misfit(spec: type[MLSpec], method: str, signature: inspect.Signature) -> Finding:
    declared = ", ".join(inspect.signature(getattr(MLSpec, method)).parameters)
    return Finding(
        *(-1, ("mlspec",), "E413", f"`{spec.__name__}.{method}` has the wrong parameters"),
        found=f"{method}{signature}",
        expected="__init__(self)" if method == "__init__" else f"{method}({declared})",
        at=user_code.definition(getattr(spec, method)),
    )


def _imported(module: str, dotted: str) -> Any:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    if file := shadowed(top := module.partition(".")[0]):
        kind = "the standard library" if top in sys.stdlib_module_names else "an installed package"
        found = f"`{user_code.relative(str(file))}` has the same name as a module of {kind}"
        raise _problem("E410", f"`{dotted}` cannot be imported", found, "", "rename the file")
    try:
        __import__(module)
        return sys.modules[module]
    except BaseException as error:  # anything that the user's module raises, including SystemExit
        print(told := traced(error), file=sys.stderr)
        hint = _import_hint(error) if isinstance(error, ImportError) else ""
        problem = _problem("E410", f"`{dotted}` cannot be imported", one_line(error), "", hint)
        at = place.span if (place := user_code.place(error)) else None
        raise SpecProblem(replace(problem.finding, at=at, traceback=told)) from error


def _import_hint(error: ImportError) -> str:
    if error.name and (file := shadowed(error.name.partition(".")[0])):
        where = user_code.relative(str(file))
        return f"`{error.name}` is an installed module, not `{where}`; rename that file"
    return "modules are looked up from the working directory"


def _problem(code: str, message: str, found: str = "", expected: str = "", hint: str = "") -> SpecProblem:
    return SpecProblem(Finding(-1, ("mlspec",), code, message, found, expected, hint))


def _kind(value: object) -> str:
    return f"class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"

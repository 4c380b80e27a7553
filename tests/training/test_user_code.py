"""An error is located at the innermost place in the user's own code."""

import json
import os
import sys
from importlib import import_module

import pytest
import torch

from rapidfire_cli.training.failure import located
from rapidfire_cli.training.user_code import definition, is_users, place


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module into the working directory and imports it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text, "utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)

    return write


def raised(does):
    with pytest.raises(BaseException) as caught:
        does()
    return caught.value


def test_the_innermost_module_of_the_users_is_shown(module):
    module("outer_spec", "import inner_spec")
    module("inner_spec", "x = 1\ny = undefined + 1")
    error = raised(lambda: import_module("outer_spec"))

    assert place(error).span == ("inner_spec.py", 2, 5, len("undefined"))
    assert located(error) == "NameError: name 'undefined' is not defined (inner_spec.py:2)"


def test_an_error_inside_a_library_is_shown_where_it_was_called(module):
    module("calls_json", "import json\ndef read(text):\n    é = 'é'; return json.loads(text)")
    error = raised(lambda: import_module("calls_json").read("{"))

    assert place(error).span == ("calls_json.py", 3, 21, len("json.loads(text)"))
    assert located(error).endswith(" (calls_json.py:3, in read)")


def test_an_error_that_a_library_wraps_is_shown_where_the_user_raised_it(module):
    module("wrapped", "def fail():\n    raise KeyError('pixels')")
    library = f"{os.path.dirname(json.__file__)}/wrapper.py"  # noqa: PTH120
    code = "def call(it):\n    try: it()\n    except KeyError as error: raise RuntimeError('no') from error"
    exec(compile(code, library, "exec"), names := {})
    error = raised(lambda: names["call"](import_module("wrapped").fail))

    assert place(error.with_traceback(None)).span[:2] == ("wrapped.py", 2)


def test_a_syntax_error_is_shown_where_it_is(module):
    module("unclosed", "x = 1\nprint((2)\n")
    error = raised(lambda: import_module("unclosed"))

    assert place(error).span == ("unclosed.py", 2, 6, 1)
    assert located(error) == "SyntaxError: '(' was never closed (unclosed.py:2)"


def test_an_error_without_code_of_the_users_has_no_place():
    assert located(ValueError("no")) == "ValueError: no"


def test_code_outside_of_the_working_directory_is_shown_by_its_whole_path(module, tmp_path, monkeypatch):
    module("elsewhere", "def fail():\n    raise KeyError(1)")
    fail = import_module("elsewhere").fail
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")

    assert located(raised(fail)) == f"KeyError: 1 ({tmp_path}/elsewhere.py:2, in fail)"


def test_libraries_are_told_from_the_users_code():
    assert is_users(__file__)
    assert not any(map(is_users, (torch.__file__, json.__file__, place.__code__.co_filename, "<string>")))


def test_a_definition_is_shown_below_its_decorators(module):
    module(
        "defines",
        "import functools\n\nclass Spec:\n    @functools.cache\n    def prep(self):\n        pass\n",
    )
    spec = import_module("defines").Spec

    assert definition(spec) == ("defines.py", 3, 1, len("class Spec:"))
    assert definition(spec.prep) == ("defines.py", 5, 5, len("def prep(self):"))
    assert definition(json.dumps) is None and definition(len) is None

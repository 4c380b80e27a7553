"""A module of the user's never takes the place of the standard library's, or of one that rapidfire needs."""

import importlib
import os
import sys

import pytest

from rapidfire_cli.training.shadowing import Installed, merged, shadowed


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A directory in which modules are looked up first."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", [Installed(), *sys.meta_path])
    return tmp_path


def found(name):
    """Where `import name` would find it, had nobody asked before."""
    importlib.invalidate_caches()
    for finder in sys.meta_path:
        if spec := finder.find_spec(name, None):
            return str(spec.origin)
    return None


@pytest.mark.parametrize(
    "name", ["queue", "token", "types", "time", "datasets", "rich", "fsspec", "PIL", "yaml"]
)
@pytest.mark.parametrize("form", ["{}.py", "{}/__init__.py"])
def test_the_standard_librarys_and_a_needed_packages_modules_are_found_first(here, name, form):
    usual = found(name)
    file = here / form.format(name)
    file.parent.mkdir(exist_ok=True)
    file.write_text("")

    assert found(name) == usual
    assert shadowed(name) == file


def test_the_users_modules_of_other_names_are_found_first(here):
    for name in ("utils", "sklearn", "spec"):  # scikit-learn is installed for the tests alone
        (here / f"{name}.py").write_text("")
        assert found(name) == str(here / f"{name}.py")
        assert shadowed(name) is None


def test_a_directory_of_data_is_no_module(here):
    (here / "datasets").mkdir()
    (here / "datasets" / "train.csv").write_text("")

    assert "site-packages" in found("datasets")
    assert shadowed("datasets") is None


def test_places_of_the_users_come_before_those_of_installed_packages():
    library, packages = (
        os.__file__.removesuffix("/os.py"),
        pytest.__file__.removesuffix("/pytest/__init__.py"),
    )
    assert merged([library], ["/home/me", library, packages]) == ["/home/me", library, packages]

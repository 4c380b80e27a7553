"""The page stays small, is built of pinned packages, and goes with packages but not into git."""

import gzip
import json
import re
from pathlib import Path

import pytest

from rapidfire_cli.view.page.bundle import PLACE, panel_script
from tests.view.page.built import page_bundle, sources

ROOT = Path(__file__).parents[3]
RAW, PACKED = 150_000, 50_000  # bytes


def test_the_page_is_small():
    page = page_bundle()
    files = (page.script, page.style)
    assert sum(map(len, files)) <= RAW
    assert sum(len(gzip.compress(file, 9)) for file in files) <= PACKED


def test_so_is_the_notebooks_panel_which_has_a_state_for_each_widget():
    page_bundle()
    script = (panel_script() or "").encode()
    assert len(script) <= RAW and len(gzip.compress(script, 9)) <= PACKED
    lines = script.split(b"\n")
    assert (lines[1], lines[-2]) == (b"export default () => {", b"return panel.default; };")


def test_the_page_and_the_panel_name_no_other_host():
    page = page_bundle()
    found = page.script + page.style + (panel_script() or "").encode()
    assert set(re.findall(rb"(?:https?:)?//[a-z][\w.]*\.[a-z]+", found)) <= {b"http://www.w3.org"}


def test_the_page_never_makes_markup_of_text():
    for file in sources():
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", file.read_text()
        )


def test_every_package_of_the_page_is_pinned():
    packages = json.loads((ROOT / "web" / "package.json").read_text())
    locked = json.loads((ROOT / "web" / "package-lock.json").read_text())["packages"]
    for name, version in {**packages["dependencies"], **packages["devDependencies"]}.items():
        assert locked[f"node_modules/{name}"]["version"] == version
    assert all("integrity" in each for name, each in locked.items() if name)


def test_git_ignores_the_built_page():
    place = PLACE.relative_to(ROOT).as_posix()
    assert f"/{place}/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()


def test_packages_carry_the_page_where_it_is_built(tmp_path, capsys):
    pytest.importorskip("hatchling")
    from hatch_build import BUNDLE, PageHook

    data: dict = {"artifacts": []}
    hook = PageHook(str(tmp_path), {}, None, None, str(tmp_path), "wheel")
    hook.initialize("standard", data)
    assert data["artifacts"] == []
    assert "make web" in "".join(capsys.readouterr())
    (tmp_path / BUNDLE).mkdir(parents=True)
    for name in ("page.js", "page.css", "panel.js"):
        (tmp_path / BUNDLE / name).write_text("")
    hook.initialize("standard", data)
    assert data["artifacts"] == [f"/{BUNDLE}/{name}" for name in ("page.css", "page.js", "panel.js")]

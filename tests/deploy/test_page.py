"""docs/clusters.md: its commands are those of the tools, and the messages it explains are printed."""

import ast
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.deploy.slurm import QUICK, ROOT

PAGE = (ROOT / "docs" / "clusters.md").read_text("utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
PLACES = ("rapidfire_cli/engine/ray", "rapidfire_cli/app/workplaces.py")
GAP = "…"


def texts() -> list[str]:
    """The texts in the code that speaks with Ray, with gaps where values are."""
    found = []
    for place in PLACES:
        path = ROOT / place
        for file in [path] if path.is_file() else path.glob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [part.value if isinstance(part, ast.Constant) else GAP for part in node.values]
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return found


def explained() -> list[str]:
    table = PAGE.partition("## Troubleshooting")[2].partition("\n## ")[0]
    return re.findall(r"^\| (.*?) \|", table, re.MULTILINE)[1:]


@pytest.mark.parametrize("message", explained())
def test_a_message_that_the_page_explains_is_one_of_the_code(message):
    words = [words.strip() for words in message.split(GAP) if words.strip(" ,:")]
    assert words
    assert any(all(each in text for each in words) for text in texts())


def test_the_page_names_every_file_of_deploy():
    for file in (ROOT / "deploy").rglob("*.*"):
        assert file.relative_to(ROOT).as_posix() in PAGE


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_valid_bash_and_its_files_exist(block):
    done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for path in re.findall(r"\b(?:deploy|configs)/[\w./-]+", block):
        assert (ROOT / path).is_file()


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_commands_of_ray_have_the_options_that_the_page_uses():
    ray = Path(sys.executable).with_name("ray")
    assert shutil.which(ray)
    for verb in ("start", "get-auth-token"):
        asked = [ray, verb, "--help"]
        told = subprocess.run(asked, env=QUICK, capture_output=True, text=True, check=True).stdout
        used = re.findall(rf"\bray {verb} ((?:--\S+ *)+)", "\n".join(BLOCKS))
        assert used
        for option in re.findall(r"--[a-z-]+", " ".join(used)):
            assert option in told

"""Whatever changes the disk passes a fault point first, in the same function: a campaign can fail it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "rapidfire_cli"
EXEMPT = {
    "durable/failpoints.py": "the faults themselves",
    "app/streams.py": "/dev/null",
    "engine/local/heartbeat.py": "memory, no file",
    "training/gang.py": "pipes, no files",
    "engine/ray/scratch.py": "a directory of a node that goes with its steward",
    "engine/ray/code.py": "the same",
}
BY_MODULE = {
    "os": "fsync fdatasync rename renames replace link symlink unlink remove rmdir mkdir makedirs truncate "
    "ftruncate write pwrite mkfifo mknod",
    "shutil": "rmtree move copy copy2 copyfile copytree",
}
BY_METHOD = "mkdir rmdir touch hardlink_to symlink_to write_text write_bytes save_model save_file"
OURS = {"disk", "publication"}  # whose functions pass their points themselves
READING = {"r", "rb", "rt"}


def changes_the_disk(call: ast.Call) -> bool:
    """Whether it does so by itself, not through `disk` or `publication`."""
    words = written(call.func).split(".")
    name, owner = words[-1], words[-2] if len(words) > 1 else ""
    if owner in BY_MODULE and name in BY_MODULE[owner].split():
        return True
    match name:
        case "open":
            return _writes(call, owner)
        case "fcntl":
            return "SETLK" in ast.unparse(call)
        case "connect":
            return owner == "sqlite3" and "?" not in ast.unparse(call)  # addresses with ? only read
        case "execute":
            return bool(call.args) and "COMMIT" in ast.unparse(call.args[0])
        case "rename" | "unlink":
            return owner not in OURS
    return name in BY_METHOD.split() and owner not in OURS


def written(function: ast.expr) -> str:
    """A called function as it is written; `ast.unparse` takes most of the time of these tests otherwise."""
    match function:
        case ast.Name(name):
            return name
        case ast.Attribute(owner, name):
            return f"{written(owner)}.{name}"
    return ast.unparse(function)


def unguarded(source: str) -> Iterator[str]:
    """The calls that change the disk in functions that pass no fault point."""
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            if not any(written(call.func) == "failpoint" for call in calls):
                yield from (ast.unparse(call) for call in calls if changes_the_disk(call))


def _writes(call: ast.Call, owner: str) -> bool:
    """Whether something is opened for writing that no function of ours has opened."""
    if owner == "os":
        return "O_RDONLY" not in ast.unparse(call)
    if any(ast.unparse(word).startswith("disk.") for word in call.args):
        return False
    return _mode(call, 0 if owner else 1) not in READING


def _mode(call: ast.Call, place: int) -> str:
    modes = [word.value for word in call.keywords if word.arg == "mode"] or call.args[place : place + 1]
    return str(modes[0].value) if modes and isinstance(modes[0], ast.Constant) else "r"


@pytest.mark.parametrize(
    "module",
    [path for path in sorted(PACKAGE.rglob("*.py")) if "catalogue" not in path.parts],
    ids=lambda path: path.relative_to(PACKAGE).as_posix(),
)
def test_a_durable_call_passes_a_fault_point(module):
    if module.relative_to(PACKAGE).as_posix() not in EXEMPT:
        assert not list(unguarded(module.read_text("utf-8")))


@pytest.mark.parametrize(
    "call",
    [
        *("os.fsync(1)", "os.replace(a, b)", "path.rename(other)", "path.write_text('x')", "open(path, 'w')"),
        *("path.open('ab')", "os.open(path, os.O_WRONLY)", "shutil.rmtree(path)", "path.mkdir()"),
        *("db.execute('COMMIT')", "sqlite3.connect(path)", "save_model(model, path)", "path.unlink()"),
        "fcntl.fcntl(fd, fcntl.F_OFD_SETLK, whole)",
    ],
)
def test_one_that_passes_none_is_found(call):
    assert list(unguarded(f"def f():\n    {call}")) == [call]
    assert not list(unguarded(f"def f():\n    failpoint('write', path)\n    {call}"))


@pytest.mark.parametrize("call", ["path.open('rb')", "disk.rename(a, b)", "open(disk.append(path), 'ab')"])
def test_reading_and_what_is_ours_need_none(call):
    assert not list(unguarded(f"def f():\n    {call}"))

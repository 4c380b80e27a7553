"""What this machine offers, looked up without importing torch.

Each finding is a line. A finding that is not ok is one that a fit needs, or one that merely costs something;
its hint says what to do.
"""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rapidfire_cli.durable.file_systems import is_local, kind_of
from rapidfire_cli.durable.lock import lock
from rapidfire_cli.engine.local.slots import VISIBLE, cores, missing_gpus, visible_gpus
from rapidfire_cli.training.memory import free
from rapidfire_cli.view.wording import counted

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

DISTRIBUTION = "rapidfire-cli"
OWN_EXTRAS = frozenset({"dev", "docs", "bench"})  # for those who work on rapidfire
SCARCE = 2**30  # bytes of memory or disk that are worth a word (assumed)
PATIENCE = 5.0  # seconds for the driver's own tool (assumed; it takes one)
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Offered:
    """One line about the machine."""

    name: str
    found: str
    ok: bool = True
    needed: bool = False  # by every fit; then it must be ok
    hint: str = ""


def machine(parent: Path) -> Iterator[Offered]:
    """Everything that is looked at; `parent` is the directory of the experiments."""
    yield _python()
    yield from _packages()
    yield _torch()
    yield from _gpus()
    yield _cores()
    yield _memory()
    existing = next(place for place in (parent, *parent.absolute().parents) if place.exists())
    yield _disk(existing)
    yield _locks(existing)
    yield from _extras()


def _python() -> Offered:
    found = f"{platform.python_version()} on {platform.system()} {platform.release()} {platform.machine()}"
    if platform.system() != "Linux":
        return Offered("python", found, ok=False, needed=True, hint="rapidfire needs Linux")
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (OSError, AttributeError):
        return Offered("python", found, ok=False, needed=True, hint="rapidfire needs Linux 5.3 or newer")
    return Offered("python", found, needed=True)


def _packages() -> Iterator[Offered]:
    """The packages that are always required, in one line if all are there."""
    wrong = [told for name, told in _requirements().get("", []) if told]
    if not wrong:
        yield Offered("packages", "all required packages are installed", needed=True)
    for told in wrong:
        yield Offered("packages", told, ok=False, needed=True, hint="install rapidfire again with pip")


def _torch() -> Offered:
    """The version and the build, as torch's own file says it: importing torch takes seconds."""
    spec = find_spec("torch")
    if spec is None or not spec.origin:
        return Offered("torch", "not installed", ok=False, needed=True, hint="`pip install torch`")
    told = Path(spec.origin).with_name("version.py").read_text("utf-8")
    version = re.search(r"__version__ = '([^']+)'", told)
    cuda = re.search(r"^cuda[^=]*= '([^']+)'", told, re.MULTILINE)
    build = f"built for CUDA {cuda[1]}" if cuda else "built for the CPU only"
    found = f"{version[1] if version else 'unknown version'}, {build}"
    present = _present()
    if visible_gpus(os.environ, present) and not cuda:
        hint = "install a CUDA build of torch, or train on the CPU with `fit --gpus 0`"
        return Offered("torch", f"{found}, but there {_are(present)}", ok=False, needed=True, hint=hint)
    return Offered("torch", found, needed=True)


def _gpus() -> Iterator[Offered]:
    present = _present()
    usable = visible_gpus(os.environ, present)
    if missing := missing_gpus(os.environ, present):
        told = f"{VISIBLE} names {', '.join(missing)}, which this machine does not have"
        yield Offered("gpu", told, ok=False, hint=f"correct or unset {VISIBLE}")
    if not usable:
        hidden = f" ({VISIBLE} hides {counted(present, 'GPU')})" if present and not missing else ""
        yield Offered("gpu", f"none{hidden}: runs train on the CPU")
        return
    known = _driver()
    if not known:
        told = f"{counted(len(usable), 'GPU')}, but `nvidia-smi` does not answer"
        yield Offered("gpu", told, ok=False, needed=True, hint="check the NVIDIA driver")
    for name in usable:
        if told := known.get(name, ""):
            yield Offered("gpu", f"{name}: {told}")
        elif known:
            yield Offered("gpu", f"{name}: used by the name in {VISIBLE}")


def _driver() -> dict[str, str]:
    """What the driver's own tool says of each GPU, by index; empty where it cannot be asked."""
    fields = "index,name,memory.total,memory.free,driver_version"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(_gpu(line) for line in done.stdout.splitlines() if line.count(",") == 4)


def _gpu(line: str) -> tuple[str, str]:
    index, name, total, left, driver = (cell.strip() for cell in line.split(","))
    memory = [f"{int(mib) / 1024:.1f}" if mib.isdecimal() else "unknown" for mib in (left, total)]
    return index, f"{name}, {memory[0]} of {memory[1]} GiB free, driver {driver}"


def _present() -> int:
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _are(count: int) -> str:
    return f"{'is' if count == 1 else 'are'} {counted(count, 'GPU')}"


def _cores() -> Offered:
    usable, present = cores(), os.cpu_count() or 1
    limited = f" of {present} (limited by its affinity or its cgroup)" if usable < present else ""
    return Offered("cores", f"{usable}{limited}")


def _memory() -> Offered:
    left = free()
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = f"{_gib(left)} free of {_gib(total)}, limits of the cgroup included"
    if left < SCARCE:
        return Offered("memory", found, ok=False, hint="each worker needs about half a GiB for torch alone")
    return Offered("memory", found)


def _disk(place: Path) -> Offered:
    left, kind = shutil.disk_usage(place).free, kind_of(place)
    found = f"{_gib(left)} free in {place} ({kind or 'unknown file system'})"
    if not os.access(place, os.W_OK):
        hint = "choose a writable directory with `--dir`"
        return Offered("disk", f"{place} cannot be written", ok=False, needed=True, hint=hint)
    if left < SCARCE:
        return Offered("disk", found, ok=False, hint="checkpoints need room; choose another with `--dir`")
    if not is_local(kind):
        hint = (
            "other machines may share it, so the journal has no write-ahead log, and its commits take longer"
        )
        return Offered("disk", found, needed=True, hint=hint)
    return Offered("disk", found, needed=True)


def _locks(place: Path) -> Offered:
    try:
        with (
            TemporaryDirectory(dir=place, prefix=".rapidfire-") as directory,
            lock(Path(directory, "lock"), "doctor"),
        ):
            return Offered("locks", f"supported in {place}", needed=True)
    except OSError as error:
        told = f"cannot be used in {place}: {error.strerror}"
        hint = "choose another directory with `--dir`"
        return Offered("locks", told, ok=False, needed=True, hint=hint)


def _extras() -> Iterator[Offered]:
    """A line for each extra: what of it is there, or how to install it."""
    for extra, needs in _requirements().items():
        if extra and extra not in OWN_EXTRAS:
            missing = [told for _, told in needs if told]
            install = f"`pip install '{DISTRIBUTION}[{extra}]'`"
            found = "; ".join(missing) or ", ".join(f"{name} {metadata.version(name)}" for name, _ in needs)
            yield Offered(f"[{extra}]", found, not missing, hint=install if missing else "")


def _requirements() -> dict[str, list[tuple[str, str]]]:
    """The required packages by extra ("" for none), each with what is wrong, if anything is."""
    try:
        from packaging.requirements import Requirement
    except ImportError:  # it comes with transformers
        return {"": [("packaging", "packaging is not installed")]}
    found: dict[str, list[tuple[str, str]]] = {}
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {"": [(DISTRIBUTION, f"{DISTRIBUTION} itself is not installed")]}
    for line in lines:
        need = Requirement(line)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        found.setdefault(extra[1] if extra else "", []).append((need.name, _wrong(need.name, need.specifier)))
    return found


def _wrong(name: str, wanted: "SpecifierSet") -> str:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is not installed"
    return "" if wanted.contains(version, prereleases=True) else f"{name} is {version}, needs {wanted}"


def _gib(size: int) -> str:
    return f"{size / GIB:,.1f} GiB"

"""How much memory a worker may take: what the machine, its cgroups and its own limit leave."""

import resource
import subprocess
import sys

import pytest

from rapidfire_cli.training import memory
from rapidfire_cli.training.memory import Growth, free
from tests.training.sandbox import TrainingSandbox, leaf

MIB = 2**20


@pytest.fixture
def machine(tmp_path):
    """Files as the kernel shows them: of a machine with 1000 MiB free, and no cgroups yet."""
    write(tmp_path / "proc/meminfo", "MemTotal: 4096000 kB\nMemFree: 10 kB\nMemAvailable: 1024000 kB\n")
    write(tmp_path / "proc/self/statm", "50 20 1 1 0 1 0\n")
    write(tmp_path / "proc/self/cgroup", "0::/\n")
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def limit(place, most, used, cache=0, version=2):
    """A cgroup's limit and usage in MiB, of which some is cache."""
    names = {
        2: ("memory.max", "memory.current", "inactive_file"),
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }[version]
    write(place / names[0], f"{most * MIB if isinstance(most, int) else most}\n")
    write(place / names[1], f"{used * MIB}\n")
    write(place / "memory.stat", f"anon 1\n{names[2]} {cache * MIB}\n")


def test_without_limits_a_share_of_what_the_machine_has_available(machine):
    assert free(1.0, machine) == 1000 * MIB
    assert free(0.25, machine) == 250 * MIB


def test_a_cgroup_of_version_2_and_those_above_it_leave_less(machine):
    write(machine / "proc/self/cgroup", "0::/jobs/one\n")
    limit(machine / "sys/fs/cgroup/jobs/one", "max", 100)
    limit(machine / "sys/fs/cgroup/jobs", 500, 200, cache=50)

    assert free(1.0, machine) == 350 * MIB
    assert free(0.5, machine) == 175 * MIB


def test_a_cgroup_of_version_1_leaves_less_also_where_only_the_mount_is_in_sight(machine):
    write(machine / "proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/docker/abc\n0::/\n")
    limit(machine / "sys/fs/cgroup/memory", 300, 100, version=1)

    assert free(1.0, machine) == 200 * MIB


def test_a_cgroup_of_version_1_without_a_limit_says_a_very_large_number(machine):
    write(machine / "proc/self/cgroup", "4:memory:/\n")
    limit(machine / "sys/fs/cgroup/memory", (2**63 - 4096) // MIB, 100, version=1)

    assert free(1.0, machine) == 1000 * MIB


def test_a_cgroup_that_is_full_leaves_nothing(machine):
    limit(machine / "sys/fs/cgroup", 100, 120)

    assert free(1.0, machine) == 0


def test_the_processs_own_limit_is_not_shared():
    code = (
        "import resource; from rapidfire_cli.training import memory; limit = 2**30;"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit)); print(memory.free(0.9))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert 2**29 < int(found.stdout) < 2**30


def test_the_real_files_can_be_read():
    assert 0 < memory.resident() < free() + memory.resident()
    assert free(0.5) <= free()
    assert resource.getpagesize() == memory.PAGE


class Process:
    """A process whose memory grows as told."""

    def __init__(self, room):
        self.memory = 300 * MIB
        self.growth = Growth(room * MIB, lambda: self.memory)

    def take(self, megabytes):
        self.memory += megabytes * MIB


def test_growth_is_shared_out_among_the_runs_at_rest_once_it_matters():
    process = Process(room=100)
    process.take(200)  # of the first run: it is not told from what warms up
    assert process.growth.each(1) == 0
    process.take(20)
    assert process.growth.each(2) == 0  # too little to matter
    process.take(20)
    assert process.growth.each(3) == 20 * MIB


def test_memory_of_runs_that_are_gone_is_not_counted_to_those_that_are_left():
    process = Process(room=10)
    process.growth.each(1)
    process.take(80)
    assert process.growth.each(5) == 20 * MIB
    assert process.growth.each(2) == 20 * MIB


def test_what_runs_share_is_not_counted():
    process = Process(room=10)
    with process.growth.apart():
        process.take(80)
    process.growth.each(1)
    with process.growth.apart():
        process.take(40)
    process.take(20)
    assert process.growth.each(2) == 20 * MIB


def test_what_a_run_keeps_outside_of_its_model_counts_to_its_size(tmp_path):
    place = TrainingSandbox(tmp_path, "Filling", room=8 * MIB)
    sizes = [place.train(leaf(), until=1, run=run)[-1].size for run in range(1, 30)]

    assert sizes[0] == place.executor._runs[1].size < MIB
    assert 2 * MIB < sizes[-1] < 6 * MIB


def test_memory_of_this_process_is_seen_to_grow():
    before = memory.resident()
    block = b"x" * (50 * MIB)

    assert memory.resident() - before > 40 * MIB
    del block

"""`doctor` says in a line each what the machine offers, and plainly what is missing that every fit needs."""

import errno
import json
from pathlib import Path

import pytest

from rapidfire_cli.app import machine
from rapidfire_cli.app.verbs.doctor import doctor
from rapidfire_cli.view.formats import Output

SMI = """\
#!/bin/sh
echo "0, NVIDIA H200, 143771, 143050, 570.86"
echo "1, NVIDIA H200, 143771, [N/A], 570.86"
"""


@pytest.fixture
def asked(tmp_path, monkeypatch, capsys):
    """Asks in a directory of experiments that does not exist yet, on a machine without GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "_present", lambda: 0)

    def ask() -> tuple[int, dict[str, dict]]:
        code = doctor(str(tmp_path / "experiments"), Output.JSON)
        document = json.loads(capsys.readouterr().out)
        assert document["ready"] == (code == 0)
        assert not [*tmp_path.glob(".rapidfire-*"), *tmp_path.glob("experiments")]
        return code, {one["name"]: one for one in document["findings"]}

    return ask


def with_gpus(tmp_path, monkeypatch, build: str, smi: str = SMI) -> None:
    """Two GPUs, the driver's tool, and a torch with this build."""
    monkeypatch.setattr(machine, "_present", lambda: 2)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvidia-smi").write_text(smi)
    (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    (tmp_path / "version.py").write_text(f"__version__ = '2.13.0'\ncuda: str | None = {build}\n")
    found = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(machine, "find_spec", lambda name: found)


def test_a_machine_that_can_train_is_ready(asked):
    code, found = asked()
    assert code == 0
    names = {"python", "packages", "torch", "gpu", "cores", "memory", "disk", "locks", "[demo]"}
    assert names <= found.keys()
    assert found["gpu"]["found"] == "none: runs train on the CPU"


def test_a_torch_that_cannot_use_the_gpus_is_plainly_wrong(asked, tmp_path, monkeypatch):
    with_gpus(tmp_path, monkeypatch, "None")
    code, found = asked()
    assert code == 5
    assert found["torch"]["found"] == "2.13.0, built for the CPU only, but there are 2 GPUs"
    assert "fit --gpus 0" in found["torch"]["hint"]


def test_each_gpu_has_a_line(asked, tmp_path, monkeypatch, capsys):
    with_gpus(tmp_path, monkeypatch, "'12.8'")
    assert doctor(str(tmp_path / "experiments"), Output.TABLE) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "✓ torch 2.13.0, built for CUDA 12.8" in lines
    assert "✓ gpu 0: NVIDIA H200, 139.7 of 140.4 GiB free, driver 570.86" in lines
    assert "✓ gpu 1: NVIDIA H200, unknown of 140.4 GiB free, driver 570.86" in lines
    assert lines[-1] == "ready to train"


def test_gpus_that_are_hidden_or_misnamed_are_told(asked, tmp_path, monkeypatch):
    with_gpus(tmp_path, monkeypatch, "'12.8'")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    code, found = asked()
    assert (code, found["gpu"]["found"]) == (
        0,
        "none (CUDA_VISIBLE_DEVICES hides 2 GPUs): runs train on the CPU",
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    named = [one.found for one in machine.machine(Path("/tmp")) if one.name == "gpu"]
    assert named[0] == "CUDA_VISIBLE_DEVICES names 7, which this machine does not have"


def test_a_driver_that_does_not_answer_is_wrong(asked, tmp_path, monkeypatch):
    with_gpus(tmp_path, monkeypatch, "'12.8'", "#!/bin/sh\nexit 9\n")
    code, found = asked()
    assert (code, found["gpu"]["ok"]) == (5, False)


def test_a_file_system_that_other_machines_may_share_is_fine_and_the_journal_slower(asked, monkeypatch):
    assert not asked()[1]["disk"]["hint"]
    monkeypatch.setattr(machine, "kind_of", lambda place: "nfs4")
    code, found = asked()
    assert (code, found["disk"]["ok"]) == (0, True)
    assert "(nfs4)" in found["disk"]["found"]
    assert "the journal has no write-ahead log" in found["disk"]["hint"]


def test_a_file_system_without_locks_is_wrong(asked, monkeypatch, tmp_path, capsys):
    def refuse(path, holder):
        raise OSError(errno.ENOLCK, "this file system does not support locks", str(path))

    monkeypatch.setattr(machine, "lock", refuse)
    code, found = asked()
    assert code == 5
    assert found["locks"]["found"] == f"cannot be used in {tmp_path}: this file system does not support locks"
    doctor(str(tmp_path), Output.TABLE)
    assert capsys.readouterr().out.splitlines()[-1] == "not ready to train: see the lines marked ✗"


def test_a_required_package_that_is_missing_or_old_is_wrong_and_an_extra_is_not(asked, monkeypatch):
    wanted = ["safetensors>=999", "nothing-of-that-name>=1", "none-either>=2; extra == 'peft'"]
    monkeypatch.setattr(machine.metadata, "requires", lambda name: wanted)
    told = [*machine._packages(), *machine._extras()]
    assert [one.ok for one in told] == [False] * 3
    assert [one.needed for one in told] == [True, True, False]
    assert told[0].found.endswith("needs >=999")
    assert told[1].found == "nothing-of-that-name is not installed"
    assert told[2].hint == "`pip install 'rapidfire-cli[peft]'`"
    assert asked()[0] == 5

"""The scripts and manifests of deploy/ fit together, and fit the tools that read them."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from rapidfire_cli import cli
from rapidfire_cli.engine.jobs import Timeouts
from tests.deploy.slurm import QUICK, ROOT

DEPLOY = ROOT / "deploy"
BATCH = sorted(DEPLOY.glob("slurm/*.sbatch"))
SKYPILOT = sorted(DEPLOY.glob("skypilot/*.yaml"))
KUBERAY = sorted(DEPLOY.glob("kuberay/*.yaml"))
FILES = [*BATCH, *SKYPILOT, *KUBERAY]
SHELLCHECK = Path(sys.executable).with_name("shellcheck")
PART = {"app.kubernetes.io/part-of": "rapidfire"}


def documents() -> dict[str, Any]:
    """The Kubernetes objects, by kind."""
    found = [each for file in KUBERAY for each in yaml.safe_load_all(file.read_text())]
    assert len({each["kind"] for each in found}) == len(found)
    return {each["kind"]: each for each in found}


KINDS = documents()
CLUSTER = KINDS["RayCluster"]
HEAD = CLUSTER["spec"]["headGroupSpec"]
(WORKERS,) = CLUSTER["spec"]["workerGroupSpecs"]
FIT = KINDS["Job"]
TEMPLATES = {"head": HEAD["template"], "workers": WORKERS["template"], "fit": FIT["spec"]["template"]}


def scripts() -> Iterator[tuple[str, str]]:
    """All shell scripts, those within manifests included, by name."""
    for file in BATCH:
        yield file.name, file.read_text()
    for file in SKYPILOT:
        task = yaml.safe_load(file.read_text())
        for part in ("setup", "run"):
            yield f"{file.name}: {part}", f"#!/bin/bash\n{task[part]}"
    (line,) = container("fit")["args"]
    yield "fit.yaml: args", f"#!/bin/bash\n{line}"


def container(template: str) -> dict[str, Any]:
    (found,) = TEMPLATES[template]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


SCRIPTS = dict(scripts())


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_valid_bash(name):
    done = subprocess.run(["bash", "-n"], input=SCRIPTS[name], text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not SHELLCHECK.exists(), reason="shellcheck is not installed")
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_no_finding_of_shellcheck(name):
    done = subprocess.run([SHELLCHECK, "-"], input=SCRIPTS[name], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_calls_rapidfire_with_options_that_exist(name):
    verbs: Any = typer.main.get_command(cli.cli)
    joined = SCRIPTS[name].replace("\\\n", " ")
    for call in re.findall(r"^\s*(?:exec )?rapidfire (\w.*?)(?: &)?$", joined, re.MULTILINE):
        verb, *words = shlex.split(call)
        known = {option for parameter in verbs.commands[verb].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_options_of_ray_start_exist():
    ray = Path(sys.executable).with_name("ray")
    asked = [ray, "start", "--help"]
    told = subprocess.run(asked, env=QUICK, capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"^ +(--[a-z-]+)", told, re.MULTILINE))
    for group in (HEAD, WORKERS):
        assert {f"--{name}" for name in group["rayStartParams"]} <= known
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    for name, script in SCRIPTS.items():
        for line in script.replace("\\\n", " ").splitlines():
            if "ray start" in line or re.search(r"(options|common|client)\+?=\(", line):
                used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", line.partition(" #")[0]))
                assert used <= known, name


def test_every_cluster_asks_for_a_token_and_has_neither_a_dashboard_nor_a_token_in_a_file():
    assert CLUSTER["spec"]["authOptions"] == {"mode": "token"}
    assert HEAD["rayStartParams"]["include-dashboard"] == "false"
    for name in ("ray.sbatch", "ray.yaml: run"):
        assert "RAY_AUTH_MODE=token" in SCRIPTS[name]
        assert "--include-dashboard=false" in SCRIPTS[name]
    for file in FILES:
        assert "--insecure" not in file.read_text()
        assigned = re.findall(r"^[^#\n]*RAY_AUTH_TOKEN(?:=|: *)(\S+)", file.read_text(), re.MULTILINE)
        assert set(assigned) <= {"null"}, file  # SkyPilot asks for it
    token = {variable["name"]: variable for variable in container("fit")["env"]}["RAY_AUTH_TOKEN"]
    secret = token["valueFrom"]["secretKeyRef"]
    assert secret == {"name": CLUSTER["metadata"]["name"], "key": "auth_token"}  # as the operator names it


def test_the_token_of_a_slurm_job_is_written_below_a_mask_that_leaves_it_to_the_user():
    writes = [line for line in SCRIPTS["ray.sbatch"].splitlines() if '>"$private/token"' in line]
    assert len(writes) == 1
    assert writes[0].startswith("(umask 077 && ")


def test_no_ray_stop_ends_the_ray_of_others():
    for name, script in SCRIPTS.items():
        code = "\n".join(line.partition("#")[0] for line in script.splitlines())
        assert "ray stop" not in code, name


def test_what_a_user_must_set_is_marked_in_the_file_and_in_its_opening_comment():
    for file in (*KUBERAY, *SKYPILOT):
        opening = re.match(r"(?:#.*\n)+", file.read_text())
        assert opening and "CHANGE" in opening[0], file
    images = {container(name)["image"] for name in TEMPLATES}
    classes = {KINDS["PersistentVolumeClaim"]["spec"]["storageClassName"]}
    assert images == classes == {"CHANGE-ME"}


def test_pods_mount_what_they_declare_and_the_claim_that_exists():
    claim = KINDS["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for name in TEMPLATES:
        volumes = {each["name"]: each for each in TEMPLATES[name]["spec"].get("volumes", [])}
        mounts = {each["name"]: each["mountPath"] for each in container(name).get("volumeMounts", [])}
        assert set(mounts) == set(volumes)
        if name != "head":
            assert volumes["shared"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
            assert mounts["shared"] == "/shared"
    fit = container("fit")
    directory = {each["name"]: each.get("value") for each in fit["env"]}["RAPIDFIRE_DIR"]
    assert fit["workingDir"].startswith("/shared/") and directory.startswith("/shared/")


def test_ports_and_names_of_the_cluster_are_those_that_others_use():
    service = f"{CLUSTER['metadata']['name']}-head-svc"  # as the operator names it
    (port,) = container("head")["ports"]
    assert f"/dev/tcp/{service}/{port['containerPort']}" in SCRIPTS["fit.yaml: args"]
    assert f"--address={service}:{port['containerPort']}" in SCRIPTS["fit.yaml: args"]
    for name, probed in (
        ("head", port["containerPort"]),
        ("workers", int(WORKERS["rayStartParams"]["node-manager-port"])),
    ):
        for probe in ("readinessProbe", "livenessProbe"):
            assert container(name)[probe]["tcpSocket"]["port"] == probed
    policy = KINDS["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"] == PART
    assert policy["ingress"] == [{"from": [{"podSelector": {"matchLabels": PART}}]}]
    for template in TEMPLATES.values():
        assert template["metadata"]["labels"] == PART


def test_runs_train_on_the_workers_only():
    assert HEAD["rayStartParams"]["num-cpus"] == "0"
    assert "--num-cpus=0 --num-gpus=0" in SCRIPTS["fit.yaml: args"]
    assert WORKERS["minReplicas"] == WORKERS["replicas"]  # nothing asks an autoscaler for more


def test_a_fit_has_the_time_to_save_its_runs_before_it_is_killed():
    grace = Timeouts().grace
    assert TEMPLATES["fit"]["spec"]["terminationGracePeriodSeconds"] > grace
    for file in BATCH:
        for seconds in re.findall(r"^#SBATCH --signal=B:USR1@(\d+)$", file.read_text(), re.MULTILINE):
            assert int(seconds) - 60 > grace  # Slurm may be a minute early or late
            assert "#SBATCH --requeue" in file.read_text()


def test_a_job_tries_again_only_what_may_end_otherwise():
    ignored, failed = FIT["spec"]["podFailurePolicy"]["rules"]
    assert ignored == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    assert failed["onExitCodes"]["containerName"] == container("fit")["name"]
    assert failed["onExitCodes"]["values"] == [1, 2, 3]  # as the README describes them
    assert TEMPLATES["fit"]["spec"]["restartPolicy"] == "Never"  # which a failure policy needs
    assert "exec rapidfire fit" in SCRIPTS["fit.yaml: args"]  # so that it receives SIGTERM


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("name", [*TEMPLATES, "job"])
def test_kubectl_knows_every_field_of_a_pod(name):
    """It decodes built-in kinds by their schemas, without a cluster, and drops fields it does not know."""
    given = FIT if name == "job" else {"apiVersion": "v1", "kind": "Pod", **TEMPLATES[name]}
    done = subprocess.run(
        ["kubectl", "set", "env", "--local", "-f", "-", "-o", "json", "KNOWN=yes"],
        input=json.dumps(given),
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(dropped(given, json.loads(done.stdout))) == []


def dropped(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    """The paths of what is in `given` and not in `kept`."""
    match given, kept:
        case dict(), dict():
            for key in given:
                if key in kept:
                    yield from dropped(given[key], kept[key], f"{path}.{key}")
                else:
                    yield f"{path}.{key}"
        case list(), list():
            for at, (one, other) in enumerate(zip(given, kept, strict=False)):
                yield from dropped(one, other, f"{path}[{at}]")
        case _ if given != kept:
            yield path


@pytest.mark.parametrize("file", SKYPILOT, ids=lambda file: file.name)
def test_a_skypilot_task_has_known_keys_and_declares_the_variables_that_it_uses(file):
    task = yaml.safe_load(file.read_text())
    assert set(task) <= {"name", "num_nodes", "resources", "workdir", "envs", "secrets", "setup", "run"}
    own = {"SKYPILOT_NODE_IPS", "SKYPILOT_NODE_RANK"}  # which SkyPilot sets
    declared = {*task["envs"], *task["secrets"], *own, "USER", "UID"}
    script = f"{task['setup']}\n{task['run']}"
    set_here = set(re.findall(r"\b([A-Z][A-Za-z_]*)=", script))
    assert set(re.findall(r"\$\{?([A-Z][A-Z_]*)\b", script)) <= declared | set_here
    assert task["num_nodes"] > 1

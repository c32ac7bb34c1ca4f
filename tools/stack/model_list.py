"""The models that `make up MODEL=NAME` can fetch: instruct models with permissive licences, as GGUF for llama.cpp."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

GB = 1e9
OVERHEAD_BYTES = 400_000_000
"""Memory of llama.cpp beside weights and context: its program, and the buffers of a batch."""
CACHE_ELEMENT_BYTES = 2
"""Keys and values are kept as 16-bit numbers."""


@dataclass(frozen=True)
class ListedModel:
    """A file of a repository on the Hugging Face Hub; its revision and hash are recorded when it is first fetched.

    With a `sha256`, only that file is ever accepted.
    """

    name: str
    parameters: str
    repository: str
    file: str
    licence: str
    approximate_bytes: int
    """Size of the file, for the list; the hub states the exact one."""
    layers: int
    kv_heads: int
    head_dim: int
    context: int = 8192
    """Tokens of context, which all slots share."""
    slots: int = 2
    sha256: str = ""
    grounded: bool = True
    """Whether it answers from passages of documents better than quotes of these do, as far as it was measured."""

    @property
    def memory_bytes(self) -> int:
        """Memory of one replica: its weights, keys and values of the whole context, and llama.cpp's own."""
        per_token = 2 * self.layers * self.kv_heads * self.head_dim * CACHE_ELEMENT_BYTES
        return self.approximate_bytes + per_token * self.context + OVERHEAD_BYTES


MODELS = (
    ListedModel(
        name="qwen2.5-0.5b",
        parameters="0.5B",
        repository="Qwen/Qwen2.5-0.5B-Instruct-GGUF",
        file="qwen2.5-0.5b-instruct-q4_k_m.gguf",
        licence="Apache-2.0",
        approximate_bytes=491_400_032,
        layers=24,
        kv_heads=2,
        head_dim=64,
        sha256="74a4da8c9fdbcd15bd1f6d01d621410d31c6fc00986f5eb687824e7b93d7a9db",
    ),
    ListedModel(
        name="qwen2.5-coder-0.5b",
        parameters="0.5B",
        repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        licence="Apache-2.0",
        approximate_bytes=491_400_064,
        layers=24,
        kv_heads=2,
        head_dim=64,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        grounded=False,
    ),
    ListedModel(
        name="qwen2.5-1.5b",
        parameters="1.5B",
        repository="Qwen/Qwen2.5-1.5B-Instruct-GGUF",
        file="qwen2.5-1.5b-instruct-q4_k_m.gguf",
        licence="Apache-2.0",
        approximate_bytes=1_117_320_736,
        layers=28,
        kv_heads=2,
        head_dim=128,
        sha256="6a1a2eb6d15622bf3c96857206351ba97e1af16c30d7a74ee38970e434e9407e",
    ),
    ListedModel(
        name="qwen2.5-coder-1.5b",
        parameters="1.5B",
        repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        licence="Apache-2.0",
        approximate_bytes=1_117_320_768,
        layers=28,
        kv_heads=2,
        head_dim=128,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        grounded=False,
    ),
    ListedModel(
        name="granite-3.3-2b",
        parameters="2.5B",
        repository="ibm-granite/granite-3.3-2b-instruct-GGUF",
        file="granite-3.3-2b-instruct-Q4_K_M.gguf",
        licence="Apache-2.0",
        approximate_bytes=1_545_303_328,
        layers=40,
        kv_heads=8,
        head_dim=64,
        sha256="ac71e9e32c0bea919b409c5918f69ca74339854b0319c5065e4e9fb6d95c4852",
    ),
    ListedModel(
        name="phi-3-mini",
        parameters="3.8B",
        repository="microsoft/Phi-3-mini-4k-instruct-gguf",
        file="Phi-3-mini-4k-instruct-q4.gguf",
        licence="MIT",
        approximate_bytes=2_393_231_072,
        layers=32,
        kv_heads=32,
        head_dim=96,
        context=4096,
        slots=1,
        sha256="8a83c7fb9049a9b2e92266fa7ad04933bb53aa1e85136b7b30f1b8000ff2edef",
    ),
    ListedModel(
        name="granite-3.3-8b",
        parameters="8B",
        repository="ibm-granite/granite-3.3-8b-instruct-GGUF",
        file="granite-3.3-8b-instruct-Q4_K_M.gguf",
        licence="Apache-2.0",
        approximate_bytes=4_943_000_000,
        layers=40,
        kv_heads=8,
        head_dim=128,
    ),
)


def fitting(available_bytes: float, models: Iterable[ListedModel] = MODELS) -> list[str]:
    """Returns the names of the models that fit into this memory, which is that of the host without other models'."""
    return [model.name for model in models if model.memory_bytes <= available_bytes]


def table(available_bytes: float, models: Sequence[ListedModel] = MODELS) -> str:
    """Returns the list of models, one per line, with what fits into this memory."""
    fits = fitting(available_bytes, models)
    rows = [("NAME", "PARAMETERS", "DOWNLOAD", "MEMORY", "LICENCE", "FITS THIS HOST")]
    rows += [
        (
            model.name,
            model.parameters,
            f"{model.approximate_bytes / GB:.1f} GB",
            f"{model.memory_bytes / GB:.1f} GB",
            model.licence,
            "yes" if model.name in fits else "no",
        )
        for model in models
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(
        [
            *lines,
            f"A model may use {max(available_bytes, 0) / GB:.1f} GB here. They run on the CPU; a GPU is not used.",
            "default: the model of the stack's own settings",
        ]
    )

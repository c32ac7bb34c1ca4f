"""Weights on the Hugging Face Hub, or on a mirror with its API.

Its API: https://huggingface.co/docs/hub/api. A file of a commit never changes, and the Hub knows the SHA-256 of each
large file; of small ones it knows the id that Git gives them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatch
from typing import Any
from urllib.parse import quote

import httpx

from serving.engines.weights.remote import Interrupted, Listing, RemoteFile, WeightsError

HUB = "https://huggingface.co"
TIMEOUT = httpx.Timeout(60, connect=10)

OTHER_FORMATS = ("*.h5", "*.msgpack", "*.ot", "*.onnx", "*.onnx_data", "*.tflite", "*.mlmodel", "*.gguf", "original/*")
"""Weights for other programs, which many repositories contain beside those that vLLM loads."""
PICKLES = ("*.bin", "*.pt", "*.pth", "consolidated*.safetensors")
"""Further copies of the weights, if there are `*.safetensors` in the format of transformers."""


class Hub:
    """A repository, by `hf://organisation/name@revision`; `select` chooses its files, by default those for vLLM."""

    def __init__(
        self,
        source: str,
        token: str | None = None,
        endpoint: str | None = None,
        select: Callable[[Sequence[RemoteFile]], list[RemoteFile]] | None = None,
    ) -> None:
        self.source = source
        self._select = select or selected
        self._name, _, revision = source.partition("://")[2].partition("@")
        self._revision = revision or "main"
        self.pinned = self._revision if re.fullmatch(r"[0-9a-f]{40}", self._revision) else ""
        self._url = (endpoint or HUB).rstrip("/")
        self._authenticated = token is not None
        # The token is not passed on to other hosts: httpx drops it where a redirect leads to one.
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(
            headers={**headers, "Accept-Encoding": "identity"}, timeout=TIMEOUT, follow_redirects=True
        )
        self._commit = self.pinned

    def list(self) -> Listing:
        url = f"{self._url}/api/models/{self._name}/revision/{quote(self._revision, safe='')}"
        try:
            response = self._client.get(url, params={"blobs": "true"})
        except httpx.RequestError as e:
            raise Interrupted(f"{self._url} cannot be reached: {e}") from None
        self._check(response)
        try:
            document = response.json()
            self._commit = str(document["sha"])
            files = [_file(each) for each in document["siblings"]]
        except (ValueError, LookupError, TypeError) as e:
            raise WeightsError(f"{url} does not answer as the Hub does: {e!r}") from None
        if not (chosen := self._select(files)):
            raise WeightsError(f"{self.source} has no files")
        return Listing(self._commit, tuple(chosen))

    def read(self, file: RemoteFile, offset: int) -> Iterator[bytes]:
        url = f"{self._url}/{self._name}/resolve/{self._commit}/{quote(file.name)}"
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            with self._client.stream("GET", url, headers=headers) as response:
                self._check(response)
                skipped = 0 if response.status_code == 206 else offset  # a server may ignore the range
                for (
                    chunk
                ) in response.iter_bytes():  # as it arrives: nothing is buffered that an interruption would lose
                    yield chunk[skipped:]
                    skipped = max(0, skipped - len(chunk))
        except httpx.RequestError as e:
            raise Interrupted(f"{file.name} of {self.source} is interrupted: {e}") from None

    def _check(self, response: httpx.Response) -> None:
        status, code = response.status_code, response.headers.get("x-error-code", "")
        if status < 300:
            return
        if status == 429 or status >= 500:
            raise Interrupted(f"{self._url} answers with status {status}")
        raise WeightsError(f"{self.source}: {self._reason(status, code)}")

    def _reason(self, status: int, code: str) -> str:
        if code == "GatedRepo":
            has = "the model's `token` has no access" if self._authenticated else "the model has no `token`"
            return f"it is gated, and {has}: accept its conditions on its page, and set the token of that user"
        if code == "RevisionNotFound":
            return f"it has no revision '{self._revision}'"
        if status in (401, 403) and self._authenticated:
            return f"the Hub refuses the model's `token` (status {status}): check that it may read this repository"
        if status in (401, 403, 404):
            return f"it does not exist, or is private and needs the model's `token` (status {status})"
        return f"the Hub answers with status {status}"


def _file(sibling: dict[str, Any]) -> RemoteFile:
    name, lfs = str(sibling["rfilename"]), sibling.get("lfs") or {}
    if lfs:
        return RemoteFile(name, int(lfs["size"]), str(lfs["sha256"]), sha256=str(lfs["sha256"]))
    blob = str(sibling["blobId"])
    return RemoteFile(name, int(sibling["size"]), blob, git_sha1=blob)


def selected(files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Returns the files that vLLM needs: of weights in several formats, only one."""
    found = [file for file in files if not _matches(file, OTHER_FORMATS)]
    if any(file.name.endswith(".safetensors") and not _matches(file, PICKLES) for file in found):
        found = [file for file in found if not _matches(file, PICKLES)]
    return found


def _matches(file: RemoteFile, patterns: Iterable[str]) -> bool:
    return any(fnmatch(file.name, pattern) for pattern in patterns)

"""Replicas of apps, real processes, as a gateway leases them from Serve."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from pathlib import Path
from typing import Any

from infra import apps
from serving.config import App, AppModel
from serving.engines.apps.replica import AppReplica
from serving.engines.replica import granted

HERE = Path(__file__).parent


def model(name: str, object: str, **settings: Any) -> AppModel:
    """An app of the folder beside this module."""
    packed = apps.archive(App(name=name, object=object, folder="apps"), HERE)
    return AppModel(name=name, object=object, archive=base64.b64encode(packed).decode(), **settings)


class Replicas:
    """Replicas of apps by their applications, each made at its first lease, and made anew when it is dead."""

    def __init__(self, models: list[AppModel]) -> None:
        self._models = {f"model-{m.name}": m for m in models}
        self.made: dict[str, AppReplica] = {}
        self.leased = 0

    def handle_of(self, application: str) -> Any:
        return _Handle(self, application)

    def get(self, application: str) -> AppReplica:
        made = self.made.get(application)
        if made is None or made._program.ended():
            made = self.made[application] = AppReplica(self._models[application], host="127.0.0.1")
        return made

    def kill(self, name: str) -> None:
        """Ends an app's process at once, and the one that watches over it."""
        os.killpg(self.made[f"model-{name}"]._program._process.pid, signal.SIGKILL)
        self.made[f"model-{name}"]._program._process.wait()

    def close(self) -> None:
        for made in self.made.values():
            made.close()


class _Handle:
    def __init__(self, replicas: Replicas, application: str) -> None:
        self._replicas = replicas
        self._application = application

    @property
    def lease(self) -> _Handle:
        return self

    def options(self, *, stream: bool) -> _Handle:
        return self

    def remote(self, owner: str, user: str) -> _Lease:
        return _Lease(self._replicas, self._application)


class _Lease:
    def __init__(self, replicas: Replicas, application: str) -> None:
        self._replicas = replicas
        self._application = application
        self._begun = False

    async def __anext__(self) -> dict[str, Any]:
        replica = await asyncio.to_thread(self._replicas.get, self._application)
        self._replicas.leased += 1
        self._begun = True
        return granted(replica._server)

    def cancel(self) -> None:
        self._replicas.leased -= self._begun
        self._begun = False

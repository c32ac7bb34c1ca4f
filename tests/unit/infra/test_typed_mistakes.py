"""Mistakes as people type them into the example stacks: the message names the key, the reason and a way out."""

from __future__ import annotations

import pytest
import yaml

from infra import chart
from infra.config_loader import load
from infra.layout import CHECKOUT
from tests.rendering.examples import with_digests
from tools.plan import StackFileLoader

RANGES = "[203.0.113.7/32]"
CLUSTER = "  headrace:cluster:\n"
GPU = "      accelerator: l4\n      gpus: 1\n"
SOURCE = "hf://meta-llama/Llama-3.1-8B-Instruct"


def typed(cloud: str, text: str, instead: str) -> list[str]:
    """Returns what is said of an example in which `text` is replaced."""
    example = with_digests((CHECKOUT / f"Pulumi.{cloud}.yaml").read_text())
    assert text in example
    settings = yaml.load(example.replace(text, instead, 1), StackFileLoader)["config"]
    loaded = load({key.removeprefix("headrace:"): value for key, value in settings.items()}, frozenset(), "/secrets")
    config = loaded.config.model_copy(update={"knowledge": ()})
    return [str(m) for m in (*loaded.mistakes, *(() if loaded.mistakes else chart.mistakes(config, CHECKOUT)))]


@pytest.mark.parametrize(
    ("cloud", "text", "instead", "said"),
    [
        (
            "aws",
            'account: "000000000000"',
            "account: 123456789012",
            "aws.account: 123456789012 is a number, not text; write it in quotes",
        ),
        (
            "aws",
            'account: "000000000000"',
            "account: 1234-5678-9012",
            "aws.account: '1234-5678-9012' is not well formed; did you mean '123456789012'?",
        ),
        (
            "aws",
            "region: eu-central-1",
            "region: eu-central-1a",
            "aws.region: 'eu-central-1a' is not well formed; did you mean 'eu-central-1'?",
        ),
        (
            "aws",
            "region: eu-central-1",
            "region: EU-Central-1",
            "aws.region: 'EU-Central-1' is not well formed; did you mean 'eu-central-1'?",
        ),
        (
            "aws",
            CLUSTER,
            f"{CLUSTER}    kubernetes_version: 1.35\n",
            "cluster.kubernetes_version: 1.35 is a number, not text; write it in quotes",
        ),
        (
            "aws",
            CLUSTER,
            f'{CLUSTER}    kubernetes_version: "1.40"\n',
            "cluster.kubernetes_version: there is no Kubernetes on EKS of version '1.40'; use one of 1.34, 1.35, 1.36",
        ),
        (
            "azure",
            CLUSTER,
            f'{CLUSTER}    kubernetes_version: "1.40"\n',
            "cluster.kubernetes_version: AKS does not offer 1.40; use one of 1.34, 1.35, 1.36",
        ),
        (
            "aws",
            CLUSTER,
            f"{CLUSTER}    kubernetes_version: v1.35\n",
            "cluster.kubernetes_version: 'v1.35' is not well formed; did you mean '1.35'?",
        ),
        (
            "aws",
            RANGES,
            "[203.0.113.7/24]",
            "cluster.authorized_ranges[0]: '203.0.113.7/24' is not a network; did you mean '203.0.113.0/24'?",
        ),
        (
            "aws",
            RANGES,
            "203.0.113.7/32",
            "cluster.authorized_ranges: is one value, not a list; write [203.0.113.7/32]",
        ),
        (
            "aws",
            RANGES,
            "[0.0.0.0/0]",
            "cluster: is not allowed; it opens the API server to everyone; name the ranges that need access",
        ),
        (
            "aws",
            "accelerator: l4",
            "accelerator: L4",
            "node_pools[1].accelerator: there is no machine on AWS with accelerator 'L4'; did you mean 'l4'?",
        ),
        (
            "gcp",
            "accelerator: l4",
            "accelerator: nvidia-l4",
            "node_pools[1].accelerator: there is no accelerator 'nvidia-l4'; did you mean 'l4'?",
        ),
        (
            "azure",
            "accelerator: a100-80gb-pcie",
            "accelerator: a100",
            "node_pools[1].accelerator: there is no accelerator 'a100';"
            " use one of a100-40gb, a100-40gb-pcie, a100-80gb, a100-80gb-pcie",
        ),
        (
            "aws",
            GPU,
            GPU.replace("acc", "ac"),
            "node_pools[1].acelerator: is not a known setting; did you mean 'accelerator'?",
        ),
        (
            "aws",
            GPU,
            "      accelerator: l4\n",
            "node_pools[1]: is not allowed; it needs both accelerator and gpus, or neither",
        ),
        (
            "aws",
            GPU,
            GPU.replace("1", "one"),
            "node_pools[1].gpus: 'one' is not a number; write digits, without unit and separator",
        ),
        (
            "aws",
            "headrace:node_pools",
            "headrace:nodepools",
            "nodepools: is not a known setting; did you mean 'node_pools'?",
        ),
        (
            "aws",
            "node_pool: gpu",
            "node_pool: gpus",
            "pools[1].node_pool: there is no node pool 'gpus'; did you mean 'gpu'?",
        ),
        (
            "aws",
            "memory: 4Gi",
            "memory: 4GB",
            "pools[0].memory: '4GB' is not well formed; did you mean '4G'?",
        ),
        (
            "aws",
            "memory: 4Gi",
            "memory: 4",
            "pools[0].memory: 4 is a number, not text; write it with a unit, for example 4Gi",
        ),
        (
            "aws",
            SOURCE,
            SOURCE.removeprefix("hf://"),
            f"models[0].source: '{SOURCE.removeprefix('hf://')}' is not well formed; did you mean '{SOURCE}'?",
        ),
        (
            "aws",
            "engine: vllm",
            "engine: vLLM",
            "models[0].engine: is not a known engine; did you mean 'vllm'?",
        ),
        (
            "aws",
            "context: 16384",
            "context: 16k",
            "models[0].context: '16k' is not a number; write digits, without unit and separator",
        ),
        (
            "aws",
            "model: llama-3.1-8b",
            "model: llama-3-8b",
            "assistants[0].model: there is no model or alias 'llama-3-8b'; did you mean 'llama-3.1-8b'?",
        ),
        (
            "gcp",
            "project: example-project",
            "project: Example Project",
            "gcp.project: 'Example Project' is not well formed; did you mean 'example-project'?",
        ),
        (
            "gcp",
            "zones: [europe-west4-a]\n  headrace:image",
            "zones: [a]\n  headrace:image",
            "node_pools[1].zones: a is not in europe-west4; use zones of the region, for example europe-west4-b",
        ),
        (
            "azure",
            "location: westeurope",
            "location: West Europe",
            "azure.location: 'West Europe' is not well formed; did you mean 'westeurope'?",
        ),
        (
            "aws",
            "registry: registry.example.com",
            "registry: https://registry.example.com/",
            "image.registry: 'https://registry.example.com/' is not well formed; did you mean 'registry.example.com'?",
        ),
        (
            "aws",
            "headrace:target: aws",
            "headrace:target: AWS",
            "target: 'AWS' is not known; did you mean 'aws'?",
        ),
    ],
)
def test_a_typing_mistake_is_explained_with_a_suggestion(cloud: str, text: str, instead: str, said: str) -> None:
    assert typed(cloud, text, instead) == [f"headrace:{said}"]


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_placeholders_are_no_images_on_a_cloud(cloud: str) -> None:
    digest = f"digest: sha256:{'0' * 64}"
    shown = with_digests(digest)
    assert typed(cloud, shown, digest) == [
        "headrace:image.digest: is the placeholder of an example;"
        " push your image to the registry, and set the digest that the push prints"
    ]


def test_the_value_of_a_secret_is_not_repeated() -> None:
    secret = load({"models": [{"name": "m", "engine": "remote", "url": "https://a.b", "headers": "s3cret"}]}, *NOTHING)
    assert secret.mistakes
    assert not any("s3cret" in str(m) for m in secret.mistakes)


NOTHING = (frozenset[str](), "/secrets")

"""Envoy Gateway: an implementation of the Gateway API for clusters without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra import edge, versions
from infra.addons.addon import Addon, AddonPod, Values
from infra.config import StackConfig
from infra.nodes.resources import Resources

CLASS = edge.CLASS


def _values(config: StackConfig, images: Mapping[str, str]) -> Values:
    secrets = [{"name": name} for name in config.image.pull_secrets]
    return {
        "global": {
            "images": {
                "envoyGateway": {"image": images["gateway"], "pullSecrets": secrets},
                "ratelimit": {"image": images["ratelimit"], "pullSecrets": secrets},
            }
        },
        # It informs Envoy of its zone, by a webhook on port 9443 that delays pods wherever a firewall closes that port.
        "topologyInjector": {"enabled": False},
        "config": {
            "envoyGateway": {
                "provider": {"type": "Kubernetes", "kubernetes": {"shutdownManager": {"image": images["gateway"]}}}
            }
        },
    }


def _objects(config: StackConfig) -> Sequence[Values]:
    [proxy] = [config.mirror.image(image) for name, image in versions.GATEWAY.images.items() if name == "proxy"]
    return (
        {
            "apiVersion": "gateway.envoyproxy.io/v1alpha1",
            "kind": "EnvoyProxy",
            "metadata": {"name": CLASS, "namespace": "envoy-gateway-system"},
            "spec": {
                "provider": {
                    "type": "Kubernetes",
                    "kubernetes": {
                        "envoyDeployment": {"container": {"image": proxy}},
                        "envoyService": edge.service(config),
                    },
                }
            },
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": CLASS},
            "spec": {
                "controllerName": "gateway.envoyproxy.io/gatewayclass-controller",
                "parametersRef": {
                    "group": "gateway.envoyproxy.io",
                    "kind": "EnvoyProxy",
                    "name": CLASS,
                    "namespace": "envoy-gateway-system",
                },
            },
        },
    )


_PODS = (
    AddonPod("Envoy Gateway", Resources.parse("100m", "256Mi")),
    # With its shutdown manager; the operator creates one for each Gateway.
    AddonPod("Envoy", Resources.parse("110m", "544Mi")),
)

GATEWAY = Addon(
    name="gateway",
    namespace="envoy-gateway-system",
    needed=lambda config: config.ingress.kind == "gateway" and not config.ingress.gateway,
    chart=lambda _: versions.GATEWAY,
    values=_values,
    kinds=("gateways.gateway.networking.k8s.io", "httproutes.gateway.networking.k8s.io"),
    crds=versions.GATEWAY_CRDS,
    crd_values={"crds": {"gatewayAPI": {"enabled": True, "channel": "standard"}, "envoyGateway": {"enabled": True}}},
    pods=lambda _: _PODS,
    objects=_objects,
)

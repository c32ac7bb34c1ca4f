"""What the cluster's network plugin gets, and the networks of the layout."""

import ast
import importlib
import ipaddress

import yaml

from infra.onprem.network import network_manifest
from tools.cluster.layout import CONTROL_PLANE, NODES, PODS, SERVICES
from tools.cluster.onprem import PROGRAM
from tools.machines.network import HOST, SUBNET


def test_shells_in_the_network_plugin_keep_their_dollars() -> None:
    text = network_manifest("image:1", PODS, SERVICES, CONTROL_PLANE.ip)
    documents = list(yaml.safe_load_all(text))
    scripts = documents[0]["data"]
    assert "$(sed 's/" in scripts["publish.sh"]
    assert f"-s {PODS} ! -d {PODS}" in scripts["egress.sh"]
    (router,) = (document for document in documents if document["kind"] == "DaemonSet")
    pod = router["spec"]["template"]["spec"]
    assert {container["image"] for container in [*pod["initContainers"], *pod["containers"]]} == {"image:1"}


def test_a_busy_machine_does_not_restart_the_network_plugin() -> None:
    documents = yaml.safe_load_all(network_manifest("image:1", PODS, SERVICES, CONTROL_PLANE.ip))
    (router,) = (document for document in documents if document["kind"] == "DaemonSet")
    (container,) = router["spec"]["template"]["spec"]["containers"]
    probe = container["livenessProbe"]
    assert probe["timeoutSeconds"] == 10
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60


def test_networks_do_not_overlap_and_hold_the_machines() -> None:
    networks = [ipaddress.IPv4Network(network) for network in (SUBNET, PODS, SERVICES)]
    assert not [(a, b) for a in networks for b in networks if a is not b and a.overlaps(b)]
    addresses = {*(node.ip for node in NODES), HOST}
    assert len(addresses) == 4
    assert all(ipaddress.IPv4Address(address) in networks[0] for address in addresses)


def test_the_program_of_the_cluster_imports_existing_names() -> None:
    """The program is in a string, so neither the type checker nor an import checks it."""
    program = ast.parse(PROGRAM)
    names = {
        alias.name: getattr(importlib.import_module(node.module or ""), alias.name)
        for node in ast.walk(program)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    called = {
        node.func.id for node in ast.walk(program) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert called
    assert called <= names.keys()

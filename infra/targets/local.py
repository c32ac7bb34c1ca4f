"""The target `local`: Ray, the Serve application, exporter and Prometheus on this host."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import pulumi
from pulumi import Output, ResourceOptions
from pydantic import SecretStr

from infra import application, documents
from infra.alerts import rules as own_rules
from infra.config import StackConfig
from infra.config_loader import LoadedConfig
from infra.layout import CHECKOUT, Layout
from infra.mistakes import Mistake
from infra.resources.declared import KnowledgeCollection, Process, RayHead, Secret, ServeApplication
from infra.stack_secrets import key_secret_name
from infra.targets import later, preflight
from infra.targets.target import Target
from monitoring import rules_file
from monitoring.addresses import Addresses
from monitoring.groups import GROUPS
from monitoring.rule import Group
from monitoring.scrape import scrape_config
from serving.config import PrometheusServer, SecretRef, ServingConfig, Store
from serving.config.serve_document import APPLICATION, serve_document

PROGRAMS = ("prometheus",)
RULES = "rules.yaml"
LOOPBACK = "127.0.0.1"
PLAIN_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


class LocalSecrets:
    """The stack's secrets, each in its own file."""

    def __init__(
        self, config: StackConfig, layout: Layout, config_secrets: Mapping[str, SecretStr], opts: ResourceOptions
    ) -> None:
        self.api_key_path = layout.secrets / "api_key"
        # The users' API keys are hashed with these secrets, which are kept with the data for that reason.
        self.api_key = Secret("api-key", path=str(self.api_key_path), prefix="hr_", reveal=True, opts=opts)
        self.key_secrets = [
            Secret(key_secret_name(number), path=str(_key_secret_path(layout, number)), keep=True, opts=opts)
            for number in config.key_secret.generated
        ]
        self.ray_token = Secret("ray-token", path=str(layout.secrets / "ray_token"), opts=opts)
        self.configured = [
            Secret(name, path=str(layout.secrets / name), value=value.get_secret_value(), opts=opts)
            for name, value in sorted(config_secrets.items())
        ]

    @property
    def all(self) -> list[Secret]:
        return [self.api_key, *self.key_secrets, self.ray_token, *self.configured]


class LocalStack(pulumi.ComponentResource):
    """All resources of one stack on this host."""

    def __init__(self, name: str, config: StackConfig, layout: Layout, config_secrets: Mapping[str, SecretStr]) -> None:
        super().__init__("headrace:local:Stack", name)
        self._config = config
        self._layout = layout
        self._build = application.build_digest(CHECKOUT, "serving")
        own = ResourceOptions(parent=self)
        self.url = f"http://{config.host}:{config.ports.api}"
        self.dashboard_url = f"http://{LOOPBACK}:{config.ports.dashboard}"
        self.secrets = LocalSecrets(config, layout, config_secrets, own)
        self.ray = self._ray_head()
        self.exporter = self._exporter()
        self.application = self._application()
        if not later.is_later(later.PROMETHEUS):
            self._prometheus()
        self.register_outputs({"url": self.url})

    def _ray_head(self) -> RayHead:
        config, layout = self._config, self._layout
        return RayHead(
            "ray",
            ray=[sys.executable, "-m", "serving.ray_node"],
            version=metadata.version("ray"),
            record=str(layout.record("ray")),
            log=str(layout.log("ray")),
            temp=str(layout.temp),
            token_path=self.secrets.ray_token.path,
            cpus=preflight.logical_cpus(config),
            object_store_bytes=config.ray.object_store_bytes,
            ports={"headrace:ports.api": config.ports.api, "headrace:ports.dashboard": config.ports.dashboard},
            dashboard_port=config.ports.dashboard,
            inner_base=config.ports.ray,
            env={},
            opts=ResourceOptions(parent=self),
        )

    def _exporter(self) -> Process:
        layout, port = self._layout, self._config.ports.exporter
        arguments = ["--dir", str(layout.metrics), "--host", LOOPBACK, "--port", str(port)]
        return Process(
            "exporter",
            argv=[sys.executable, "-m", "serving.telemetry.exporter", *arguments],
            env={**PLAIN_ENVIRONMENT, "HEADRACE_BUILD": self._build},
            cwd=str(CHECKOUT),
            record=str(layout.record("exporter")),
            log=str(layout.log("exporter")),
            ready=f"http://{LOOPBACK}:{port}/healthz",
            opts=ResourceOptions(parent=self),
        )

    def _application(self) -> ServeApplication:
        config, layout = self._config, self._layout
        document = serve_document(
            _serving_config(config, layout),
            application.catalog(config, CHECKOUT),
            host=str(config.host),
            port=config.ports.api,
            env={"PROMETHEUS_MULTIPROC_DIR": str(layout.metrics), "HEADRACE_BUILD": self._build},
        )
        # Gateways read the key when they start. The digest restarts them if it changes.
        [gateway] = [a for a in document["applications"] if a["name"] == APPLICATION]
        gateway["runtime_env"]["env_vars"]["HEADRACE_API_KEY_DIGEST"] = self.secrets.api_key.digest
        return ServeApplication(
            "application",
            url=self.dashboard_url,
            token_path=self.secrets.ray_token.path,
            document=document,
            session=self.ray.session,
            ready=f"{self.url}/readyz",
            metrics=f"http://{LOOPBACK}:{config.ports.exporter}/metrics",
            opts=ResourceOptions(
                parent=self,
                # The exporter creates the folder to which replicas write their metrics.
                depends_on=[*self.secrets.all, self.exporter],
                # Applications end immediately with Ray; deleted one by one, each would drain for 30 s.
                deleted_with=self.ray,
            ),
        )

    def _prometheus(self) -> Process:
        layout, port = self._layout, self._config.ports.prometheus
        settings = layout.state / "prometheus.yml"
        return Process(
            "prometheus",
            argv=[
                _program_path("prometheus"),
                f"--config.file={settings}",
                f"--storage.tsdb.path={layout.data / 'prometheus'}",
                "--storage.tsdb.retention.time=31d",
                "--storage.tsdb.retention.size=1GB",
                f"--web.listen-address={LOOPBACK}:{port}",
            ],
            env=PLAIN_ENVIRONMENT,
            cwd=str(layout.state),
            record=str(layout.record("prometheus")),
            log=str(layout.log("prometheus")),
            ready=f"http://{LOOPBACK}:{port}/-/ready",
            files={
                str(settings): _scrape_config(self._config, self.ray),
                str(settings.with_name(RULES)): rules_file.text(self._rules(), self._addresses()),
            },
            opts=ResourceOptions(parent=self),
        )

    def _rules(self) -> tuple[Group, ...]:
        return (*GROUPS, *own_rules.groups(self._config.alerts, self._config.objectives))

    def _addresses(self) -> Addresses:
        links = self._config.links
        return Addresses(links.runbooks.rstrip("/") or f"{self.url}/admin/runbooks", links.grafana.rstrip("/"))


def prometheus_url(config: StackConfig) -> str:
    """Returns the URL of the Prometheus that the stack runs."""
    return f"http://{LOOPBACK}:{config.ports.prometheus}"


def _program_path(name: str) -> str:
    """Returns the resolved path of a program, since a link on PATH may change."""
    return str(Path(shutil.which(name) or name).resolve())


def _serving_config(config: StackConfig, layout: Layout) -> ServingConfig:
    store = Store(database=_database_url(layout), data=str(layout.data))
    return application.serving_config(
        config,
        store=store,
        key_secret=lambda number: SecretRef(ref=f"file:{_key_secret_path(layout, number)}"),
        api_key=SecretRef(ref=f"file:{layout.secrets / 'api_key'}"),
        multiprocess_dir=str(layout.metrics),
        # If the API listens beyond this host, its URL is that of a TLS proxy, which is unknown here.
        url=f"http://{config.host}:{config.ports.api}" if config.host.is_loopback else "",
        prometheus=config.prometheus if config.prometheus.url else PrometheusServer(url=prometheus_url(config)),
    )


def _key_secret_path(layout: Layout, number: int) -> Path:
    return layout.data / ("key_secret" if number == 1 else f"key_secret_{number}")


def _database_url(layout: Layout) -> str:
    return f"sqlite:///{layout.data / 'headrace.db'}"


def _scrape_config(config: StackConfig, ray: RayHead) -> Output[str]:
    return Output.all(ray.metrics_port, ray.haproxy_metrics_port).apply(
        lambda ports: scrape_config(
            {
                "headrace": f"{LOOPBACK}:{config.ports.exporter}",
                "ray": f"{LOOPBACK}:{int(ports[0])}",
                "haproxy": f"{LOOPBACK}:{int(ports[1])}",
            },
            [RULES],
        )
    )


def mistakes(loaded: LoadedConfig, stack: str) -> list[Mistake]:
    """Reports what the stack lacks on this host, and tools on the stack's own database."""
    layout = Layout.for_stack(stack, loaded.config.state)
    found = application.own_database_mistakes(loaded.config, _database_url(layout))
    programs = () if later.is_later(later.PROMETHEUS) else PROGRAMS
    return [*found, *preflight.mistakes(loaded.config, layout, programs)]


def plan(config: StackConfig, config_secrets: Mapping[str, SecretStr], stack: str) -> Target:
    """Plans the stack on this host."""
    local = LocalStack("local", config, Layout.for_stack(stack, config.state), config_secrets)
    for collection in config.knowledge:
        KnowledgeCollection(
            f"knowledge-{collection.name}",
            url=local.url,
            key_path=local.secrets.api_key.path,
            collection=collection.name,
            root=str(CHECKOUT),
            documents=documents.documents(CHECKOUT, later.paths(collection.paths)),
            restricted=collection.access is not None,
            on_error=collection.on_error,
            # `down` keeps the data; a collection is deleted only when it is removed from the configuration.
            opts=ResourceOptions(parent=local, depends_on=[local.application], deleted_with=local.application),
        )
    prometheus = prometheus_url(config)
    return Target(
        url=local.url,
        api_key=local.secrets.api_key.value,
        prometheus_url=prometheus,
        dashboards={"ray": local.dashboard_url, "prometheus": prometheus, "console": f"{local.url}/admin/dashboards"},
    )

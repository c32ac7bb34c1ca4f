"""Loads a configuration from raw settings, and collects all mistakes in them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_origin

from pydantic import BaseModel, SecretStr, ValidationError

from infra.checks import CHECKS
from infra.cluster_config import MOUNTED_SECRETS
from infra.config import NAMESPACE, SETTING_TARGETS, StackConfig
from infra.mistakes import Mistake, from_pydantic, misspelled


@dataclass(frozen=True)
class LoadedConfig:
    """A configuration, its secrets and its mistakes."""

    config: StackConfig
    """Invalid settings have their default values here."""
    secrets: Mapping[str, SecretStr] = field(default_factory=dict)
    """Secrets from the configuration, by the name of their file."""
    mistakes: Sequence[Mistake] = ()
    invalid: frozenset[str] = frozenset()
    """Names of settings that are not valid by themselves."""


MODEL_SECRETS = ("api_key", "token")
"""Fields of a model that can hold a secret."""

PLAIN_TEXT = "is in plain text"
"""Problem of a secret that Pulumi does not keep encrypted."""


def secret_file(model: str, field_name: str = "api_key") -> str:
    """Returns the name of the file for a secret of `model`."""
    return f"model-{model}-{field_name.replace('_', '-')}"


def load(raw: Mapping[str, Any], secret_keys: frozenset[str], secrets_folder: str) -> LoadedConfig:
    """Loads raw settings, whose names have no namespace.

    `secret_keys` are the settings that Pulumi keeps encrypted. Each secret in the settings is replaced by a
    reference to a file in `secrets_folder`.
    """
    mistakes: list[Mistake] = []
    values = {key: _parse_structured(key, value, mistakes) for key, value in raw.items()}
    secrets = _extract_secrets(values, secret_keys, secrets_folder, mistakes)
    invalid = {m.key for m in mistakes if m.key in values}
    values = {k: v for k, v in values.items() if k not in invalid}
    try:
        config = StackConfig.model_validate(values)
    except ValidationError as error:
        mistakes += from_pydantic(error, StackConfig, values, hidden=secret_keys)
        invalid |= {str(details["loc"][0]) for details in error.errors(include_input=False)}
        invalid |= misspelled(error, StackConfig)
        config = StackConfig.model_validate({k: v for k, v in values.items() if k not in invalid})
    mistakes += [m for settings, check in CHECKS if not settings & invalid for m in check(config)]
    if "target" not in invalid:
        mistakes += _settings_of_other_targets(config, secrets)
    mistakes += _secrets_beside_store(config, secrets)
    return LoadedConfig(config, secrets, mistakes, frozenset(invalid))


STRUCTURED = frozenset(
    name
    for name, field in StackConfig.model_fields.items()
    if get_origin(field.annotation) is tuple
    or (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel))
)


def _parse_structured(key: str, value: Any, mistakes: list[Mistake]) -> Any:
    if key not in STRUCTURED or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        mistakes.append(Mistake(key, "is a string, not a list or mapping", "write it as YAML in Pulumi.<stack>.yaml"))
        return value


@dataclass(frozen=True, slots=True)
class _SecretExtractor:
    """Replaces secrets in settings by references to files in `folder`."""

    secret_keys: frozenset[str]
    folder: str
    mistakes: list[Mistake]
    secrets: dict[str, SecretStr] = field(default_factory=dict)

    def extract(self, holder: Any, field_name: str, file: str, at: str) -> Any:
        """Returns `holder` with a reference in place of a secret in plain text; `at` is the setting's path."""
        value = holder.get(field_name) if isinstance(holder, dict) else None
        if not isinstance(value, str):
            return holder
        self.store(file, value, at, ", or by {ref: file:/path}")
        return {**holder, field_name: {"ref": f"file:{self.folder}/{file}"}}

    def store(self, file: str, value: str, at: str, instead: str = "") -> None:
        """Stores a secret, and reports a mistake if Pulumi does not keep it encrypted."""
        self.secrets[file] = SecretStr(value)
        if re.split(r"[.\[]", at)[0] not in self.secret_keys:
            fix = f"replace it by `pulumi config set --secret --path '{NAMESPACE}:{at}'`{instead}"
            self.mistakes.append(Mistake(at, PLAIN_TEXT, fix))


def _extract_secrets(
    values: dict[str, Any], secret_keys: frozenset[str], folder: str, mistakes: list[Mistake]
) -> dict[str, SecretStr]:
    """Extracts the secrets of models, tools, issuers and the cluster from `values`, which it changes in place."""
    extractor = _SecretExtractor(secret_keys, folder, mistakes)
    for setting, field_name, name in CLUSTER_SECRETS:
        _extract_cluster_secret(values, setting, field_name, name, extractor)
    if isinstance(tools := values.get("tools"), list):
        values["tools"] = [_extract_tool(tool, f"tools[{i}]", extractor) for i, tool in enumerate(tools)]
    oidc = values.get("oidc")
    if isinstance(oidc, dict) and isinstance(issuers := oidc.get("issuers"), list):
        extracted = [_extract_client(issuer, f"oidc.issuers[{i}]", extractor) for i, issuer in enumerate(issuers)]
        values["oidc"] = {**oidc, "issuers": extracted}
    if isinstance(models := values.get("models"), list):
        values["models"] = [_extract_model(model, f"models[{i}]", extractor) for i, model in enumerate(models)]
    return extractor.secrets


def _extract_model(model: Any, at: str, extractor: _SecretExtractor) -> Any:
    for field_name in MODEL_SECRETS if isinstance(model, dict) else ():
        file = secret_file(str(model.get("name")), field_name)
        model = extractor.extract(model, field_name, file, f"{at}.{field_name}")
    return model


def _extract_tool(tool: Any, at: str, extractor: _SecretExtractor) -> Any:
    """Extracts a tool's password and its headers."""
    if not isinstance(tool, dict):
        return tool
    prefix = f"tool-{tool.get('name')}"
    tool = extractor.extract(tool, "password", f"{prefix}-password", f"{at}.password")
    if isinstance(headers := tool.get("headers"), dict):
        for name in headers:
            file, where = f"{prefix}-header-{name}".lower(), f"{at}.headers.{name}"
            headers = extractor.extract(headers, name, file, where)
            headers = {**headers, name: _extract_tenants(headers[name], file, where, extractor)}
        tool = {**tool, "headers": headers}
    return tool


def _extract_tenants(secret: Any, file: str, at: str, extractor: _SecretExtractor) -> Any:
    """Extracts a header's values for each tenant. Their file names contain a dot, which no header name does."""
    if not isinstance(secret, dict):
        return secret
    secret = extractor.extract(secret, "default", file, f"{at}.default")
    tenants = secret.get("tenants")
    if not isinstance(tenants, dict):
        return secret
    for tenant in tenants:
        tenants = extractor.extract(tenants, tenant, f"{file}.{tenant}", f"{at}.tenants.{tenant}")
    return {**secret, "tenants": tenants}


def _extract_client(issuer: Any, at: str, extractor: _SecretExtractor) -> Any:
    if not isinstance(issuer, dict):
        return issuer
    return extractor.extract(issuer, "client_secret", f"oidc-{issuer.get('name')}-client-secret", f"{at}.client_secret")


KUBECONFIG = "kubeconfig"


DATABASE_PASSWORD = "database-password"  # noqa: S105 (a name)


CLUSTER_SECRETS = (
    ("kubernetes", "kubeconfig", KUBECONFIG),
    ("database", "password", DATABASE_PASSWORD),
)
"""Setting, field and secret name of the secrets that only a stack on Kubernetes has."""


def _extract_cluster_secret(
    values: dict[str, Any], setting: str, field_name: str, name: str, extractor: _SecretExtractor
) -> None:
    """Extracts one of the cluster's secrets. A kubeconfig is a secret, and removed, if it is content, not a path."""
    holder = values.get(setting)
    value = holder.get(field_name) if isinstance(holder, dict) else None
    if not isinstance(value, str) or not value or (name == KUBECONFIG and "\n" not in value.strip()):
        return
    remaining = {k: v for k, v in holder.items() if k != field_name} if isinstance(holder, dict) else {}
    reference = {} if name == KUBECONFIG else {field_name: {"ref": f"file:{extractor.folder}/{name}"}}
    values[setting] = remaining | reference
    extractor.store(name, value, f"{setting}.{field_name}")


def _settings_of_other_targets(config: StackConfig, secrets: Mapping[str, SecretStr]) -> list[Mistake]:
    """Reports settings of other targets. Project defaults do not count, though Pulumi passes them like set values."""
    extracted = {setting for setting, _, name in CLUSTER_SECRETS if name in secrets}
    return [
        Mistake(
            setting,
            f"belongs to target {_alternatives(targets)}; this stack's is {config.target}",
            "remove it, or change headrace:target",
        )
        for setting, targets in sorted(SETTING_TARGETS.items())
        if config.target not in targets
        and (getattr(config, setting) != StackConfig.model_fields[setting].default or setting in extracted)
    ]


def _secrets_beside_store(config: StackConfig, secrets: Mapping[str, SecretStr]) -> list[Mistake]:
    """Reports secrets in the configuration of a stack whose secrets all come from a store."""
    if config.kubernetes.external_secret is None:
        return []
    return [
        Mistake(
            "kubernetes.external_secret",
            f"takes all secrets from a store, but the configuration contains the secret {name}",
            f"add it to the store's entry as {name}, and replace it by {{ref: file:{MOUNTED_SECRETS}/{name}}}",
        )
        for name in sorted(secrets)
        if name != KUBECONFIG
    ]


def _alternatives(names: Sequence[str]) -> str:
    return " or ".join((", ".join(names[:-1]), names[-1])) if names[1:] else names[0]

"""From raw settings to a configuration, with every mistake in them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_origin

from pydantic import BaseModel, SecretStr, ValidationError

from infra.checks import CHECKS
from infra.cluster_config import MOUNTED
from infra.config import BELONGS, NAMESPACE, StackConfig
from infra.mistakes import Mistake, from_pydantic


@dataclass(frozen=True)
class Loaded:
    """What a configuration says, as far as it can be read."""

    config: StackConfig
    """Settings that cannot be read have their defaults here."""
    secrets: Mapping[str, SecretStr] = field(default_factory=dict)
    """The secrets that were written in it, by the secret file's name."""
    mistakes: Sequence[Mistake] = ()
    unread: frozenset[str] = frozenset()
    """Settings that cannot be read."""


MODEL_SECRETS = ("api_key", "token")
"""Fields of a model that can hold a secret."""


def secret_file(model: str, field_name: str = "api_key") -> str:
    """Name of the file that holds a secret of `model`."""
    return f"model-{model}-{field_name.replace('_', '-')}"


def load(raw: Mapping[str, Any], secret_keys: frozenset[str], secrets_folder: str) -> Loaded:
    """Turns raw settings (without namespace) into a configuration and every mistake in them.

    `secret_keys` are the settings that Pulumi keeps encrypted. An API key written in a model becomes a
    reference to a file in `secrets_folder`.
    """
    mistakes: list[Mistake] = []
    values = {key: _parsed(key, value, mistakes) for key, value in raw.items()}
    secrets = _take_secrets(values, secret_keys, secrets_folder, mistakes)
    unread = {m.key for m in mistakes if m.key in values}
    values = {k: v for k, v in values.items() if k not in unread}
    try:
        config = StackConfig.model_validate(values)
    except ValidationError as error:
        mistakes += from_pydantic(error, StackConfig, values, hidden=secret_keys)
        unread |= {str(details["loc"][0]) for details in error.errors(include_input=False)}
        config = StackConfig.model_validate({k: v for k, v in values.items() if k not in unread})
    mistakes += [m for settings, check in CHECKS if not settings & unread for m in check(config)]
    if "target" not in unread:
        mistakes += _belongs_elsewhere(config, secrets)
    mistakes += _beside_a_store(config, secrets)
    return Loaded(config, secrets, mistakes, frozenset(unread))


STRUCTURED = frozenset(
    name
    for name, field in StackConfig.model_fields.items()
    if get_origin(field.annotation) is tuple
    or (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel))
)


def _parsed(key: str, value: Any, mistakes: list[Mistake]) -> Any:
    if key not in STRUCTURED or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        mistakes.append(Mistake(key, "is text, not a list or mapping", "write it as YAML in Pulumi.<stack>.yaml"))
        return value


@dataclass(frozen=True, slots=True)
class _Taking:
    """Takes secrets out of settings, and leaves references to files in `folder` in their place."""

    secret_keys: frozenset[str]
    folder: str
    mistakes: list[Mistake]
    taken: dict[str, SecretStr] = field(default_factory=dict)

    def out_of(self, holder: Any, field_name: str, file: str, at: str) -> Any:
        """Returns `holder` with a reference where it has a secret as text; `at` is where it stands."""
        value = holder.get(field_name) if isinstance(holder, dict) else None
        if not isinstance(value, str):
            return holder
        self.keep(file, value, at, ", or by {ref: file:/path}")
        return {**holder, field_name: {"ref": f"file:{self.folder}/{file}"}}

    def keep(self, file: str, value: str, at: str, instead: str = "") -> None:
        """Keeps a secret, and complains where it does not come from Pulumi's secrets."""
        self.taken[file] = SecretStr(value)
        if re.split(r"[.\[]", at)[0] not in self.secret_keys:
            fix = f"replace it by `pulumi config set --secret --path '{NAMESPACE}:{at}'`{instead}"
            self.mistakes.append(Mistake(at, "stands there in plain text", fix))


def _take_secrets(
    values: dict[str, Any], secret_keys: frozenset[str], folder: str, mistakes: list[Mistake]
) -> dict[str, SecretStr]:
    """Replaces secrets of models, tools and issuers by references to files, and takes out the cluster's, in place."""
    taking = _Taking(secret_keys, folder, mistakes)
    for setting, field_name, name in CLUSTER_SECRETS:
        _take_one(values, setting, field_name, name, taking)
    if isinstance(tools := values.get("tools"), list):
        values["tools"] = [_take_tool(tool, f"tools[{i}]", taking) for i, tool in enumerate(tools)]
    oidc = values.get("oidc")
    if isinstance(oidc, dict) and isinstance(issuers := oidc.get("issuers"), list):
        kept = [_take_client(issuer, f"oidc.issuers[{i}]", taking) for i, issuer in enumerate(issuers)]
        values["oidc"] = {**oidc, "issuers": kept}
    if isinstance(models := values.get("models"), list):
        values["models"] = [_take_model(model, f"models[{i}]", taking) for i, model in enumerate(models)]
    return taking.taken


def _take_model(model: Any, at: str, taking: _Taking) -> Any:
    for field_name in MODEL_SECRETS if isinstance(model, dict) else ():
        file = secret_file(str(model.get("name")), field_name)
        model = taking.out_of(model, field_name, file, f"{at}.{field_name}")
    return model


def _take_tool(tool: Any, at: str, taking: _Taking) -> Any:
    """Its password and its headers."""
    if not isinstance(tool, dict):
        return tool
    prefix = f"tool-{tool.get('name')}"
    tool = taking.out_of(tool, "password", f"{prefix}-password", f"{at}.password")
    if isinstance(headers := tool.get("headers"), dict):
        for name in headers:
            file, where = f"{prefix}-header-{name}".lower(), f"{at}.headers.{name}"
            headers = taking.out_of(headers, name, file, where)
            headers = {**headers, name: _take_tenants(headers[name], file, where, taking)}
        tool = {**tool, "headers": headers}
    return tool


def _take_tenants(secret: Any, file: str, at: str, taking: _Taking) -> Any:
    """Takes what tenants have in a header. No header's name has the dot that is in the names of the tenants' files."""
    if not isinstance(secret, dict):
        return secret
    secret = taking.out_of(secret, "default", file, f"{at}.default")
    tenants = secret.get("tenants")
    if not isinstance(tenants, dict):
        return secret
    for tenant in tenants:
        tenants = taking.out_of(tenants, tenant, f"{file}.{tenant}", f"{at}.tenants.{tenant}")
    return {**secret, "tenants": tenants}


def _take_client(issuer: Any, at: str, taking: _Taking) -> Any:
    if not isinstance(issuer, dict):
        return issuer
    return taking.out_of(issuer, "client_secret", f"oidc-{issuer.get('name')}-client-secret", f"{at}.client_secret")


KUBECONFIG = "kubeconfig"


DATABASE_PASSWORD = "database-password"  # noqa: S105 (a name)


CLUSTER_SECRETS = (
    ("kubernetes", "kubeconfig", KUBECONFIG),
    ("database", "password", DATABASE_PASSWORD),
)
"""Setting, field and name of the secrets that a stack on Kubernetes may hold."""


def _take_one(values: dict[str, Any], setting: str, field_name: str, name: str, taking: _Taking) -> None:
    """Replaces one of the cluster's secrets; a kubeconfig is one when it is content, not a path, and goes."""
    holder = values.get(setting)
    value = holder.get(field_name) if isinstance(holder, dict) else None
    if not isinstance(value, str) or not value or (name == KUBECONFIG and "\n" not in value.strip()):
        return
    left = {k: v for k, v in holder.items() if k != field_name} if isinstance(holder, dict) else {}
    reference = {} if name == KUBECONFIG else {field_name: {"ref": f"file:{taking.folder}/{name}"}}
    values[setting] = left | reference
    taking.keep(name, value, f"{setting}.{field_name}")


def _belongs_elsewhere(config: StackConfig, secrets: Mapping[str, SecretStr]) -> list[Mistake]:
    """Settings of another target. Pulumi hands over the project's defaults as if they were set: they do not count."""
    taken = {setting for setting, _, name in CLUSTER_SECRETS if name in secrets}
    return [
        Mistake(
            setting,
            f"belongs to target {_either(targets)}; this stack's is {config.target}",
            "remove it, or change headrace:target",
        )
        for setting, targets in sorted(BELONGS.items())
        if config.target not in targets
        and (getattr(config, setting) != StackConfig.model_fields[setting].default or setting in taken)
    ]


def _beside_a_store(config: StackConfig, secrets: Mapping[str, SecretStr]) -> list[Mistake]:
    """Secrets in the configuration of a stack whose secrets all come from a store."""
    if config.kubernetes.external_secret is None:
        return []
    return [
        Mistake(
            "kubernetes.external_secret",
            f"takes all secrets from a store, and the configuration holds the one of {name}",
            f"put it into the store's entry as {name}, and write {{ref: file:{MOUNTED}/{name}}} in its place",
        )
        for name in sorted(secrets)
        if name != KUBECONFIG
    ]


def _either(names: Sequence[str]) -> str:
    return " or ".join((", ".join(names[:-1]), names[-1])) if names[1:] else names[0]

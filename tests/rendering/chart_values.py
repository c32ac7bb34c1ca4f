"""Values of charts/headrace: each way to run it, and what is refused."""

from __future__ import annotations

from typing import Any

Values = dict[str, Any]

DIGEST = "sha256:" + "1" * 64
HERE = [{"podSelector": {}}]
WEIGHTS = {"engine": "vllm", "name": "a", "pool": "serving"}

FAR = {
    "engine": "remote",
    "name": "far",
    "url": "https://models.example.com/v1",
    "api_key": {"ref": "file:/etc/headrace/secrets/far-key"},
}

VARIANTS: dict[str, Values] = {
    "default": {},
    "redis": {
        "head": {
            "gcs": {"storage": "redis", "redis": {"address": "valkey:6379", "passwordSecret": {"name": "valkey"}}}
        },
        "networkPolicy": {"redis": {"to": HERE}},
    },
    "redis with a user": {
        "head": {"gcs": {"storage": "redis", "redis": {"address": "valkey:6379", "username": "ray"}}},
        "networkPolicy": {"redis": {"to": HERE}},
    },
    "control state in memory": {"head": {"gcs": {"storage": "memory"}}},
    "control state on a shared volume": {"head": {"gcs": {"rocksdb": {"accessMode": "ReadWriteMany"}}}},
    "secrets of a store": {
        "secrets": {"externalSecret": {"store": "vault", "key": "apps/headrace"}, "revision": "2"},
        "catalog": {"models": [FAR]},
    },
    "ingress": {"ingress": {"enabled": True, "host": "a.example.com", "tlsSecret": "tls"}},
    "ingress of a class": {
        "ingress": {"enabled": True, "host": "a.example.com", "tlsSecret": "tls", "className": "nginx"}
    },
    "route of a Gateway that is there": {
        "httpRoute": {
            "enabled": True,
            "hosts": ["a.example.com"],
            "parentRefs": [{"name": "gw", "namespace": "gws", "sectionName": "https"}],
        }
    },
    "bucket": {
        "serving": {"store": {"data": "s3://bucket/prefix", "endpoint": "http://minio:9000"}},
        "networkPolicy": {"bucket": {"to": HERE, "port": 9000}},
    },
    "container in Azure": {
        "serving": {"store": {"data": "az://account/container/prefix"}},
        "networkPolicy": {"bucket": {"to": HERE}, "identity": [{"to": HERE, "ports": [{"port": 443}]}]},
    },
    "bucket by keys": {
        "serving": {"store": {"data": "s3://bucket/prefix"}},
        "secrets": {"bucketCredentials": {"secret": "bucket-keys", "key": "file"}},
        "networkPolicy": {"bucket": {"to": HERE}},
        "knowledge": [{"name": "docs", "files": {"a.md": "QQ=="}}],
        "backup": {"enabled": True, "existingClaim": "backups"},
    },
    "sqlite": {"serving": {"store": {"database": "sqlite:////var/lib/headrace/h.db", "password": None}}},
    "rules and dashboards without links": {
        "monitoring": {"rules": {"enabled": True}, "dashboards": {"enabled": True}},
    },
    "weights and packages from elsewhere": {
        "catalog": {
            "models": [
                WEIGHTS | {"source": "s3://bucket/model", "loras": [{"name": "l", "source": "hf://a/b"}]},
                {"engine": "app", "name": "app", "object": "app:graph", "installs": True, "pool": "serving"},
            ]
        },
        "networkPolicy": {"identity": [{"to": HERE, "ports": [{"port": 80}]}]},
    },
    "no network policies, no migration": {"networkPolicy": {"enabled": False}, "migrate": {"enabled": False}},
    "nobody scrapes": {"networkPolicy": {"metrics": {"from": []}}, "monitoring": {"podMonitor": {"enabled": False}}},
    "pools": {"pools": {"serving": {"replicas": 0}, "second": {"replicas": 2, "gpus": 1, "topologySpread": []}}},
    "another image by its tag": {"pools": {"serving": {"image": {"repository": "example/vllm", "tag": "1"}}}},
    "image by digest": {"image": {"registry": "registry.example.com", "digest": DIGEST}},
    "everything exists": {
        "secrets": {"existingSecret": "mine"},
        "persistence": {"data": {"existingClaim": "data"}},
        "head": {"gcs": {"rocksdb": {"existingClaim": "gcs"}}},
    },
    "nothing is kept": {"persistence": {"retain": False}, "jobs": {"ttlSecondsAfterFinished": None}},
    "backup": {"backup": {"enabled": True, "existingClaim": "backups"}, "jobs": {"ttlSecondsAfterFinished": None}},
    "sealed backup": {"backup": {"enabled": True, "existingClaim": "backups", "key": {"secret": "backup-key"}}},
    "ingestion without an end": {
        "knowledge": [{"name": "a_b.c", "configMaps": [{"name": "documents"}]}],
        "jobs": {"ttlSecondsAfterFinished": None},
    },
    "many documents": {"knowledge": [{"name": "docs", "files": {f"{i}.md": "QUJD" * 200_000 for i in range(4)}}]},
    "another folder of metrics": {"serving": {"multiprocess_dir": "/tmp/metrics"}},
    "a key of the environment": {
        "catalog": {
            "models": [{"engine": "remote", "name": "far", "url": "https://a/v1/", "api_key": {"ref": "env:K"}}]
        }
    },
    "weights of each pod": {"pools": {"serving": {"weights": {"kind": "ephemeral", "size": "20Gi"}}}},
    "weights that pods share": {
        "pools": {
            "serving": {"weights": {"kind": "claim", "size": "20Gi", "storageClass": "shared"}},
            "other": {"weights": {"kind": "claim", "existingClaim": "mine"}},
        }
    },
    "weights in a folder of each node": {
        "pools": {"serving": {"weights": {"kind": "node", "size": "20Gi", "nodePath": "/var/lib/headrace/weights"}}}
    },
    "an adapter, and a secret of a tenant": {
        "catalog": {
            "models": [
                {
                    "engine": "vllm",
                    "name": "llama",
                    "source": "hf://a/b",
                    "pool": "serving",
                    "loras": [{"name": "law", "source": "hf://a/law", "access": {"tenants": ["acme"]}}],
                    "adapters": {"max": 2},
                }
            ],
            "tools": [
                {
                    "kind": "http",
                    "name": "tickets",
                    "description": "Looks up tickets.",
                    "allow": ["https://tickets.example.com/"],
                    "headers": {"Authorization": {"tenants": {"acme": {"ref": "env:A"}}, "default": {"ref": "env:D"}}},
                }
            ],
        },
    },
    "autoscaled down to one": {
        "autoscaling": {"enabled": True},
        "pools": {"serving": {"replicas": 2, "minReplicas": 1}},
        "networkPolicy": {"apiServer": {"to": HERE}},
    },
}
"""Values of each way to run the chart that makes other objects, over the defaults."""


REFUSED_BY_SCHEMA: dict[str, tuple[Values, str]] = {
    "unknown value": ({"replicas": 2}, "additional properties 'replicas' not allowed"),
    "unknown setting": ({"serving": {"limits": {"inflight": 1}}}, r"at '/serving/limits'.*'inflight' not allowed"),
    "unknown engine": ({"catalog": {"models": [{"engine": "tgi"}]}}, r"at '/catalog/models/0/engine'.*must be one of"),
    "model without a source": (
        {"catalog": {"models": [{"engine": "llamacpp", "name": "a"}]}},
        r"at '/catalog/models/0': missing property 'source'",
    ),
    "digest cut short": ({"image": {"digest": "sha256:12"}}, r"at '/image/digest'.*does not match pattern"),
    "number as text": ({"streams": {"drainSeconds": "600"}}, r"at '/streams/drainSeconds': got string, want integer"),
    "no memory limit": ({"head": {"resources": {"limits": {"memory": None}}}}, r"missing property 'memory'"),
    "open load balancer": ({"service": {"type": "LoadBalancer"}}, r"at '/service/sourceRanges'"),
    "no pool": ({"pools": {"serving": None}}, r"at '/pools'"),
    "database with a password in it": (
        {"serving": {"store": {"database": "mysql://x"}}},
        r"at '/serving/store/database'",
    ),
    "documents from two places": (
        {"knowledge": [{"name": "a", "files": {"a.md": "QQ=="}, "configMaps": [{"name": "b"}]}]},
        r"at '/knowledge/0'",
    ),
    "audience that is empty": (
        {"catalog": {"models": [{"name": "m", "engine": "remote", "url": "http://a/", "access": {"tenants": []}}]}},
        r"catalog.models.0.access.tenants",
    ),
}
"""Values that the schema refuses, and what is said."""

REFUSED_BY_TEMPLATES: dict[str, tuple[Values, str]] = {
    "name that is none": ({"nameOverride": "My"}, "the release's full name is 'headrace-My'.*set fullnameOverride"),
    "pool that is no label": ({"pools": {"My_Pool": {}}}, "pools.My_Pool: a pool's name is made of lower case letters"),
    "gateway on no pool": (
        {"serving": {"gateway": {"replicas": 2, "cpus": 1, "pool": "gold"}}},
        "serving.gateway.pool: there is no pool 'gold'; there is serving",
    ),
    "weights on a mirror without a way to it": (
        {"catalog": {"models": [WEIGHTS | {"source": "hf://a/b", "environment": {"HF_ENDPOINT": "http://hub"}}]}},
        r"networkPolicy.models is needed when catalog.models\[0\] fetches hf://a/b from http://hub: say where that is",
    ),
    "weights on a store of one's own without a way to it": (
        {"catalog": {"models": [WEIGHTS | {"source": "s3://a/b", "endpoint": "http://minio:9000"}]}},
        r"networkPolicy.models is needed when catalog.models\[0\] fetches s3://a/b from http://minio:9000",
    ),
    "weights on a volume without a size": (
        {"pools": {"serving": {"weights": {"kind": "claim"}}}},
        "pools.serving.weights.size is needed",
    ),
    "model on no pool": (
        {"catalog": {"models": [{"engine": "vllm", "name": "a", "source": "hf://a/b", "pool": "gpu"}]}},
        r"catalog.models\[0\].pool: there is no pool 'gpu'; there is serving",
    ),
    "streams cut before the pod goes": (
        {"streams": {"hardStopSeconds": 60}},
        "streams.hardStopSeconds must not be below streams.drainSeconds",
    ),
    "tuning where no jobs run": (
        {"serving": {"tuning": {"enabled": True}}},
        "serving.tuning.enabled: only a stack of the target local tunes models",
    ),
    "two ways in": (
        {
            "ingress": {"enabled": True, "host": "a.example.com", "tlsSecret": "tls"},
            "httpRoute": {"enabled": True, "hosts": ["a.example.com"]},
        },
        "cannot be combined",
    ),
    "secrets from two places": (
        {"secrets": {"existingSecret": "mine", "externalSecret": {"store": "vault", "key": "a"}}},
        "secrets.existingSecret and secrets.externalSecret cannot be combined",
    ),
    "a store without an entry": (
        {"secrets": {"externalSecret": {"store": "vault"}}},
        "secrets.externalSecret.key is needed",
    ),
    "an older hash key that nobody gives": (
        {"serving": {"key_secret_previous": {"ref": "file:/etc/headrace/secrets/old"}}},
        "serving.key_secret_previous: nothing gives the secret 'old'; add it to secrets.extra",
    ),
    "ingress without a host": ({"ingress": {"enabled": True, "tlsSecret": "tls"}}, "ingress.host is needed"),
    "ingress in plain text": ({"ingress": {"enabled": True, "host": "a.example.com"}}, "ingress.tlsSecret is needed"),
    "route without hosts": ({"httpRoute": {"enabled": True}}, "httpRoute.hosts is needed"),
    "route to nowhere": (
        {"httpRoute": {"enabled": True, "hosts": ["a.example.com"]}},
        "httpRoute.parentRefs is needed",
    ),
    "gateway of no class": (
        {"httpRoute": {"enabled": True, "hosts": ["a.example.com"], "gateway": {"create": True}}},
        "httpRoute.gateway.className is needed",
    ),
    "backup to nowhere": ({"backup": {"enabled": True}}, "backup.existingClaim"),
    "bucket with network policies": ({"serving": {"store": {"data": "s3://a"}}}, "networkPolicy.bucket.to is needed"),
    "container in Azure by keys": (
        {
            "serving": {"store": {"data": "az://account/container"}},
            "secrets": {"bucketCredentials": {"secret": "bucket-keys"}},
            "networkPolicy": {"bucket": {"to": HERE}},
        },
        "secrets.bucketCredentials is for s3:// and gs://",
    ),
    "database with network policies": (
        {"networkPolicy": {"database": {"to": []}}},
        "networkPolicy.database.to is needed",
    ),
    "measured times": (
        {
            "catalog": {
                "models": [
                    {
                        "engine": "vllm",
                        "name": "large",
                        "source": "hf://example/large",
                        "autoscaling": {"max_replicas": 2, "measured": {"service_s": 6, "first_token_s": 0.4}},
                    }
                ]
            }
        },
        "autoscaling.measured is for Pulumi",
    ),
    "autoscaler with network policies": ({"autoscaling": {"enabled": True}}, "networkPolicy.apiServer.to is needed"),
    "redis with network policies": (
        {"head": {"gcs": {"storage": "redis", "redis": {"address": "valkey:6379"}}}},
        "networkPolicy.redis.to is needed",
    ),
    "redis nowhere": (
        {"head": {"gcs": {"storage": "redis"}}, "networkPolicy": {"redis": {"to": HERE}}},
        "head.gcs.redis.address is needed",
    ),
    "secret that nothing gives": (
        {
            "catalog": {
                "models": [
                    {
                        "engine": "remote",
                        "name": "far",
                        "url": "https://a/v1",
                        "api_key": {"ref": "file:/etc/headrace/secrets/far-key"},
                    }
                ]
            }
        },
        r"catalog.models\[0\].api_key: nothing gives the secret 'far-key'; add it to secrets.extra",
    ),
    "password of a tool that nothing gives": (
        {
            "catalog": {
                "tools": [
                    {
                        "kind": "sql",
                        "name": "sales",
                        "description": "Sales.",
                        "database": "postgresql://r@db/sales",
                        "password": {"ref": "file:/etc/headrace/secrets/sales-password"},
                    }
                ]
            }
        },
        r"catalog.tools\[0\].password: nothing gives the secret 'sales-password'; add it to secrets.extra",
    ),
    "header of a tool that nothing gives": (
        {
            "catalog": {
                "tools": [
                    {
                        "kind": "mcp",
                        "name": "wiki",
                        "url": "https://a/mcp",
                        "headers": {"Authorization": {"ref": "file:/etc/headrace/secrets/wiki"}},
                    }
                ]
            }
        },
        r"catalog.tools\[0\].headers.Authorization: nothing gives the secret 'wiki'; add it to secrets.extra",
    ),
    "header of a tenant that nothing gives": (
        {
            "catalog": {
                "tools": [
                    {
                        "kind": "mcp",
                        "name": "wiki",
                        "url": "https://a/mcp",
                        "headers": {
                            "Authorization": {"tenants": {"acme": {"ref": "file:/etc/headrace/secrets/wiki.acme"}}}
                        },
                    }
                ]
            }
        },
        r"headers.Authorization.tenants.acme: nothing gives the secret 'wiki.acme'; add it to secrets.extra",
    ),
    "collection named twice": (
        {"knowledge": [{"name": "a", "files": {"a.md": "QQ=="}}, {"name": "a", "files": {"b.md": "QQ=="}}]},
        r"knowledge\[1\].name: 'a' is used twice",
    ),
    "document outside": (
        {"knowledge": [{"name": "a", "files": {"../a.md": "QQ=="}}]},
        r"knowledge\[0\].files: '../a.md' must be a relative path",
    ),
    "document that is too large": (
        {"knowledge": [{"name": "a", "files": {"a.md": "QUJD" * 330_000}}]},
        r"knowledge\[0\].files: 'a.md' is too large",
    ),
}
"""What concerns two values at once, or is better said in words than as a pattern; and what is said."""

REFUSED = REFUSED_BY_SCHEMA | REFUSED_BY_TEMPLATES

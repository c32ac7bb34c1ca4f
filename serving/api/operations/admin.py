"""Operations that administer tenants, users, keys, quotas and the like, and report usage."""

from __future__ import annotations

from typing import get_args

from serving.api import admin_bodies as a
from serving.api.operation import Operation, Parameter
from serving.api.parameters import AFTER, DAYS, LIMIT, NAMES, PAGE, TENANT, USER, group_by
from serving.api.quota_bodies import QuotasRequest
from serving.api.routes import audit, erasures, quotas, usage
from serving.api.routes.admin import keys, tenants, users, webhooks
from serving.config import Subject
from serving.protocol.memories import ErasureRequest

ADMIN_OPERATIONS: tuple[Operation, ...] = (
    Operation("POST", "/v1/admin/tenants", tenants.create, a.TenantRequest, scope="platform", audited="tenant.create"),
    Operation("GET", "/v1/admin/tenants", tenants.list_page, query=NAMES, scope="platform"),
    Operation("GET", "/v1/admin/tenants/{tenant_id}", tenants.get, scope="platform"),
    Operation(
        "POST",
        "/v1/admin/tenants/{tenant_id}",
        tenants.update,
        a.TenantUpdate,
        scope="platform",
        audited="tenant.update",
    ),
    Operation(
        "POST",
        "/v1/admin/users",
        users.create,
        a.UserRequest,
        query=(TENANT,),
        scope="admin",
        audited="user.create",
        about_user=True,
    ),
    Operation("GET", "/v1/admin/users", users.list_page, query=(*NAMES, TENANT), scope="admin"),
    Operation("GET", "/v1/admin/users/{user_id}", users.get, query=(TENANT,), scope="admin"),
    Operation(
        "POST",
        "/v1/admin/users/{user_id}",
        users.update,
        a.UserUpdate,
        query=(TENANT,),
        scope="admin",
        audited="user.update",
        about_user=True,
    ),
    Operation(
        "POST", "/v1/admin/keys", keys.create, a.KeyRequest, query=(TENANT,), scope="admin", audited="key.create"
    ),
    Operation(
        "GET",
        "/v1/admin/keys",
        keys.list_page,
        query=(*PAGE, USER, TENANT),
        scope="admin",
    ),
    Operation("GET", "/v1/admin/keys/{key_id}", keys.get, query=(TENANT,), scope="admin"),
    Operation(
        "POST",
        "/v1/admin/keys/{key_id}/revoke",
        keys.revoke,
        query=(TENANT,),
        scope="admin",
        audited="key.revoke",
    ),
    Operation(
        "POST",
        "/v1/admin/keys/{key_id}/rotate",
        keys.rotate,
        a.RotationRequest,
        query=(TENANT,),
        scope="admin",
        audited="key.rotate",
    ),
    Operation(
        "POST",
        "/v1/admin/webhooks",
        webhooks.create,
        a.WebhookRequest,
        query=(TENANT,),
        scope="admin",
        audited="webhook.create",
    ),
    Operation("GET", "/v1/admin/webhooks", webhooks.list_page, query=(*PAGE, TENANT), scope="admin"),
    Operation("GET", "/v1/admin/webhooks/{webhook_id}", webhooks.get, query=(TENANT,), scope="admin"),
    Operation(
        "DELETE",
        "/v1/admin/webhooks/{webhook_id}",
        webhooks.delete,
        query=(TENANT,),
        scope="admin",
        audited="webhook.delete",
    ),
    Operation(
        "POST",
        "/v1/admin/webhooks/{webhook_id}/rotate",
        webhooks.rotate,
        a.RotationRequest,
        query=(TENANT,),
        scope="admin",
        audited="webhook.rotate",
    ),
    Operation("GET", "/v1/usage", usage.own, query=(*DAYS, group_by(*usage.OWN))),
    Operation(
        "GET", "/v1/admin/usage", usage.of_all, query=(*DAYS, group_by(*usage.ALL), USER, TENANT), scope="operate"
    ),
    Operation(
        "GET",
        "/v1/admin/quotas",
        quotas.list_page,
        query=(
            *PAGE,
            TENANT,
            Parameter("subject", {"type": "string", "enum": list(get_args(Subject))}),
            Parameter("id", {"type": "string", "maxLength": 256}),
        ),
        scope="admin",
    ),
    Operation(
        "PUT",
        "/v1/admin/quotas",
        quotas.put,
        QuotasRequest,
        query=(TENANT,),
        scope="admin",
        audited="quota.put",
        own_transaction=True,
    ),
    Operation(
        "DELETE",
        "/v1/admin/quotas",
        quotas.delete,
        query=(Parameter("quota_id", {"type": "string", "maxLength": 64}), TENANT),
        scope="admin",
        audited="quota.delete",
        own_transaction=True,
    ),
    Operation(
        "GET",
        "/v1/admin/audit",
        audit.list_page,
        query=(
            LIMIT,
            Parameter("after", {"type": "string", "pattern": "^[0-9]{1,15}$"}),
            TENANT,
            USER,
            Parameter("action", {"type": "string", "maxLength": 64}),
        ),
        scope="operate",
        audited="audit.read",
    ),
    Operation("GET", "/v1/admin/audit/verify", audit.verify, query=(TENANT,), scope="operate", audited="audit.verify"),
    Operation(
        "POST",
        "/v1/admin/erasures",
        erasures.create,
        ErasureRequest,
        query=(TENANT,),
        scope="admin",
        audited="erasure.create",
        own_transaction=True,
    ),
    Operation("GET", "/v1/admin/erasures", erasures.list_page, query=(LIMIT, AFTER, TENANT), scope="admin"),
    Operation("GET", "/v1/admin/erasures/{erasure_id}", erasures.get, query=(TENANT,), scope="admin"),
)

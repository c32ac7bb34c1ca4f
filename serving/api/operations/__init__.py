"""All operations of the API: the router and the OpenAPI document are generated from this list."""

from __future__ import annotations

from serving.api.operation import Operation, Parameter
from serving.api.operations.admin import ADMIN_OPERATIONS
from serving.api.operations.assistants import ASSISTANT_OPERATIONS
from serving.api.operations.evaluations import EVALUATION_OPERATIONS
from serving.api.operations.own_keys import OWN_KEY_OPERATIONS
from serving.api.operations.prompts import PROMPT_OPERATIONS
from serving.api.operations.releases import RELEASE_OPERATIONS
from serving.api.operations.sharing import SHARE_OPERATIONS
from serving.api.operations.tuning import TUNING_OPERATIONS
from serving.api.operations.vector_stores import VECTOR_STORE_OPERATIONS
from serving.api.operations.versions import VERSION_OPERATIONS
from serving.api.parameters import (
    AFTER,
    ANTHROPIC_VERSION,
    ASSISTANT,
    CONVERSATIONS,
    CSRF_TOKEN,
    FILE_UPLOAD,
    FILES,
    INCLUDE,
    LIMIT,
    MCP_VERSION,
    MODEL,
    OLDEST_FIRST,
    PAGE,
    PASSAGE,
    RESUMABLE,
    SIGN_IN_ANSWER,
    TARGETS,
)
from serving.api.routes import (
    batches,
    chat,
    completions,
    conversations,
    embeddings,
    feedback,
    files,
    health,
    me,
    memories,
    models,
    rerank,
    responses,
    sign_in,
    stored_completions,
    streams,
)
from serving.api.routes.anthropic import messages
from serving.api.routes.mcp import messages as mcp_messages
from serving.protocol.batches import BatchRequest
from serving.protocol.chat import ChatRequest, CompletionRequest
from serving.protocol.conversations import (
    ConversationItemsRequest,
    ConversationRequest,
    ConversationUpdate,
    ForkRequest,
    MetadataUpdate,
)
from serving.protocol.feedback import FeedbackRequest
from serving.protocol.mcp.messages import McpMessage
from serving.protocol.memories import MemoryRequest, MemoryUpdate
from serving.protocol.messages.requests import MessagesRequest, TokenCountRequest
from serving.protocol.rerank import RerankRequest
from serving.protocol.responses import ResponseRequest
from serving.protocol.sign_in import CodeSignIn, KeySignIn
from serving.protocol.vector_stores import EmbeddingRequest

OPERATIONS: tuple[Operation, ...] = (
    Operation("GET", "/healthz", health.alive, authenticated=False),
    Operation("GET", "/readyz", health.ready, authenticated=False, statuses=(200, 503)),
    Operation("GET", "/openapi.json", health.openapi, authenticated=False),
    Operation(
        "GET",
        "/auth/login",
        sign_in.login,
        query=(
            Parameter("next", {"type": "string", "maxLength": 512, "default": "/"}),
            Parameter("provider", {"type": "string", "maxLength": 63}),
        ),
        authenticated=False,
        statuses=(303,),
    ),
    Operation(
        "GET",
        "/auth/callback",
        sign_in.callback,
        query=tuple(Parameter(name, SIGN_IN_ANSWER) for name in ("code", "state", "iss", "error")),
        authenticated=False,
        statuses=(303,),
    ),
    Operation("GET", "/auth/providers", sign_in.providers, authenticated=False),
    Operation("POST", "/auth/key", sign_in.key, KeySignIn, authenticated=False),
    Operation("POST", "/auth/codes", sign_in.make_code, audited="sign_in_code.create"),
    Operation("POST", "/auth/code", sign_in.use_code, CodeSignIn, authenticated=False),
    Operation("GET", "/auth/session", sign_in.session, authenticated=False),
    Operation("GET", "/auth/sessions", sign_in.sessions, authenticated=False),
    Operation("DELETE", "/auth/sessions/{session_id}", sign_in.end_session, headers=(CSRF_TOKEN,), authenticated=False),
    Operation("POST", "/auth/logout", sign_in.logout, headers=(CSRF_TOKEN,), authenticated=False),
    Operation("GET", "/v1/models", models.list_all),
    Operation("GET", "/v1/models/{model}", models.get),
    Operation(
        "POST", "/v1/chat/completions", chat.create, ChatRequest, headers=RESUMABLE, once="lease", scope="inference"
    ),
    Operation(
        "GET",
        "/v1/chat/completions",
        stored_completions.list_page,
        query=(
            *OLDEST_FIRST,
            MODEL,
            Parameter(
                "metadata",
                {"type": "object", "maxProperties": 16, "additionalProperties": {"type": "string", "maxLength": 512}},
                style="deepObject",
            ),
        ),
        scope="data:read",
    ),
    Operation("GET", "/v1/chat/completions/{completion_id}", stored_completions.get, scope="data:read"),
    Operation("POST", "/v1/chat/completions/{completion_id}", stored_completions.update, MetadataUpdate, scope="data"),
    Operation("DELETE", "/v1/chat/completions/{completion_id}", stored_completions.delete, scope="data"),
    Operation(
        "GET",
        "/v1/chat/completions/{completion_id}/messages",
        stored_completions.list_messages,
        query=OLDEST_FIRST,
        scope="data:read",
    ),
    Operation(
        "POST", "/v1/responses", responses.create, ResponseRequest, headers=RESUMABLE, once="lease", scope="inference"
    ),
    Operation("POST", "/v1/responses/input_tokens", responses.count_input, ResponseRequest, scope="inference"),
    Operation(
        "GET",
        "/v1/responses/{response_id}",
        responses.get,
        query=(
            Parameter("stream", {"type": "string", "enum": ["true", "false"], "default": "false"}),
            Parameter("starting_after", {"type": "integer", "minimum": 0}),
        ),
        scope="data:read",
    ),
    Operation("DELETE", "/v1/responses/{response_id}", responses.delete, scope="data"),
    Operation("POST", "/v1/responses/{response_id}/cancel", responses.cancel, scope="inference"),
    Operation("GET", "/v1/responses/{response_id}/input_items", responses.list_input, query=PAGE, scope="data:read"),
    Operation(
        "POST",
        "/v1/completions",
        completions.create,
        CompletionRequest,
        headers=RESUMABLE,
        once="lease",
        scope="inference",
    ),
    Operation(
        "POST",
        "/v1/messages",
        messages.create,
        MessagesRequest,
        headers=(*RESUMABLE, ANTHROPIC_VERSION),
        once="lease",
        scope="inference",
    ),
    Operation(
        "POST",
        "/v1/messages/count_tokens",
        messages.count_tokens,
        TokenCountRequest,
        headers=(ANTHROPIC_VERSION,),
        scope="inference",
    ),
    Operation("POST", "/mcp", mcp_messages.answer, McpMessage, headers=(MCP_VERSION,), statuses=(200, 202)),
    Operation(
        "GET",
        "/v1/streams/{stream_id}",
        streams.follow,
        headers=(Parameter("last-event-id", {"type": "string", "maxLength": 512}),),
        scope="inference",
    ),
    Operation("POST", "/v1/streams/{stream_id}/stop", streams.stop, scope="inference"),
    Operation("DELETE", "/v1/streams/{stream_id}", streams.cancel, scope="inference"),
    Operation("POST", "/v1/embeddings", embeddings.create, EmbeddingRequest, scope="inference"),
    Operation("POST", "/v1/rerank", rerank.create, RerankRequest, scope="inference"),
    Operation(
        "POST",
        "/v1/batches",
        batches.create,
        BatchRequest,
        once="transaction",
        scope="inference",
        audited="batch.create",
    ),
    Operation("GET", "/v1/batches", batches.list_page, query=(LIMIT, AFTER), scope="data:read"),
    Operation("GET", "/v1/batches/{batch_id}", batches.get, scope="data:read"),
    Operation("POST", "/v1/batches/{batch_id}/cancel", batches.cancel, scope="inference", audited="batch.cancel"),
    Operation(
        "POST", "/v1/files", files.create, upload=FILE_UPLOAD, scope="data", audited="file.create", own_transaction=True
    ),
    Operation("GET", "/v1/files", files.list_page, query=FILES, scope="data:read"),
    Operation("GET", "/v1/files/{file_id}", files.get, scope="data:read"),
    Operation("DELETE", "/v1/files/{file_id}", files.delete, scope="data", audited="file.delete"),
    Operation("GET", "/v1/files/{file_id}/content", files.content, scope="data:read"),
    Operation("GET", "/v1/files/{file_id}/text", files.text, query=PASSAGE, scope="data:read"),
    *VECTOR_STORE_OPERATIONS,
    Operation("POST", "/v1/conversations", conversations.create, ConversationRequest, once="transaction", scope="data"),
    Operation("GET", "/v1/conversations", conversations.list_page, query=CONVERSATIONS, scope="data:read"),
    Operation(
        "DELETE",
        "/v1/conversations",
        conversations.delete_all,
        scope="data",
        audited="conversation.delete_all",
        own_transaction=True,
    ),
    Operation("GET", "/v1/conversations/{conversation_id}", conversations.get, scope="data:read"),
    Operation("POST", "/v1/conversations/{conversation_id}", conversations.update, ConversationUpdate, scope="data"),
    Operation(
        "POST",
        "/v1/conversations/{conversation_id}/fork",
        conversations.fork,
        ForkRequest,
        once="transaction",
        scope="data",
    ),
    Operation("GET", "/v1/conversations/{conversation_id}/branches", conversations.branches, scope="data:read"),
    Operation(
        "DELETE",
        "/v1/conversations/{conversation_id}",
        conversations.delete,
        scope="data",
        audited="conversation.delete",
    ),
    Operation(
        "POST",
        "/v1/conversations/{conversation_id}/items",
        conversations.add_items,
        ConversationItemsRequest,
        once="transaction",
        scope="data",
    ),
    Operation(
        "GET",
        "/v1/conversations/{conversation_id}/items",
        conversations.list_items,
        query=(*PAGE, INCLUDE),
        scope="data:read",
    ),
    Operation(
        "GET",
        "/v1/conversations/{conversation_id}/items/{item_id}",
        conversations.get_item,
        query=(INCLUDE,),
        scope="data:read",
    ),
    Operation("DELETE", "/v1/conversations/{conversation_id}/items/{item_id}", conversations.delete_item, scope="data"),
    *SHARE_OPERATIONS,
    *ASSISTANT_OPERATIONS,
    *PROMPT_OPERATIONS,
    Operation("POST", "/v1/feedback", feedback.create, FeedbackRequest, once="transaction", scope="feedback"),
    Operation(
        "GET",
        "/v1/feedback",
        feedback.list_page,
        query=(*PAGE, TARGETS),
        scope="feedback",
    ),
    Operation("GET", "/v1/feedback/{feedback_id}", feedback.get, scope="feedback"),
    Operation("DELETE", "/v1/feedback/{feedback_id}", feedback.delete, scope="feedback"),
    Operation("POST", "/v1/memories", memories.create, MemoryRequest, once="transaction", scope="data"),
    Operation(
        "GET",
        "/v1/memories",
        memories.list_page,
        query=(*PAGE, ASSISTANT),
        scope="data:read",
    ),
    Operation(
        "DELETE", "/v1/memories", memories.delete_all, query=(ASSISTANT,), scope="data", audited="memory.delete_all"
    ),
    Operation("POST", "/v1/memories/{memory_id}", memories.update, MemoryUpdate, scope="data"),
    Operation("DELETE", "/v1/memories/{memory_id}", memories.delete, scope="data", audited="memory.delete"),
    *EVALUATION_OPERATIONS,
    *RELEASE_OPERATIONS,
    Operation("GET", "/v1/me", me.get),
    *OWN_KEY_OPERATIONS,
    *VERSION_OPERATIONS,
    *TUNING_OPERATIONS,
    *ADMIN_OPERATIONS,
)

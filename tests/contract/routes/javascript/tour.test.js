// What an application developer does, with OpenAI's SDK for JavaScript, over every route of the API.
//
// Environment: HEADRACE_URL and HEADRACE_KEY name the API; HEADRACE_ASKED names the file that gets a line
// ("METHOD /path") of each request.

import assert from "node:assert/strict";
import { appendFileSync } from "node:fs";
import { test } from "node:test";

import OpenAI, { toFile } from "openai";

const { HEADRACE_URL: url, HEADRACE_KEY: apiKey, HEADRACE_ASKED: asked } = process.env;

const connect = (options = {}) =>
  new OpenAI({
    baseURL: `${url}/v1`,
    apiKey,
    maxRetries: 0,
    timeout: 60_000,
    fetch: (input, init) => {
      appendFileSync(asked, `${init.method.toUpperCase()} ${new URL(input).pathname}\n`);
      return fetch(input, init);
    },
    ...options,
  });

const client = connect();
const model = "smollm2";
const user = (content) => [{ role: "user", content }];
const rejected = (promise, kind, fields) =>
  assert.rejects(promise, (error) => {
    assert.ok(error instanceof kind, error);
    for (const [name, value] of Object.entries(fields)) assert.equal(error[name], value, error.message);
    return true;
  });
const collect = async (pages) => {
  const all = [];
  for await (const one of pages) all.push(one);
  return all;
};

test("the API is ready and describes itself", async () => {
  // Outside of /v1, which the SDK joins to its base alone.
  const root = connect({ baseURL: url });
  assert.equal((await root.get("/healthz").asResponse()).status, 200);
  assert.equal((await root.get("/readyz").asResponse()).status, 200);
  assert.match((await root.get("/openapi.json")).openapi, /^3\./);
});

test("a program is no browser that signs in", async () => {
  const root = connect({ baseURL: url });
  await rejected(root.get("/auth/login?provider=none"), OpenAI.APIError, { status: 400 });
  await rejected(root.get("/auth/callback"), OpenAI.APIError, { status: 400 });
  await rejected(root.get("/auth/session"), OpenAI.APIError, { status: 401 });
  await rejected(root.post("/auth/logout"), OpenAI.APIError, { status: 401 });
  await rejected(root.get("/auth/sessions"), OpenAI.APIError, { status: 401 });
  await rejected(root.delete("/auth/sessions/ses_none"), OpenAI.APIError, { status: 401 });
  assert.deepEqual((await root.get("/auth/providers")).data, [{ name: "main", label: "main" }]);
  await rejected(root.post("/auth/key", { body: { key: apiKey } }), OpenAI.APIError, { status: 403 });
  const { code } = await root.post("/auth/codes");
  await rejected(root.post("/auth/code", { body: { code } }), OpenAI.APIError, { status: 403 });
});

test("models", async () => {
  const names = (await collect(client.models.list())).map((m) => m.id);
  for (const name of ["docs", "default", model]) assert.ok(names.includes(name), `${names}`);
  assert.equal((await client.models.retrieve("docs")).id, "docs");
});

test("tuning jobs and data sets", async () => {
  const row = { messages: [{ role: "user", content: "Ferry?" }, { role: "assistant", content: "A ship." }] };
  const upload = await toFile(Buffer.from(JSON.stringify(row)), "rows.jsonl");
  const file = await client.files.create({ file: upload, purpose: "fine-tune" });
  const fronts = client.fineTuning.jobs;
  const front = await fronts.create({ model, training_file: file.id });
  assert.deepEqual(await fronts.retrieve(front.id), front);
  assert.ok((await fronts.list()).data.some((each) => each.id === front.id));
  assert.deepEqual((await fronts.listEvents(front.id)).data, []);
  assert.equal((await fronts.cancel(front.id)).status, "cancelled");
  const job = await client.post("/hub/jobs", { body: { method: "quantise", name: "tour-js", base: model } });
  assert.deepEqual(await client.get(`/hub/jobs/${job.id}`), job);
  assert.ok((await client.get("/hub/jobs")).data.some((each) => each.id === job.id));
  assert.deepEqual((await client.get(`/hub/jobs/${job.id}/events`)).data, []);
  assert.equal((await client.post(`/hub/jobs/${job.id}/cancel`)).status, "cancelled");
  const dataset = await client.post("/hub/datasets", { body: { redact: false } });
  assert.deepEqual(await client.get(`/hub/datasets/${dataset.id}`), dataset);
  assert.ok((await client.get("/hub/datasets")).data.some((each) => each.id === dataset.id));
  assert.equal((await client.delete(`/hub/datasets/${dataset.id}`)).status, "retired");
});

test("versions of an adapter", async () => {
  // Safetensors: the length of a JSON header, the header, and the values.
  const halves = { A: [1, 576], B: [576, 1] };
  const tensors = Object.entries(halves).map(([half, shape], n) => [
    `base_model.model.model.layers.0.self_attn.q_proj.lora_${half}.weight`,
    { dtype: "F32", shape, data_offsets: [n * 2304, (n + 1) * 2304] },
  ]);
  const header = Buffer.from(JSON.stringify(Object.fromEntries(tensors)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const form = new FormData();
  form.append("name", "tour-js");
  form.append("base", model);
  form.append("weights", await toFile(Buffer.concat([length, header, Buffer.alloc(4608)]), "a.safetensors"));
  form.append("config", await toFile(Buffer.from('{"peft_type":"LORA","r":1,"lora_alpha":1}'), "a.json"));
  const made = await client.post("/hub/versions", { body: form });
  assert.equal(made.status, "ready");
  const path = `/hub/versions/${made.id}`;
  assert.ok((await client.get("/hub/versions")).data.some((each) => each.id === made.id));
  assert.deepEqual(await client.get(path), made);
  assert.equal((await client.get(`${path}/lineage`)).version.id, made.id);
  assert.equal((await client.get(`${path}/artefacts/adapter.gguf/content`).asResponse()).status, 200);
  const served = await client.post(`${path}/serve`);
  assert.equal(served.live, true);
  assert.deepEqual(await client.get(`${path}/live`), served);
  const consent = await client.post(`${path}/consents`, { body: { tenant: "nobody" } });
  assert.deepEqual((await client.get(`${path}/consents`)).data, [consent]);
  assert.ok((await client.post(`${path}/consents/revoke`, { body: { tenant: "nobody" } })).revoked_at);
  assert.equal((await client.post(`${path}/withdraw`)).live, false);
  assert.equal((await client.post(`${path}/retire`, { body: { delete_artefacts: true } })).bytes, 0);
});

test("suites, evaluations and releases", async () => {
  const prompts = [{ id: "p", messages: "Rhyme.", checks: [{ kind: "length", max_characters: 9 }] }];
  const suite = await client.post("/hub/suites", { body: { name: "tour-js", prompts, max_tokens: 4 } });
  assert.equal((await client.get(`/hub/suites/${suite.id}`)).suite.prompts[0].id, "p");
  assert.ok((await client.get("/hub/suites")).data.some((each) => each.id === suite.id));
  const made = await client.post("/hub/evaluations", { body: { suite: suite.id, model: "clerk" } });
  const url = `/hub/evaluations/${made.id}`;
  assert.ok((await client.get("/hub/evaluations")).data.some((each) => each.id === made.id));
  let found = await client.get(url);
  for (; found.ended_at === null; found = await client.get(url)) await new Promise((wait) => setTimeout(wait, 100));
  assert.deepEqual([found.status, found.done], ["completed", 1]);
  await rejected(client.post(`${url}/cancel`), OpenAI.ConflictError, { status: 409 });
  const release = await client.post("/hub/releases", { body: { alias: "watched", target: "clerk" } });
  for (const change of ["pause", "resume", "promote", "rollback"]) {
    await client.post(`/hub/releases/${release.id}/${change}`, { body: {} });
  }
  assert.equal((await client.get(`/hub/releases/${release.id}`)).status, "rolled_back");
  assert.ok((await client.get("/hub/releases")).data.some((each) => each.id === release.id));
});

test("quotas and usage", async () => {
  const minute = { subject: "model", id: "tour.js", window: "minute", measure: "requests", limit: 1 };
  const made = (await client.put("/admin/quotas", { body: { quotas: [minute] } })).data[0];
  const listed = await client.get("/admin/quotas", { query: { subject: "model", id: "tour.js" } });
  assert.deepEqual(listed.data.map((quota) => quota.limit), [1]);
  const query = { quota_id: made.quota_id };
  assert.equal((await client.delete("/admin/quotas", { query })).deleted, true);
  assert.equal((await client.get("/admin/quotas/defaults")).warn_at, 0.8);
  assert.equal((await client.get("/admin/jobs", { query: { status: "running" } })).object, "list");
  await rejected(client.post("/admin/jobs/job_none/cancel"), OpenAI.NotFoundError, { status: 404 });
  assert.equal((await client.get("/admin/captures")).object, "list");
  await rejected(client.get("/admin/captures/chatcmpl_none"), OpenAI.NotFoundError, { status: 404 });
  await rejected(client.get("/admin/requests/chatcmpl_none"), OpenAI.NotFoundError, { status: 404 });
  assert.ok((await client.get("/admin/models")).data.some((each) => each.engine === "llamacpp"));
  assert.ok((await client.get("/admin/aliases")).data.every((each) => each.targets.length > 0));
  assert.ok((await client.get("/admin/dashboards")).data.length > 1);
  await rejected(client.get("/admin/dashboards/overview"), OpenAI.InternalServerError, { status: 503 });
  await rejected(client.get("/admin/alerts"), OpenAI.InternalServerError, { status: 503 });
  assert.match((await client.get("/admin/alerts/GcsDown")).runbook, /^## What it means/);
  assert.equal((await client.get("/admin/feedback/summary", { query: { by: "model" } })).object, "list");
  assert.equal((await client.get("/usage")).object, "list");
  assert.equal((await client.get("/admin/usage", { query: { by: "user" } })).object, "list");
});

test("a chat", async () => {
  const answer = await client.chat.completions.create({ model, messages: user("Name a heron."), max_tokens: 8 });
  assert.match(answer.id, /^chatcmpl-/);
  assert.ok(answer.choices[0].message.content);
  assert.ok(answer.usage.completion_tokens <= 8);
});

test("a chat as a stream, whose deltas make up the whole", async () => {
  const stream = client.chat.completions.stream({
    model,
    messages: user("Count to five."),
    max_tokens: 24,
    stream_options: { include_usage: true },
  });
  let text = "";
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
  const whole = await stream.finalChatCompletion();
  assert.ok(text);
  assert.equal(whole.choices[0].message.content, text);
  assert.equal((await stream.totalUsage()).completion_tokens, whole.usage.completion_tokens);
});

test("a stream that its reader leaves ends", async () => {
  const stream = await client.chat.completions.create({
    model,
    messages: user("Count to a thousand."),
    max_tokens: 400,
    stream: true,
  });
  for await (const _ of stream) break;
  assert.ok(stream.controller.signal.aborted);
});

test("an answer that satisfies a schema", async () => {
  const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
  const answer = await client.chat.completions.parse({
    model,
    messages: user("The capital of France, as JSON."),
    max_tokens: 64,
    temperature: 0,
    response_format: { type: "json_schema", json_schema: { name: "capital", schema } },
  });
  assert.deepEqual(Object.keys(JSON.parse(answer.choices[0].message.content)), ["city"]);
});

// The smallest of models calls no tools, whatever is asked; this one calls them all (see ../../../stacks/ticker.py).
const caller = "ticker";
const weather = {
  name: "get_weather",
  description: "Returns the weather of a city.",
  parameters: {
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
    additionalProperties: false,
  },
};

test("a tool is called, and its result goes back", async () => {
  const tools = [{ type: "function", function: weather }];
  const messages = user("What is the weather in Orrin?");
  const options = { model: caller, tools };
  const { message, finish_reason } = (
    await client.chat.completions.create({ ...options, messages, tool_choice: "required" })
  ).choices[0];
  assert.equal(finish_reason, "tool_calls");
  const [call] = message.tool_calls;
  assert.equal(call.function.name, "get_weather");
  assert.deepEqual(JSON.parse(call.function.arguments), { city: "Orrin" });
  const result = { role: "tool", tool_call_id: call.id, content: "Rain, 9 degrees." };
  const answer = await client.chat.completions.create({
    ...options,
    messages: [...messages, message, result],
    tool_choice: "none",
  });
  assert.ok(answer.choices[0].message.content);
});

test("a stored completion is found, changed, rated and deleted", async () => {
  const tour = `herons-${Date.now()}`;
  const answer = await client.chat.completions.create({
    model,
    messages: user("Name a heron."),
    max_tokens: 8,
    store: true,
    metadata: { tour },
  });
  const { completions } = client.chat;
  assert.equal((await completions.retrieve(answer.id)).choices[0].message.content, answer.choices[0].message.content);
  assert.deepEqual((await collect(completions.list({ metadata: { tour } }))).map((c) => c.id), [answer.id]);
  assert.deepEqual((await collect(completions.messages.list(answer.id))).map((m) => m.content), ["Name a heron."]);
  assert.deepEqual((await completions.update(answer.id, { metadata: { tour, seen: "yes" } })).metadata.seen, "yes");

  // Feedback is Headrace's own; the SDK sends what it does not know by its verbs.
  const rating = { id: `js-${answer.id}`, target: { type: "response", id: answer.id }, thumb: "up", consent: true };
  const made = await client.post("/feedback", { body: rating });
  assert.equal(made.thumb, "up");
  assert.deepEqual(await client.post("/feedback", { body: rating }), made);
  await rejected(client.post("/feedback", { body: { ...rating, thumb: "down" } }), OpenAI.ConflictError, {});
  assert.deepEqual(await client.get(`/feedback/${made.id}`), made);
  assert.deepEqual((await client.get("/feedback", { query: { target: answer.id } })).data, [made]);
  assert.equal((await client.delete(`/feedback/${made.id}`)).deleted, true);

  assert.equal((await completions.delete(answer.id)).deleted, true);
  await rejected(completions.retrieve(answer.id), OpenAI.NotFoundError, { status: 404 });
});

test("completions", async () => {
  const options = { model, prompt: "The capital of France is", max_tokens: 4, temperature: 0 };
  const whole = (await client.completions.create(options)).choices[0].text;
  assert.match(whole, /Paris/);
  const parts = await collect(await client.completions.create({ ...options, stream: true }));
  assert.equal(parts.map((p) => p.choices[0]?.text ?? "").join(""), whole);
});

test("embeddings, which the SDK asks for in base64", async () => {
  const options = { model: "all-minilm-l6-v2", input: ["a cat", "a bridge"] };
  const { data } = await client.embeddings.create(options);
  const plain = await client.embeddings.create({ ...options, encoding_format: "float" });
  assert.deepEqual(data.map((e) => e.embedding.length), [384, 384]);
  for (const [i, x] of plain.data[1].embedding.entries()) assert.ok(Math.abs(x - data[1].embedding[i]) < 1e-6);
});

test("a model that ranks nothing is asked to rank", async () => {
  const body = { model: "smollm2", query: "a", documents: ["b"] };
  await assert.rejects(client.post("/rerank", { body }), { status: 404, code: "model_not_found" });
});

test("a file is searched in a vector store", async () => {
  const text = "# Ferry\n\nThe ferry of Orrin leaves at a quarter past seven.\n";
  const file = await client.files.create({ file: await toFile(Buffer.from(text), "ferry.md"), purpose: "assistants" });
  const store = await client.vectorStores.create({ name: "javascript" });
  const { files } = client.vectorStores;
  try {
    assert.equal((await client.files.retrieve(file.id)).filename, "ferry.md");
    assert.ok((await collect(client.files.list())).some((f) => f.id === file.id));
    assert.equal(await (await client.files.content(file.id)).text(), text);
    assert.equal((await client.get(`/files/${file.id}/text?start=3&end=5`)).id, file.id);

    const ingested = await files.createAndPoll(store.id, { file_id: file.id }, { pollIntervalMs: 100 });
    assert.equal(ingested.status, "completed");
    assert.deepEqual((await collect(files.list(store.id))).map((f) => f.id), [file.id]);
    const found = await collect(client.vectorStores.search(store.id, { query: "When does the ferry leave?" }));
    assert.equal(found[0].file_id, file.id);
    assert.match(found[0].content[0].text, /quarter past seven/);
    const attributes = { line: "north" };
    assert.deepEqual((await files.update(file.id, { vector_store_id: store.id, attributes })).attributes, attributes);
    const filters = { type: "ne", key: "line", value: "north" };
    assert.deepEqual(await collect(client.vectorStores.search(store.id, { query: "ferry", filters })), []);

    const twice = { query: ["When does the ferry leave?", "ferry"] };
    assert.deepEqual((await collect(client.vectorStores.search(store.id, twice))).map((hit) => hit.file_id), [file.id]);
    const [part] = await collect(files.content(file.id, { vector_store_id: store.id }));
    assert.match(part.text, /The ferry of Orrin leaves/);
    const [chunk] = (await client.get(`/vector_stores/${store.id}/files/${file.id}/chunks`)).data;
    assert.deepEqual([chunk.id, chunk.text], [`${file.id}:0`, part.text]);

    const { fileBatches } = client.vectorStores;
    const poll = { pollIntervalMs: 100 };
    const made = await fileBatches.createAndPoll(store.id, { file_ids: [file.id], attributes: { line: "east" } }, poll);
    assert.deepEqual([made.status, made.file_counts.completed], ["completed", 1]);
    const more = await toFile(Buffer.from("# Tram\n\nThe tram of Orrin leaves at eight.\n"), "tram.md");
    const sent = await fileBatches.uploadAndPoll(store.id, { files: [more], fileIds: [file.id] }, poll);
    assert.deepEqual([sent.status, sent.file_counts.completed], ["completed", 2]);
    const of = { vector_store_id: store.id };
    const listed = (await collect(fileBatches.listFiles(sent.id, { ...of, limit: 1 }))).map((one) => one.id);
    assert.equal(listed.length, 2);
    assert.deepEqual(await fileBatches.cancel(sent.id, of), await fileBatches.retrieve(sent.id, of));
    for (const id of listed) if (id !== file.id) await client.files.delete(id);

    assert.equal((await client.vectorStores.update(store.id, { name: "renamed" })).name, "renamed");
    assert.equal((await client.vectorStores.retrieve(store.id)).file_counts.completed, 1);
    assert.ok((await collect(client.vectorStores.list())).some((s) => s.id === store.id));
    assert.equal((await files.delete(file.id, { vector_store_id: store.id })).deleted, true);
  } finally {
    await client.vectorStores.delete(store.id);
    await client.files.delete(file.id);
  }
  await rejected(client.files.retrieve(file.id), OpenAI.NotFoundError, { status: 404 });
  await rejected(client.vectorStores.retrieve(store.id), OpenAI.NotFoundError, { status: 404 });
});

test("a conversation is made, edited and gone on with", async () => {
  const { conversations } = client;
  const { items } = conversations;
  const { id } = await conversations.create({ metadata: { topic: "herons" } });
  await items.create(id, { items: user("My name is Ada.") });
  const answer = await client.chat.completions.create({
    model,
    messages: user("What is my name?"),
    max_tokens: 8,
    conversation: id, // Headrace's own
  });
  assert.deepEqual(answer.choices[0].message.headrace.memory, { turns: 1, left_out: 0 });
  const said = await collect(items.list(id, { order: "asc", limit: 1 })); // page by page
  assert.deepEqual(said.map((i) => i.role), ["user", "user", "assistant"]);
  assert.deepEqual(await items.retrieve(said[0].id, { conversation_id: id }), said[0]);
  await items.delete(said[0].id, { conversation_id: id });
  assert.deepEqual((await conversations.update(id, { metadata: { topic: "ibises" } })).metadata, { topic: "ibises" });
  assert.equal((await conversations.retrieve(id)).metadata.topic, "ibises");
  const fork = await client.post(`/conversations/${id}/fork`, { body: { after: said[1].id } });
  assert.equal(fork.headrace.forked_from, id);
  const branches = (await client.get(`/conversations/${id}/branches`)).data;
  assert.deepEqual(branches.map((each) => each.id), [id, fork.id]);
  assert.ok((await client.get("/conversations")).data.some((each) => each.id === fork.id));
  const share = await client.post("/shares", { body: { conversation: fork.id } });
  assert.deepEqual((await client.get(`/shares?conversation=${fork.id}`)).data, [share]);
  assert.deepEqual(await client.get(`/shares/${share.id}`), share);
  const shared = (await client.get(`/shares/${share.id}/items`)).data;
  assert.equal(shared.at(-1).role, said[1].role);
  assert.equal((await client.delete(`/shares/${share.id}`)).deleted, true);
  await rejected(client.get(`/shares/${share.id}`), OpenAI.NotFoundError, { status: 404 });
  assert.equal((await conversations.delete(id)).deleted, true);
  await rejected(conversations.retrieve(id), OpenAI.NotFoundError, { status: 404 });
  assert.ok((await client.delete("/conversations")).deleted >= 1);
});

test("messages in Anthropic's shape", async () => {
  const body = { model, messages: user("Name a heron.") };
  const { usage, type } = await client.post("/messages", { body: { ...body, max_tokens: 4 } });
  const { input_tokens } = await client.post("/messages/count_tokens", { body });
  assert.deepEqual([type, usage.input_tokens + usage.cache_read_input_tokens], ["message", input_tokens]);
});

test("tools by the Model Context Protocol", async () => {
  const body = { jsonrpc: "2.0", id: 1, method: "tools/list" };
  const { tools } = (await connect({ baseURL: url }).post("/mcp", { body })).result;
  assert.ok(tools.some((tool) => tool.name === "search"));
});

test("responses are a chain", async () => {
  const { responses } = client;
  const options = { model, max_output_tokens: 16 };
  const first = await responses.create({ ...options, input: "My name is Ada." });
  assert.ok(first.output_text);
  const stream = responses.stream({ ...options, input: "Who am I?", previous_response_id: first.id });
  const events = await collect(stream);
  assert.deepEqual(events.map((e) => e.sequence_number), [...events.keys()]);
  const second = await stream.finalResponse();
  const deltas = events.filter((e) => e.type === "response.output_text.delta").map((e) => e.delta);
  assert.equal(second.output_text, deltas.join(""));
  assert.deepEqual((await responses.retrieve(second.id)).output.map((o) => o.id), second.output.map((o) => o.id));
  const input = await collect(responses.inputItems.list(second.id));
  assert.deepEqual(input.map((i) => i.content[0].text), ["Who am I?"]);
  const alone = await responses.inputTokens.count({ model, input: "Go on." });
  const after = await responses.inputTokens.count({ model, input: "Go on.", previous_response_id: second.id });
  assert.ok(alone.input_tokens < after.input_tokens);
  await rejected(responses.cancel(second.id), OpenAI.BadRequestError, { status: 400 });
  for (const { id } of [first, second]) await responses.delete(id);
  await rejected(responses.retrieve(first.id), OpenAI.NotFoundError, { status: 404 });
});

test("a response is answered in the background", async () => {
  const { responses } = client;
  const queued = await responses.create({ model, max_output_tokens: 16, input: "Name a heron.", background: true });
  assert.equal(queued.status, "queued");
  const events = await collect(await responses.retrieve(queued.id, { stream: true }));
  const { response } = events.at(-1);
  assert.deepEqual((await responses.cancel(queued.id)).status, response.status); // what has ended stays
  await responses.delete(queued.id);
});

test("a batch has one result for each line", async () => {
  const { batches, files } = client;
  const body = { model, messages: user("Name a heron."), max_tokens: 4 };
  const endpoint = "/v1/chat/completions";
  const lines = ["a", "b"].map((id) => JSON.stringify({ custom_id: id, method: "POST", url: endpoint, body }));
  const file = await files.create({ file: await toFile(Buffer.from(lines.join("\n")), "in.jsonl"), purpose: "batch" });
  const { id } = await batches.create({ input_file_id: file.id, endpoint, completion_window: "24h" });
  assert.ok((await collect(batches.list({ limit: 1 }))).some((one) => one.id === id));
  let batch;
  do {
    await new Promise((resolve) => setTimeout(resolve, 200));
    batch = await batches.retrieve(id);
  } while (!batch.output_file_id);
  const told = (await (await files.content(batch.output_file_id)).text()).trim().split("\n").map(JSON.parse);
  assert.deepEqual(told.map((line) => line.custom_id), ["a", "b"]);
  await rejected(batches.cancel(id), OpenAI.ConflictError, { status: 409 });
});

test("a response calls a function, and its output goes back", async () => {
  const options = { model: caller, tools: [{ type: "function", strict: null, ...weather }] };
  const asked = await client.responses.create({
    ...options,
    input: "What is the weather in Orrin?",
    tool_choice: "required",
  });
  const call = asked.output.find((item) => item.type === "function_call");
  assert.equal(call.name, "get_weather");
  assert.deepEqual(JSON.parse(call.arguments), { city: "Orrin" });
  const answered = await client.responses.create({
    ...options,
    input: [{ type: "function_call_output", call_id: call.call_id, output: "Rain, 9 degrees." }],
    previous_response_id: asked.id,
    tool_choice: "none",
  });
  assert.ok(answered.output_text);
});

test("a stream is read again after its connection", async () => {
  const request = { model, messages: user("Name a heron."), max_tokens: 4, stream: true };
  const options = { headers: { "headrace-resumable": "true" } };
  const { data, response } = await client.chat.completions.create(request, options).withResponse();
  const id = response.headers.get("headrace-stream");
  const said = (await collect(data)).map((chunk) => chunk.choices[0].delta.content ?? "").join("");
  const again = await (await client.get(`/streams/${id}`).asResponse()).text();
  const chunks = [...again.matchAll(/^data: ({.*})$/gm)].map((line) => JSON.parse(line[1]));
  assert.equal(chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join(""), said);
  assert.equal((await client.post(`/streams/${id}/stop`)).stopped, true);
  assert.equal((await client.delete(`/streams/${id}`)).deleted, true);
  await rejected(client.delete(`/streams/${id}`), OpenAI.APIError, { status: 410 });
});

test("assistants, which are Headrace's own", async () => {
  const made = await client.post("/assistants", { body: { name: "bard", model: "smollm2", max_tokens: 8 } });
  const url = `/assistants/${made.id}`;
  const second = await client.post(`${url}/versions`, { body: { model: "smollm2", max_tokens: 4 } });
  assert.equal(second.version, 2);
  assert.equal((await client.get(`${url}/versions`)).data.length, 2);
  assert.equal((await client.post(url, { body: { version: 1 } })).max_tokens, 8);
  assert.equal((await client.get("/assistants")).data[0].id, made.id);
  assert.equal((await client.get(url)).name, "bard");
  assert.equal((await client.responses.create({ model: "bard", input: "Rhyme." })).model, "bard");
  assert.equal((await client.delete(url)).deleted, true);
  await rejected(client.delete(url), OpenAI.NotFoundError, { status: 404 });
});

test("prompts, which a response names as OpenAI's", async () => {
  const made = await client.post("/prompts", { body: { name: "verses", text: "Rhyme on {{word}}." } });
  const url = `/prompts/${made.id}`;
  assert.equal((await client.post(`${url}/versions`, { body: { text: "Rhyme on {{word}}, briefly." } })).version, 2);
  assert.equal((await client.put(`${url}/labels/production`, { body: { version: 1 } })).version, 1);
  assert.equal((await client.get(`${url}/versions`)).data.length, 2);
  assert.equal((await client.get(`${url}/versions/production`)).version, 1);
  assert.equal((await client.get("/prompts")).data[0].id, made.id);
  assert.equal((await client.post(url, { body: { description: "For poets" } })).description, "For poets");
  assert.deepEqual((await client.get(url)).labels, { production: 1 });
  const variables = { word: "tide" };
  assert.equal((await client.post(`${url}/render`, { body: { variables } })).text, "Rhyme on tide.");
  const prompt = { id: made.id, variables };
  const answer = await client.responses.create({ model: "smollm2", input: "Now.", prompt, max_output_tokens: 8 });
  assert.deepEqual([answer.prompt.id, answer.prompt.version], [made.id, "1"]);
  assert.equal((await client.delete(`${url}/labels/production`)).deleted, true);
  assert.equal((await client.delete(url)).deleted, true);
  await rejected(client.delete(url), OpenAI.NotFoundError, { status: 404 });
});

test("memories, which are Headrace's own", async () => {
  const made = await client.post("/memories", { body: { assistant: "friend", text: "Likes herons." } });
  assert.equal((await client.post(`/memories/${made.id}`, { body: { text: "Likes ibises." } })).text, "Likes ibises.");
  const { data } = await client.get("/memories", { query: { assistant: "friend" } });
  assert.ok(data.some((m) => m.id === made.id && m.text === "Likes ibises."));
  assert.equal((await client.delete(`/memories/${made.id}`)).deleted, true);
  await rejected(client.delete(`/memories/${made.id}`), OpenAI.NotFoundError, { status: 404 });
  assert.equal((await client.delete("/memories", { query: { assistant: "friend" } })).object, "memories.deleted");
  assert.equal((await client.get(`/me/deletions/${made.id}`)).status, "finished");
  assert.ok((await client.get("/me/deletions")).data.some((each) => each.id === made.id));
});

test("tenants, users and keys, which are Headrace's own", async () => {
  assert.equal((await client.get("/me")).tenant, "default");
  const id = `tour-${crypto.randomUUID()}`; // tenants and users stay
  assert.equal((await client.post("/admin/tenants", { body: { id } })).name, id);
  assert.equal((await client.get(`/admin/tenants/${id}`)).disabled, false);
  assert.equal((await client.get("/admin/tenants", { query: { limit: 1 } })).data[0].id, id);
  const query = { tenant: id };
  await client.post("/admin/users", { query, body: { id: "ada" } });
  assert.equal((await client.get("/admin/users/ada", { query })).role, "user");
  assert.deepEqual((await client.get("/admin/users", { query })).data.map((user) => user.id), ["ada"]);
  const changed = await client.post("/admin/users/ada", { query, body: { groups: ["herons"] } });
  assert.deepEqual(changed.groups, ["herons"]);
  assert.deepEqual((await client.get("/admin/users/ada/sessions", { query })).data, []);
  assert.equal((await client.delete("/admin/users/ada/sessions", { query })).deleted, 0);

  const made = await client.post("/admin/keys", { query, body: { user: "ada", scopes: ["inference"] } });
  const theirs = connect({ apiKey: made.key });
  assert.deepEqual((await theirs.get("/me")).scopes, ["inference"]);
  await rejected(theirs.get("/memories"), OpenAI.PermissionDeniedError, { status: 403, code: "insufficient_scope" });
  const own = await theirs.post(`/me/keys/${made.id}/rotate`, { body: { overlap_s: 60 } });
  assert.ok((await theirs.post(`/me/keys/${own.id}/confirm`)).confirmed);
  assert.equal((await theirs.get("/me/keys")).data.length, 2);
  assert.ok((await theirs.post(`/me/keys/${own.id}/revoke`)).revoked_at);
  const first = await client.post("/admin/keys", { query, body: { user: "ada" } });
  const second = await client.post(`/admin/keys/${first.id}/rotate`, { query, body: { overlap_s: 60 } });
  assert.equal((await client.get(`/admin/keys/${first.id}`, { query })).rotated_to, second.id);
  assert.equal((await client.get("/admin/keys", { query })).data.length, 4);
  assert.ok((await client.post(`/admin/keys/${second.id}/revoke`, { query })).revoked_at);
  const asked = { url: "https://hooks.example.com/", events: ["batch.completed"] };
  const hook = await client.post("/admin/webhooks", { query, body: asked });
  assert.deepEqual((await client.get(`/admin/webhooks/${hook.id}`, { query })).events, asked.events);
  assert.equal((await client.get("/admin/webhooks", { query })).data.length, 1);
  const next = await client.post(`/admin/webhooks/${hook.id}/rotate`, { query, body: { overlap_s: 60 } });
  assert.notEqual(next.secret, hook.secret);
  assert.ok((await client.delete(`/admin/webhooks/${hook.id}`, { query })).deleted);
  assert.equal((await client.post(`/admin/tenants/${id}`, { body: { disabled: true } })).disabled, true);
});

test("the audit log and erasures, which are Headrace's own", async () => {
  const made = await client.post("/admin/erasures", { body: { user: "nobody", dry_run: true } });
  assert.equal((await client.get(`/admin/erasures/${made.id}`)).dry_run, true);
  assert.ok((await client.get("/admin/erasures")).data.some((e) => e.id === made.id));
  const { data } = await client.get("/admin/audit", { query: { action: "erasure.create" } });
  assert.equal(data[0].target, made.id);
  assert.equal((await client.get("/admin/audit/verify")).valid, true);
  const exported = await (await client.get("/admin/audit/export").asResponse()).text();
  assert.ok(JSON.parse(exported.trim().split("\n").at(-1)).anchor);
});

test("errors are of the SDK's types", async () => {
  const wrong = connect({ apiKey: "sk-wrong" });
  await rejected(wrong.models.list(), OpenAI.AuthenticationError, { status: 401, type: "authentication_error" });
  const messages = user("x");
  const { completions } = client.chat;
  await rejected(completions.create({ model: "nope", messages }), OpenAI.NotFoundError, {
    code: "model_not_found",
    param: "model",
  });
  for (const stream of [false, true]) {
    await rejected(completions.create({ model, messages, temperature: 3, stream }), OpenAI.BadRequestError, {
      type: "invalid_request_error",
      param: "temperature",
    });
  }
  await rejected(client.responses.create({ model, input: [] }), OpenAI.BadRequestError, { param: "input" });
  await rejected(client.get("/nothing"), OpenAI.NotFoundError, { status: 404 });
});

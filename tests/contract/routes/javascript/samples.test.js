// The samples that the AI SDK's packages document, as they stand in the documentation inside of the packages. Of each,
// the model and its provider are filled in, and base URL and key come from the environment: nothing else is changed.
//
// Environment: OPENAI_BASE_URL and OPENAI_API_KEY, which the AI SDK reads; PROVIDER_API_KEY, which its samples read.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { createOpenAI, openai } from "@ai-sdk/openai";
import { generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";

const CORE = "ai/docs/03-ai-sdk-core";
const TEXT = `${CORE}/05-generating-text.mdx`;
const TOOLS = `${CORE}/15-tools-and-tool-calling.mdx`;
const DATA = `${CORE}/10-generating-structured-data.mdx`;
const EMBEDDINGS = `${CORE}/30-embeddings.mdx`;
const OPENAI = "@ai-sdk/openai/docs/03-openai.mdx";
const COMPATIBLE = "@ai-sdk/openai-compatible/docs/index.mdx";

const model = "clerk"; // see ../whole.py
const embedder = "all-minilm-l6-v2";
const provider =
  "const provider = createOpenAICompatible({ name: 'headrace', baseURL: process.env.OPENAI_BASE_URL, " +
  "apiKey: process.env.PROVIDER_API_KEY, supportsStructuredOutputs: true, includeUsage: true });";
const fromOpenai = "import { openai } from '@ai-sdk/openai';";
const fromCompatible = `import { createOpenAICompatible } from '@ai-sdk/openai-compatible';\n${provider}`;

// By what the AI SDK calls them: how a sample's placeholders are filled in.
const PROVIDERS = {
  openai: [fromOpenai, `openai('${model}')`],
  "openai.chat": [fromOpenai, `openai.chat('${model}')`],
  "openai-compatible": [fromCompatible, `provider('${model}')`],
  "openai.completion": [fromOpenai, "openai.completion('smollm2')"],
};

/** Returns the one sample of a page that has all of these texts in it, and is complete. */
const sample = (page, ...texts) => {
  const source = readFileSync(`node_modules/${page}`, "utf8");
  const blocks = [...source.matchAll(/```tsx?[^\n]*\n(.*?)```/gs)].map((block) => block[1]);
  const found = blocks.filter((block) => texts.every((text) => block.includes(text)) && !block.includes("// ..."));
  assert.ok(found.length, `${page} has no sample with ${texts}`);
  return found[0];
};

const NAMES = ["text", "result", "output", "steps", "embedding", "embeddings", "partialOutputStream"];
let written = 0;

/** Runs a sample and returns what it named. */
const run = async (code, [imported, chosen]) => {
  const filled = code
    .replace("__PROVIDER_IMPORT__;", imported)
    .replaceAll("__MODEL__", chosen)
    .replace(/'gpt-[^']+'/g, `'${model}'`)
    .replaceAll("'https://api.provider.com/v1'", "process.env.OPENAI_BASE_URL")
    .replace("'model-id'", `'${model}'`)
    .replace("'completion-model-id'", "'smollm2'")
    .replace("'text-embedding-model'", `'${embedder}'`);
  const named = NAMES.map((name) => `${name}: typeof ${name} === "undefined" ? undefined : ${name}`);
  const file = `sample${written++}.mjs`;
  writeFileSync(file, `${filled}\nexport default { ${named.join(", ")} };\n`);
  const log = console.log;
  console.log = () => {}; // what a sample prints would stand in the report
  try {
    return (await import(pathToFileURL(file))).default;
  } finally {
    console.log = log;
  }
};

const recipe = ({ recipe }) => assert.deepEqual(recipe.ingredients, [{ name: "Orrin", amount: "Orrin" }]);

for (const [name, filled] of Object.entries(PROVIDERS)) {
  test(`${name}: text, whole and as a stream`, async () => {
    const { text } = await run(sample(TEXT, "generateText", "lasagna"), filled);
    assert.ok(text);
    const { result } = await run(sample(TEXT, "streamText", "for await (const textPart of result.textStream)"), filled);
    assert.ok(await result.text);
    assert.ok((await result.usage).outputTokens > 0);
  });

  if (name === "openai.completion") continue; // completions have neither tools nor schemas

  test(`${name}: tools in several steps`, async () => {
    const { text, steps } = await run(sample(TOOLS, "const { text, steps } = await", "isStepCount(5)"), filled);
    assert.equal(steps.length, 2);
    assert.equal(steps[0].toolCalls[0].toolName, "weather");
    assert.match(text, /"location":"Orrin","temperature":\d+/);
  });

  test(`${name}: structured data, whole and as a stream`, async () => {
    recipe((await run(sample(DATA, "const { output } = await generateText", "recipe: z.object"), filled)).output);
    assert.ok((await run(sample(DATA, "partialOutputStream", "recipe: z.object"), filled)).partialOutputStream);
  });
}

test("the samples of the providers' own pages", async () => {
  for (const page of [OPENAI, COMPATIBLE]) {
    const { text } = await run(sample(page, "import { generateText }", "import {", "lasagna recipe", "const { text }"), [
      fromOpenai,
      `openai('${model}')`,
    ]);
    assert.match(text, /^You asked Write a vegetarian lasagna recipe/);
  }
  const completed = await run(sample(COMPATIBLE, "import { generateText }", "provider.completionModel("), ["", ""]);
  assert.ok(completed.text);
  const embedded = await run(sample(COMPATIBLE, "import { embed }", "provider.embeddingModel("), ["", ""]);
  assert.equal(embedded.embedding.length, 384);
});

test("embeddings", async () => {
  const code = sample(EMBEDDINGS, "const { embeddings } = await embedMany", "snowy night");
  const named = code.replace("'openai/text-embedding-3-small'", `openai.embeddingModel('${embedder}')`);
  const { embeddings } = await run(`${fromOpenai}\n${named}`, ["", ""]);
  assert.deepEqual(embeddings.map((one) => one.length), [384, 384, 384]);
});

// The page shows the calls of a conversation, and no whole one: "Response Messages" of TOOLS.
for (const chosen of [openai(model), openai.chat(model)]) {
  test(`${chosen.provider}: a conversation goes on after calls of tools`, async () => {
    const tools = {
      weather: tool({
        description: "Get the weather in a location",
        inputSchema: z.object({ location: z.string() }),
        execute: async ({ location }) => ({ location, temperature: 9 }),
      }),
    };
    const messages = [];
    for (const question of ["What is the weather in Orrin?", "And the weather tomorrow?"]) {
      messages.push({ role: "user", content: question });
      const asked = { model: chosen, tools, stopWhen: isStepCount(3), messages };
      const { text, responseMessages } = await generateText(asked);
      assert.match(text, /^It returned .*"temperature":9/);
      messages.push(...responseMessages);
    }
    messages.push({ role: "user", content: "Thank you." });
    const streamed = streamText({ model: chosen, tools, toolChoice: "none", messages });
    assert.match(await streamed.text, /^You asked What is the weather in Orrin\? and And the weather tomorrow\?/);
  });
}

test("answers from a vector store", async () => {
  const { data } = await (
    await fetch(`${process.env.OPENAI_BASE_URL}/vector_stores?name=docs`, {
      headers: { authorization: `Bearer ${process.env.OPENAI_API_KEY}` },
    })
  ).json();
  const { sources, text } = await generateText({
    model: createOpenAI()("smollm2"),
    prompt: "When does the bakery of Brenna bake rye bread?",
    maxOutputTokens: 60,
    tools: { file_search: openai.tools.fileSearch({ vectorStoreIds: [data[0].id], maxNumResults: 2 }) },
    providerOptions: { openai: { include: ["file_search_call.results"] } },
  });
  assert.ok(text);
  assert.ok(sources.every((source) => source.filename === "bread.md"));
});

// Vector stores: how much of each is ingested, and why files failed.

import type { VNode } from "preact";
import { json } from "../../api/http";
import { c } from "../../i18n/console";
import type { List } from "../list";
import { Listing } from "../listing";
import { bytes, Code, number, State, Time, Words } from "../values";

interface Store {
  id: string;
  name: string;
  created_at: number;
  status: string;
  usage_bytes: number;
  file_counts: { in_progress: number; completed: number; failed: number; total: number };
  headrace: { owner: string; access: object | null };
}

interface StoreFile {
  id: string;
  status: string;
  usage_bytes: number;
  created_at: number;
  last_error: { code: string; message: string } | null;
}

const list: List<Store> = {
  title: "vectorStores",
  path: "/v1/vector_stores",
  filters: [{ name: "name", label: "nameIs" }],
  unfinished: ({ status }) => status === "in_progress",
  id: ({ id }) => id,
  name: ({ name }) => name,
  columns: [
    { label: "name", of: ({ id, name }) => <><Words>{name}</Words> <Code>{id}</Code></> },
    { label: "owner", of: ({ headrace }) => <Words>{headrace.owner}</Words> },
    { label: "state", of: ({ status }) => <State of={status} /> },
    { label: "files", number: true, of: ({ file_counts }) => number(file_counts.total) },
    { label: "waiting", number: true, of: ({ file_counts }) => number(file_counts.in_progress) },
    { label: "failed", number: true, of: ({ file_counts }) => number(file_counts.failed) },
    { label: "size", number: true, of: ({ usage_bytes }) => bytes(usage_bytes) },
    { label: "created", of: ({ created_at }) => <Time at={created_at} /> },
  ],
  acts: [
    { label: "files", shows: ({ id }) => <Listing inside list={filesOf(id)} /> },
    {
      label: "failedFiles",
      when: ({ file_counts }) => file_counts.failed > 0,
      shows: ({ id }) => <Listing inside list={filesOf(id, "failed")} />,
    },
    {
      label: "rename",
      scope: "data",
      fields: ({ name }) => [{ name: "name", label: "name", required: true, value: name }],
      does: ({ id }, { name }) => json("POST", `/v1/vector_stores/${id}`, { body: { name } }),
    },
    {
      label: "delete",
      scope: "data",
      danger: true,
      question: ({ name }) => c("deleteStore", { name }),
      does: ({ id }) => json("DELETE", `/v1/vector_stores/${id}`),
    },
  ],
};

function filesOf(store: string, filter = ""): List<StoreFile> {
  const path = `/v1/vector_stores/${store}/files`;
  return {
    title: "files",
    path,
    fixed: { filter },
    unfinished: ({ status }) => status === "in_progress",
    id: ({ id }) => id,
    columns: [
      { label: "file", of: ({ id }) => <Code>{id}</Code> },
      { label: "state", of: ({ status }) => <State of={status} /> },
      { label: "reason", of: ({ last_error }) => <Words>{last_error && `${last_error.message} (${last_error.code})`}</Words> },
      { label: "size", number: true, of: ({ usage_bytes }) => bytes(usage_bytes) },
    ],
    acts: [
      {
        label: "takeOut",
        scope: "data",
        danger: true,
        question: ({ id }) => c("takeOutFile", { name: id }),
        does: ({ id }) => json("DELETE", `${path}/${id}`),
      },
    ],
  };
}

export function VectorStores(): VNode {
  return <Listing list={list} />;
}

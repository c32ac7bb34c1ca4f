// Uploaded files.

import type { VNode } from "preact";
import { json } from "../../api/http";
import { c } from "../../i18n/console";
import type { List } from "../list";
import { Listing } from "../listing";
import { bytes, Code, Facts, State, Time, Words } from "../values";

interface File {
  id: string;
  filename: string;
  bytes: number;
  created_at: number;
  purpose: string;
  status: string;
  headrace: { owner: string; sha256: string; kind: string; access: object | null };
}

const list: List<File> = {
  title: "files",
  path: "/v1/files",
  filters: [
    {
      name: "purpose",
      label: "purpose",
      kind: "choice",
      choices: ["assistants", "user_data", "batch", "batch_output", "fine-tune"],
    },
  ],
  id: ({ id }) => id,
  name: ({ filename }) => filename,
  columns: [
    { label: "name", of: ({ id, filename }) => <><Words>{filename}</Words> <Code>{id}</Code></> },
    { label: "owner", of: ({ headrace }) => <Words>{headrace.owner}</Words> },
    { label: "purpose", of: ({ purpose }) => <Code>{purpose}</Code> },
    { label: "kind", of: ({ headrace }) => <Code>{headrace.kind}</Code> },
    { label: "state", of: ({ status }) => <State of={status} /> },
    { label: "size", number: true, of: (file) => bytes(file.bytes) },
    { label: "created", of: ({ created_at }) => <Time at={created_at} /> },
  ],
  acts: [
    { label: "details", shows: (file) => <Facts of={file} /> },
    {
      label: "delete",
      scope: "data",
      danger: true,
      question: ({ filename }) => c("deleteFile", { name: filename }),
      does: ({ id }) => json("DELETE", `/v1/files/${id}`),
    },
  ],
};

export function Files(): VNode {
  return <Listing list={list} />;
}

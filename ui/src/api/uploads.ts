// Uploads of files, with their progress, which `fetch` does not tell.

import type { Attached } from "./chat";
import { ApiError, session } from "./http";

export interface Upload {
  done: Promise<Attached>;
  stop: () => void;
}

/** Sends a file; `progress` is called with the share that was sent. The promise fails with an `ApiError`. */
export function upload(file: File, progress: (share: number) => void): Upload {
  const request = new XMLHttpRequest();
  const done = new Promise<Attached>((resolve, reject) => {
    request.open("POST", "/v1/files");
    const token = session.peek()?.csrf_token;
    if (token) request.setRequestHeader("x-csrf-token", token);
    request.upload.onprogress = ({ loaded, total }) => progress(total ? loaded / total : 0);
    request.onload = () => {
      const answer = parsed(request.responseText);
      if (request.status === 200 && answer?.id) {
        resolve({ id: answer.id, name: answer.filename ?? file.name });
        return;
      }
      if (request.status === 401) session.value = null;
      reject(new ApiError(request.status, answer?.error?.code ?? "", answer?.error?.message ?? ""));
    };
    request.onerror = request.onabort = () => reject(new ApiError(0, "offline", ""));
    const form = new FormData();
    form.append("purpose", "user_data");
    form.append("file", file, file.name);
    request.send(form);
  });
  return { done, stop: () => request.abort() };
}

interface Answer {
  id?: string;
  filename?: string;
  error?: { code: string; message: string };
}

function parsed(text: string): Answer | null {
  try {
    return JSON.parse(text) as Answer;
  } catch {
    return null;
  }
}

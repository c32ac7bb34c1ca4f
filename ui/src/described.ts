// Errors in words.

import { ApiError } from "./api/http";
import { t } from "./i18n";

/** Returns an error as a sentence for people. */
export function described(error: unknown): string {
  if (!(error instanceof ApiError)) throw error;
  if (error.status === 401) return t("expired");
  const message = error.message || t("offline");
  return error.retryAfter ? t("wait", { message, seconds: error.retryAfter }) : message;
}

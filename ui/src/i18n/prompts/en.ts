export const en = {
  title: "Prompts",
  search: "Look for a prompt",
  none: "No prompt is stored in your tenant.",
  noMatch: "No prompt matches. Enter goes back to the message.",
  back: "Back",
  insert: "Put into the message",
};

export type PromptTexts = typeof en;

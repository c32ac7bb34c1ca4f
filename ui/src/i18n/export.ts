// Texts of saved conversations, which are loaded with what saves them.

const en = {
  begun: "Begun {begun}, saved {saved}.",
  characters: "characters {start} to {end}",
  unsupportedSign: "{sign} follows a sentence that no document supports.",
};

const ar: typeof en = {
  begun: "بدأت في {begun}، وحُفظت في {saved}.",
  characters: "الأحرف من {start} إلى {end}",
  unsupportedSign: "تأتي العلامة {sign} بعد جملة لا يدعمها أي مستند.",
};

export const texts = { en, ar };

import type { PromptTexts } from "./en";

export const ar: PromptTexts = {
  title: "الموجهات",
  search: "البحث عن موجه",
  none: "لا توجد موجهات محفوظة في مؤسستك.",
  noMatch: "لا يوجد موجه مطابق. اضغط Enter للعودة إلى الرسالة.",
  back: "رجوع",
  insert: "وضعه في الرسالة",
};

// The views of the console, and the scope that each needs.

import type { VNode } from "preact";
import type { Key } from "../../i18n/console";
import { Audit } from "./audit";
import { Captures } from "./captures";
import { Configuration } from "./configuration";
import { Datasets } from "./datasets";
import { Erasures } from "./erasures";
import { Evaluations } from "./evaluations";
import { Files } from "./files";
import { Jobs } from "./jobs";
import { Keys } from "./keys";
import { Models } from "./models";
import { Overview } from "./overview";
import { Quotas } from "./quotas";
import { Ratings } from "./ratings";
import { Releases } from "./releases";
import { Tenants } from "./tenants";
import { Tuning } from "./tuning";
import { UsageView } from "./usage";
import { Users } from "./users";
import { VectorStores } from "./vector-stores";
import { Versions } from "./versions";
import { Webhooks } from "./webhooks";

export interface ViewEntry {
  label: Key;
  /** What it is about, in a sentence. */
  about: Key;
  scope: string;
  shows: () => VNode;
}

export const VIEWS: Record<string, ViewEntry> = {
  overview: { label: "overview", about: "aboutOverview", scope: "operate", shows: Overview },
  jobs: { label: "jobs", about: "aboutJobs", scope: "operate", shows: Jobs },
  usage: { label: "usage", about: "aboutUsage", scope: "operate", shows: UsageView },
  tenants: { label: "tenants", about: "aboutTenants", scope: "platform", shows: Tenants },
  users: { label: "users", about: "aboutUsers", scope: "admin", shows: Users },
  keys: { label: "keys", about: "aboutKeys", scope: "admin", shows: Keys },
  quotas: { label: "quotas", about: "aboutQuotas", scope: "admin", shows: Quotas },
  webhooks: { label: "webhooks", about: "aboutWebhooks", scope: "admin", shows: Webhooks },
  audit: { label: "audit", about: "aboutAudit", scope: "operate", shows: Audit },
  erasures: { label: "erasures", about: "aboutErasures", scope: "admin", shows: Erasures },
  stores: { label: "vectorStores", about: "aboutStores", scope: "data:read", shows: VectorStores },
  files: { label: "files", about: "aboutFiles", scope: "data:read", shows: Files },
  models: { label: "models", about: "aboutModels", scope: "operate", shows: Models },
  releases: { label: "releases", about: "aboutReleases", scope: "hub:read", shows: Releases },
  evaluations: { label: "evaluations", about: "aboutEvaluations", scope: "hub:read", shows: Evaluations },
  versions: { label: "versions", about: "aboutVersions", scope: "hub:read", shows: Versions },
  tuning: { label: "tuningJobs", about: "aboutTuning", scope: "hub:read", shows: Tuning },
  ratings: { label: "ratings", about: "aboutRatings", scope: "operate", shows: Ratings },
  captures: { label: "captures", about: "aboutCaptures", scope: "review", shows: Captures },
  exports: { label: "exports", about: "aboutExports", scope: "hub:read", shows: Datasets },
  configuration: { label: "configuration", about: "aboutConfiguration", scope: "admin", shows: Configuration },
};

export const GROUPS: { label: Key; views: string[] }[] = [
  { label: "today", views: ["overview", "jobs", "usage"] },
  { label: "access", views: ["tenants", "users", "keys", "quotas", "webhooks"] },
  { label: "evidence", views: ["audit", "erasures"] },
  { label: "knowledge", views: ["stores", "files"] },
  { label: "models", views: ["models", "releases", "evaluations", "versions", "tuning"] },
  { label: "feedback", views: ["ratings", "captures", "exports"] },
  { label: "settings", views: ["configuration"] },
];

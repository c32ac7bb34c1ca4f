// The console: sign-in, the views that its reader has scopes for, and the one that the address names.

import { effect, signal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { session } from "../api/http";
import * as signIn from "../api/sign-in";
import { t } from "../i18n";
import { c } from "../i18n/console";
import { Icon } from "../icons";
import { operates } from "../operating";
import { Expired, Mark, SignIn } from "../sign-in";
import { address, follow, tenant, to } from "./address";
import { Preferences } from "./preferences";
import { said } from "./said";
import { GROUPS, VIEWS, type ViewEntry } from "./views";

/** Whether somebody was signed in since the page was loaded. */
const wasIn = signal(false);
const unreachable = signal(false);
/** Whether the list of views is shown over the view, on narrow screens. */
const menu = signal(false);

async function begin(): Promise<void> {
  unreachable.value = false;
  try {
    await signIn.load();
  } catch {
    unreachable.value = true;
  }
}

export function Console(): VNode {
  useEffect(() => {
    void begin();
    return effect(() => {
      if (session.value) wasIn.value = true;
    });
  }, []);
  if (unreachable.value) {
    return (
      <main class="blank">
        <p role="alert">{t("offline")}</p>
        <button type="button" class="primary" onClick={begin}>{t("retry")}</button>
      </main>
    );
  }
  if (!wasIn.value) return session.value === null ? <SignIn /> : <p class="blank">{t("loading")}</p>;
  return (
    <>
      <Inside />
      {session.value === null && <Expired />}
    </>
  );
}

const ALL = GROUPS.flatMap(({ views }) => views);

/** Scopes of the last session: they stay while its owner signs in again. */
let scopes: readonly string[] = [];

function may({ scope }: ViewEntry): boolean {
  return scopes.includes(scope);
}

function Inside(): VNode {
  scopes = session.value?.scopes ?? scopes;
  const heading = useRef<HTMLHeadingElement>(null);
  const view = address.value.view || (ALL.find((name) => may(VIEWS[name] as ViewEntry)) ?? "");
  const entry = VIEWS[view];
  const label = entry ? c(entry.label) : c("noView");
  useEffect(() => {
    document.title = `${label} - Headrace`;
  }, [label]);
  const seen = useRef(view);
  useEffect(() => {
    if (seen.current === view) return;
    seen.current = view;
    said.value = "";
    heading.current?.focus();
    scrollTo(0, 0);
  }, [view]);
  if (!operates(scopes)) {
    return (
      <main class="blank">
        <p>{c("noScopes")}</p>
        <a class="button" href="/">{c("toChat")}</a>
      </main>
    );
  }
  return (
    <>
      <a class="skip" href="#view" onClick={() => heading.current?.focus()}>{c("skip")}</a>
      <div class="console">
        <Views shown={view} />
        <main inert={menu.value}>
          <header class="view-head">
            <button type="button" class="icon narrow" aria-label={c("openViews")} aria-expanded={menu.value} onClick={open}>
              <Icon name="menu" />
            </button>
            <h1 ref={heading} id="view" tabIndex={-1}>{label}</h1>
            <Preferences />
          </header>
          {tenant.value && (
            <p class="note-of-tenant">
              <span>{c("ofTenant", { tenant: tenant.value })}</span>
              <a href={to(view, { tenant: "" })} onClick={follow}>{c("ownTenant")}</a>
            </p>
          )}
          {entry && <p class="about">{c(entry.about)}</p>}
          {entry && (may(entry) ? <entry.shows key={view} /> : <p>{c("needsScope", { scope: entry.scope })}</p>)}
        </main>
      </div>
      <p class="spoken" role="status">{said}</p>
    </>
  );
}

function open(): void {
  menu.value = true;
}

function Views({ shown }: { shown: string }): VNode {
  const close = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (menu.value) close.current?.focus();
  }, [menu.value]);
  const hide = () => {
    menu.value = false;
  };
  return (
    <nav
      class={menu.value ? "views open" : "views"}
      aria-label={c("views")}
      onKeyDown={(event) => {
        if (event.key === "Escape") hide();
      }}
    >
      <div class="side-head">
        <Mark />
        <span class="name">Headrace</span>
        <button ref={close} type="button" class="icon narrow end" aria-label={c("closeViews")} onClick={hide}>
          <Icon name="close" />
        </button>
      </div>
      {GROUPS.map(({ label, views }) => {
        const mine = views.filter((name) => may(VIEWS[name] as ViewEntry));
        if (!mine.length) return null;
        return (
          <section key={label}>
            <h2>{c(label)}</h2>
            <ul>
              {mine.map((name) => (
                <li key={name}>
                  <a
                    href={to(name)}
                    aria-current={shown === name ? "page" : undefined}
                    onClick={(event) => {
                      follow(event);
                      hide();
                    }}
                  >
                    {c((VIEWS[name] as ViewEntry).label)}
                  </a>
                </li>
              ))}
            </ul>
          </section>
        );
      })}
      <a class="to-chat" href="/">{c("toChat")}</a>
    </nav>
  );
}

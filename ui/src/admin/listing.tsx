// A list: its filters, rows with what can be done with each, and pages.

import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { session } from "../api/http";
import { described } from "../described";
import { c } from "../i18n/console";
import { ActDialog } from "./act-dialog";
import { address, follow, go, tenant, to } from "./address";
import { type Page, useAnswer, withQuery } from "./answer";
import { FieldInput, first } from "./fields";
import { type Act, type Field, type Given, type List, parameter, ROWS } from "./list";
import { Failure } from "./loaded";
import { say } from "./said";

/** How long after an answer a list with unfinished rows is asked for again. */
const FOLLOW_MS = 3_000;
const HIDDEN_MS = 60_000;

interface Opened<T> {
  act: Act<T>;
  row: T;
  name: string;
  /** Counts the dialogs: each is an element of its own. */
  number: number;
}

/** A list at the address's filters; `inside` a dialog it has none, and no address of its own. */
export function Listing<T>({ list, inside = false }: { list: List<T>; inside?: boolean }): VNode {
  const { filters = [] } = list;
  const query = inside ? new URLSearchParams() : address.value.query;
  const values = Object.fromEntries(filters.map(({ name, always }) => [name, query.get(name) ?? always ?? ""]));
  const asked = Object.fromEntries(filters.map((field) => [field.name, parameter(field, values[field.name] ?? "")]));
  const filtered = filters.some(({ name, always = "" }) => values[name] !== always);
  const all = { ...list.fixed, ...asked, ...(list.tenants && { tenant: tenant.value }) };
  return (
    <>
      {!inside && filters.length > 0 && <Filters fields={filters} values={values} />}
      <Pages key={JSON.stringify([list.path, all])} list={list} query={all} filtered={filtered} />
    </>
  );
}

/** What to do about an empty list. */
function next(filtered: boolean, make: Act<null> | undefined): string {
  if (filtered) return c("noneFiltered");
  return make ? c("noneYet", { act: c(make.label) }) : "";
}

function Pages<T>({ list, query, filtered }: { list: List<T>; query: Given; filtered: boolean }): VNode {
  const { make = [], columns } = list;
  const [afters, setAfters] = useState<string[]>([]);
  const [opened, setOpened] = useState<Opened<T> | null>(null);
  const [failed, setFailed] = useState("");
  const acted = useRef(false);
  const count = useRef(0);
  const paging = list.whole ? {} : { limit: String(ROWS), after: afters.at(-1) ?? "" };
  const { data, error, busy, reload } = useAnswer<Page<T>>(withQuery(list.path, { ...query, ...paging }));
  const acts = (list.acts ?? []).filter(permitted);
  useEffect(() => {
    // The button that was pressed may be gone with its row.
    if (acted.current && document.activeElement === document.body) document.querySelector("h1")?.focus();
    acted.current = false;
  }, [data]);
  useEffect(() => {
    if (!list.unfinished || !data?.data.some(list.unfinished)) return;
    const timer = setTimeout(reload, document.hidden ? HIDDEN_MS : FOLLOW_MS);
    return () => clearTimeout(timer);
  }, [data]);
  const done = () => {
    acted.current = true;
    reload();
  };

  const begin = async (act: Act<T>, row: T, name: string) => {
    setFailed("");
    if (act.shows || act.question || act.fields) {
      count.current += 1;
      setOpened({ act, row, name, number: count.current });
      return;
    }
    try {
      await act.does?.(row, {});
      say(c("done", { act: `${c(act.label)}: ${name}` }));
    } catch (why) {
      setFailed(described(why));
    }
    done();
  };
  // A browser tells of a closed dialog later, when another one may be open.
  const close = (one: Opened<T>) => setOpened((now) => (now === one ? null : now));
  return (
    <>
      {(make.some(permitted) || list.exports) && (
        <p class="make">
          {make.filter(permitted).map((act) => (
            <button
              key={act.label}
              type="button"
              class="primary"
              onClick={() => begin(act as Act<unknown>, null as T, "")}
            >
              {c(act.label)}
            </button>
          ))}
          {list.exports && <a class="button" href={withQuery(list.exports, query)} download>{c("downloadAll")}</a>}
        </p>
      )}
      {failed && <p class="error" role="alert">{failed}</p>}
      {error && <Failure error={error} reload={reload} />}
      {data && !data.data.length && <p class="hint">{c("none")} {next(filtered, make.find(permitted))}</p>}
      {data && data.data.length > 0 && (
        <div class="rows" role="region" aria-label={c(list.title)} tabIndex={0}>
          <table aria-busy={busy}>
            <thead>
              <tr>
                {columns.map(({ label, number }) => (
                  <th key={label} scope="col" class={number ? "number" : ""}>{c(label)}</th>
                ))}
                {acts.length > 0 && <th scope="col"><span class="spoken">{c("acts")}</span></th>}
              </tr>
            </thead>
            <tbody>
              {data.data.map((row) => (
                <Row key={list.id(row)} list={list} row={row} acts={acts} begin={begin} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {!data && busy && <p class="hint" role="status">{c("loading")}</p>}
      {(afters.length > 0 || data?.has_more) && (
        <nav class="pages" aria-label={c("pages")}>
          <button type="button" disabled={!afters.length} onClick={() => setAfters(afters.slice(0, -1))}>
            {c("previous")}
          </button>
          <span>{c("pageNumber", { number: afters.length + 1 })}</span>
          <button type="button" disabled={!data?.has_more} onClick={() => setAfters([...afters, data?.last_id ?? ""])}>
            {c("next")}
          </button>
        </nav>
      )}
      {opened && <ActDialog key={opened.number} {...opened} close={() => close(opened)} done={done} />}
    </>
  );
}

function permitted<T>({ scope }: Act<T>): boolean {
  return !scope || !!session.value?.scopes.includes(scope);
}

interface RowShown<T> {
  list: List<T>;
  row: T;
  acts: Act<T>[];
  begin: (act: Act<T>, row: T, name: string) => void;
}

function Row<T>({ list, row, acts, begin }: RowShown<T>): VNode {
  const name = (list.name ?? list.id)(row);
  return (
    <tr>
      {list.columns.map(({ label, of, number }) => (
        <td key={label} data-label={c(label)} class={number ? "number" : ""}><div>{of(row)}</div></td>
      ))}
      {acts.length > 0 && (
        <td class="acts">
          {acts.filter(({ when }) => !when || when(row)).map((act) => {
            const label = `${c(act.label)}: ${name}`;
            if (act.leads) {
              return (
                <a key={act.label} class="button small" href={act.leads(row)} onClick={follow} aria-label={label}>
                  {c(act.label)}
                </a>
              );
            }
            return (
              <button key={act.label} type="button" class="small" aria-label={label} onClick={() => begin(act, row, name)}>
                {c(act.label)}
              </button>
            );
          })}
        </td>
      )}
    </tr>
  );
}

/** Filters, which become the address's query, so that a filtered list can be kept as a link. */
function Filters({ fields, values }: { fields: Field[]; values: Given }): VNode {
  const [given, setGiven] = useState(values);
  useEffect(() => setGiven(values), [JSON.stringify(values)]);
  const apply = (chosen: Given) => {
    const whole = fields.map(({ name, always = "" }) => ({ name, always, value: chosen[name] || always }));
    setGiven(Object.fromEntries(whole.map(({ name, value }) => [name, value])));
    // What a filter has anyway is no part of the address: a link to the last days stays one to the last days.
    const kept = whole.filter(({ value, always }) => value !== always);
    go(to(address.value.view, Object.fromEntries(kept.map(({ name, value }) => [name, value]))));
  };
  return (
    <search>
      <form
        class="filters"
        onSubmit={(event) => {
          event.preventDefault();
          apply(given);
        }}
      >
        {fields.map((field) => (
          <FieldInput
            key={field.name}
            field={field}
            value={given[field.name] ?? ""}
            set={(value) => {
              const chosen = { ...given, [field.name]: value };
              setGiven(chosen);
              if (field.kind === "choice") apply(chosen);
            }}
          />
        ))}
        <button type="submit">{c("filter")}</button>
        {fields.some(({ name, always }) => values[name] !== (always ?? "")) && (
          <button type="button" onClick={() => apply(first(fields))}>{c("clear")}</button>
        )}
      </form>
    </search>
  );
}

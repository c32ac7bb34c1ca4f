// What the library uses of the page, by the names that it has there: the page gives it once.

import type { h as make, JSX as Elements } from "preact";
import type { Kit } from ".";

export let ApiError: Kit["ApiError"];
export let Fragment: Kit["Fragment"];
export let OwnDialog: Kit["OwnDialog"];
export let described: Kit["described"];
export let go: Kit["go"];
export let h: typeof make;
export let json: Kit["json"];
export let language: Kit["language"];
export let loadModels: Kit["loadModels"];
export let model: Kit["model"];
export let models: Kit["models"];
export let request: Kit["request"];
export let session: Kit["session"];
export let status: Kit["status"];
export let t: Kit["t"];
export let upload: Kit["upload"];
export let useEffect: Kit["useEffect"];
export let useId: Kit["useId"];
export let useLayoutEffect: Kit["useLayoutEffect"];
export let useRef: Kit["useRef"];
export let useState: Kit["useState"];

declare global {
  /** The types of what `h` makes, which modules find only beside an `h` of their own. */
  namespace JSX {
    type Element = Elements.Element;
    type ElementType = Elements.ElementType;
    type LibraryManagedAttributes<Component, Props> = Elements.LibraryManagedAttributes<Component, Props>;
    interface IntrinsicAttributes extends Elements.IntrinsicAttributes {}
    interface IntrinsicElements extends Elements.IntrinsicElements {}
    interface ElementAttributesProperty extends Elements.ElementAttributesProperty {}
    interface ElementChildrenAttribute extends Elements.ElementChildrenAttribute {}
  }
}

export function give(kit: Kit): void {
  ({ ApiError, Fragment, OwnDialog, described, go, h, json, language, loadModels, model, models } = kit);
  ({ request, session, status, t, upload, useEffect, useId, useLayoutEffect, useRef, useState } = kit);
}

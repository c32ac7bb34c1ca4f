// For a browser: whether an answer that is drawn while it comes has, at each piece, the nodes that a new drawing has,
// and at its end those of the whole text.

import { h, options, render } from "preact";
import { Answer } from "../src/chat/message";
import { newReply } from "../src/chat/state";
import { load } from "../src/markdown/formula";
import { random, SIZES, steps } from "./chunks.js";

// What changes is drawn at once.
options.debounceRendering = (draw) => draw();

const open = () => {};

export { load };

function drawn(reply) {
  const place = document.createElement("div");
  render(h(Answer, { reply, open }), place);
  return place;
}

function begin() {
  const reply = newReply("", "", null);
  return { place: drawn(reply), reply };
}

/** Returns nothing, or what is drawn and what it should be. */
function different(place, right) {
  return place.isEqualNode(right) ? null : [place.innerHTML, right.innerHTML];
}

function end({ place, reply }) {
  reply.document.finish();
  reply.status.value = "done";
  reply.version.value += 1;
  return place;
}

/** Returns how many answers were drawn and in how many pieces, and where they had other nodes than they should. */
export function compare(texts) {
  const next = random(11);
  const wrong = [];
  let answers = 0;
  let pieces = 0;
  for (const text of texts) {
    const once = begin();
    once.reply.document.append(text);
    const whole = end(once);
    for (const size of SIZES) {
      const grown = begin();
      let found = null;
      for (const piece of steps(text, size, next)) {
        grown.reply.document.append(piece);
        if (grown.reply.document.update()) grown.reply.version.value += 1;
        const anew = drawn(grown.reply);
        found ??= different(grown.place, anew);
        render(null, anew);
        pieces += 1;
      }
      const place = end(grown);
      found ??= different(place, whole);
      answers += 1;
      if (found) wrong.push({ text, size, found });
      render(null, place);
    }
    render(null, whole);
  }
  return { answers, pieces, wrong };
}

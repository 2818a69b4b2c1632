// Swap the live part of a page each second, while something is on its way and somebody sees it. Without this file the
// page asks for itself anew, or its reader does.
"use strict";

const live = document.getElementById("live");
const said = document.getElementById("said");
const FOCUSABLE = "a, summary, [tabindex]"; // what has the focus keeps it
const AWAY = "What is shown is no longer up to date: the console does not answer as it should. It is asked again each second.";

async function look() {
  if (document.visibilityState === "visible") {
    try {
      const answer = await fetch(live.dataset.refresh, { signal: AbortSignal.timeout(10000) });
      if (!answer.ok) throw new Error(answer.statusText); // it is about the console, and not about what is shown
      const text = new DOMParser().parseFromString(await answer.text(), "text/html");
      const opened = new Set([...live.querySelectorAll("details[open]")].map((each) => each.textContent));
      const focused = [...live.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
      if (said.textContent === AWAY) said.textContent = "";
      const before = live.querySelector("[data-status]");
      live.replaceChildren(...text.body.childNodes);
      if (focused >= 0) live.querySelectorAll(FOCUSABLE)[focused]?.focus({ preventScroll: true });
      for (const each of live.querySelectorAll("details")) each.open = opened.has(each.textContent);
      const now = live.querySelector("[data-status]");
      // Told to a screen reader once, not each second.
      if (before && now && before.dataset.status !== now.dataset.status) said.textContent = `It is ${now.dataset.status} now.`;
      if (answer.headers.get("x-settled") === "true") return;
    } catch {
      if (said.textContent !== AWAY) said.textContent = AWAY; // and what was known stays
    }
  }
  setTimeout(look, 1000);
}

setTimeout(look, 1000);

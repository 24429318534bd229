"use strict";
// Keeps the page fresh while it is visible: asks for it again and takes over what has changed.
(() => {
  const EVERY = 2000;
  // So long the page is waited for before it says that none comes, with EVERY less than five seconds; or twice as long as
  // the last one took, over a slow network. The answer is taken when it comes all the same, until LIMIT.
  const PATIENCE = 2000;
  const LIMIT = 20000;
  // Rates need two looks, so the second one follows soon.
  const FIRST = 1200;
  // So long are the curves.
  const SPAN = 120000;
  const REFUSALS = {
    401: "The daemon asks for a password or a token that this page has not: load it again",
    403: "The daemon refuses this page to you",
    429: "The daemon is asked too often, and refuses this page for a while",
    503: "The daemon is busy, or is still starting, and refuses this page for a while",
  };
  const live = document.getElementById("live");
  const gone = document.getElementById("gone");
  const footer = document.getElementById("footer");
  const filter = document.getElementById("filter");
  const wanted = document.getElementById("wanted");
  const shown = new Set(new URLSearchParams(location.search).getAll("show"));
  const curves = new Map();
  const opened = new Set();
  let asked = 0;
  let timer = 0;
  let took = 0;
  let answered = new Date();

  const set = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  // Makes a tree like another one and leaves alone what is the same: the focus, what is selected, what a screen reader
  // has read. What is open is the reader's choice, and what has data-own is the script's.
  const patch = (old, fresh) => {
    if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE || "own" in old.dataset) return;
    for (const { name } of [...old.attributes]) {
      if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const fits = (one, other) => one && one.nodeName === other.nodeName && one.id === other.id;
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      let same = at;
      // What has a name is looked for further on: rows come and go.
      while (child.id && same && !fits(same, child)) same = same.nextSibling;
      if (!fits(same, child)) {
        old.insertBefore(child, at);
        continue;
      }
      while (at !== same) {
        const next = at.nextSibling;
        at.remove();
        at = next;
      }
      patch(at, child);
      at = at.nextSibling;
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  };

  // Adds the numbers of the tiles to their curves.
  const plot = () => {
    const now = Date.now();
    for (const tile of live.querySelectorAll(".tile")) {
      const curve = (curves.get(tile.id) || []).filter(({ at }) => at > now - SPAN && at <= now);
      curves.set(tile.id, curve);
      if ("number" in tile.dataset) curve.push({ at: now, value: Number(tile.dataset.number) });
      const most = "share" in tile.dataset ? 1 : Math.max(...curve.map(({ value }) => value)) || 1;
      let last = 0;
      const point = ({ at, value }) => {
        // While nobody looked nothing is known.
        const step = at - last > 4 * EVERY ? "M" : "L";
        last = at;
        return `${step}${100 - (100 * (now - at)) / SPAN},${23 - (22 * Math.min(value, most)) / most}`;
      };
      tile.querySelector("path").setAttribute("d", curve.map(point).join(""));
    }
  };

  // Shows the collectors that have all words of the filter in their name, state or summary. When these have changed, lists
  // with such are opened, and closed again without words: between that they are the reader's.
  const sift = (changed) => {
    const words = wanted.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const item of live.querySelectorAll("[data-find]")) {
      const text = item.dataset.find.toLowerCase();
      item.hidden = !words.every((word) => text.includes(word));
      if (!item.hidden && !item.classList.contains("unfolded")) found += 1;
    }
    for (const list of live.querySelectorAll("details.card")) {
      const some = list.querySelector("[data-find]:not([hidden])");
      list.hidden = words.length > 0 && !some;
      if (changed && words.length > 0 && some && !list.open) {
        list.open = true;
        opened.add(list.id);
      } else if (changed && words.length === 0 && opened.delete(list.id)) {
        list.open = false;
      }
    }
    set(document.getElementById("found"), words.length > 0 ? `${found} found` : "");
  };

  const show = (text) => {
    // Its head has a style with another nonce than this page knows, and is the same.
    const fresh = new DOMParser().parseFromString(text.slice(text.indexOf("<body")), "text/html");
    const main = fresh.getElementById("live");
    if (!main) return miss("Something else answers in the daemon's place", true);
    // Another daemon has taken over, with another script.
    if (fresh.body.dataset.version !== document.body.dataset.version) return location.reload();
    patch(live, main);
    sift(false);
    plot();
    document.title = main.dataset.title;
    answered = new Date();
    set(gone, "");
    document.body.classList.remove("stale");
    set(footer, "Refreshed every 2 s while this page is visible; the curves are of the last 2 min.");
  };

  // Says that the page is not refreshed, and whether something answers at all.
  const miss = (why, answers) => {
    document.title = (answers ? "Not refreshed – " : "No answer – ") + live.dataset.title;
    document.body.classList.add("stale");
    gone.classList.toggle("answers", answers);
    set(gone, `${why}. What is below is of ${answered.toLocaleTimeString()}.`);
  };

  // With the origin: the page's own address may have a password in it, which fetch refuses.
  const address = () => {
    const query = new URLSearchParams([...shown].map((name) => ["show", name]));
    return `${location.origin}/` + (shown.size > 0 ? `?${query}` : "");
  };

  // Answers what has come, or nothing.
  const fetched = async () => {
    try {
      const answer = await fetch(address(), { cache: "no-store", signal: AbortSignal.timeout(LIMIT) });
      return { answer, text: await answer.text() };
    } catch {
      return {};
    }
  };

  const ask = async () => {
    clearTimeout(timer);
    if (document.hidden) return;
    asked += 1;
    const number = asked;
    const began = performance.now();
    const isLast = () => number === asked;
    const late = setTimeout(() => {
      if (isLast()) miss("The daemon has not answered", false);
    }, Math.max(PATIENCE, 2 * took));
    const { answer, text } = await fetched();
    clearTimeout(late);
    if (!isLast()) return;
    let pause = EVERY;
    if (!answer) {
      miss("The daemon cannot be reached", false);
    } else if (!answer.ok) {
      miss((REFUSALS[answer.status] || "The daemon answers with an error") + ` (${answer.status})`, true);
      pause = Math.max(EVERY, 1000 * (Number(answer.headers.get("retry-after")) || 0));
    } else {
      took = performance.now() - began;
      try {
        show(text);
      } catch (error) {
        miss(`This page cannot show what the daemon answers (${error.message}): load it again`, true);
      }
    }
    timer = setTimeout(ask, pause);
  };

  const toggle = (link, name, on) => {
    // What is named last stays where there are too many.
    shown.delete(name);
    if (on) shown.add(name);
    link.setAttribute("aria-expanded", on);
    history.replaceState(null, "", address());
    ask();
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-show]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    const name = link.dataset.show;
    const isUnfolded = link.getAttribute("aria-expanded") === "true";
    if (link.classList.contains("unfold")) return toggle(link, name, !isUnfolded);
    wanted.value = "";
    sift(true);
    const row = document.getElementById("c-" + name);
    const list = row.closest("details");
    if (list) list.open = true;
    row.scrollIntoView();
    const own = row.querySelector("a");
    own.focus({ preventScroll: true });
    if (own.matches(".unfold")) toggle(own, name, true);
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target === wanted;
    if (event.key === " " && event.target.matches(".unfold")) {
      event.preventDefault();
      event.target.click();
    } else if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      wanted.focus();
    } else if (event.key === "Escape" && typing) {
      wanted.value = "";
      sift(true);
    }
  });
  wanted.addEventListener("input", () => sift(true));
  document.addEventListener("visibilitychange", ask);
  filter.hidden = false;
  plot();
  timer = setTimeout(ask, FIRST);
})();

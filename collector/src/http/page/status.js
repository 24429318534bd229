"use strict";
// Keeps the figures of the page fresh. Asking /plugins starts no collection.
(() => {
  const seconds = (value) => {
    if (value === null || value === undefined) return "–";
    if (value < 0.001) return Math.round(value * 1e6) + " µs";
    if (value < 1) return (value * 1e3).toPrecision(3).replace(/\.?0+$/, "") + " ms";
    if (value < 120) return value.toFixed(value < 10 ? 1 : 0).replace(/\.0$/, "") + " s";
    if (value < 7200) return Math.round(value / 60) + " min";
    if (value < 172800) return Math.round(value / 3600) + " h";
    return Math.round(value / 86400) + " days";
  };
  const set = (element, text) => {
    if (element && element.textContent !== text) element.textContent = text;
  };
  const show = (told) => {
    const on = told.collectors.filter((collector) => collector.enabled);
    const rows = new Map([...document.querySelectorAll("tr[data-name]")].map((row) => [row.dataset.name, row]));
    // A reload has switched something on or off: the rows are others now.
    if (on.length !== rows.size || on.some((collector) => !rows.has(collector.name))) {
      location.reload();
      return;
    }
    set(document.getElementById("generation"), String(told.generation));
    set(document.getElementById("hash"), told.hash);
    set(document.getElementById("uptime"), seconds(told.uptime_seconds));
    set(document.getElementById("samples"), String(on.reduce((sum, c) => sum + c.samples, 0)));
    const longest = Math.max(...on.map((collector) => collector.duration_seconds || 0), 1e-9);
    for (const collector of on) {
      const row = rows.get(collector.name);
      const badge = row.querySelector(".badge");
      const shortfall = collector.fault || collector.degraded || "";
      const state = shortfall && collector.state === "running" ? "degraded" : collector.state;
      badge.className = "badge " + state;
      set(badge, state.replace("_", " "));
      set(row.querySelector(".duration"), seconds(collector.duration_seconds));
      row.querySelector("rect").setAttribute("width", 100 * (collector.duration_seconds || 0) / longest);
      set(row.querySelector(".samples"), String(collector.samples));
      set(row.querySelector(".age"), seconds(collector.age_seconds));
      set(row.querySelector(".note"), collector.error || shortfall);
    }
    set(document.getElementById("live"), "The figures are refreshed every 5 s.");
  };
  const ask = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch("/plugins", { headers: { accept: "application/json" } });
      if (answer.ok) show(await answer.json());
    } catch {
      set(document.getElementById("live"), "The daemon does not answer.");
    }
  };
  setInterval(ask, 5000);
  document.addEventListener("visibilitychange", ask);
})();

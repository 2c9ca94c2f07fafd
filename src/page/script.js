"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");
  const data = JSON.parse(document.getElementById("data").textContent);
  const id = (name) => document.getElementById(name);
  const all = (what, within = document) => [...within.querySelectorAll(what)];
  const layer = id("layer");

  // Panels of which one is shown: the chosen layer's, else the one that is shown at first.
  function showPanels(chosen) {
    for (const parent of new Set(all(".panel").map((panel) => panel.parentNode))) {
      const panels = [...parent.children].filter((child) => child.classList.contains("panel"));
      const own = panels.filter((panel) => panel.dataset.layer === chosen);
      for (const panel of panels) {
        const shown = own.length ? own.includes(panel) : panel.classList.contains("default");
        panel.classList.toggle("shown", shown);
      }
    }
  }

  // Rows of tables are hidden, marks of drawings dimmed, where they are of another layer.
  function filter() {
    const chosen = layer.value;
    showPanels(chosen === "" ? undefined : chosen);
    for (const part of all("[data-layer]:not(.panel)")) {
      const other = chosen !== "" && part.dataset.layer !== chosen;
      if (part.matches("tr, article")) part.hidden = other;
      else part.classList.toggle("dim", other);
    }
    const mark = chosen === "" ? null : document.querySelector(`.choose[data-layer="${chosen}"] > title`);
    id("chosen").textContent = mark ? mark.textContent : "";
  }

  function choose(value) {
    layer.value = value;
    filter();
  }

  // Rows of drawings and tables, in the order of layers or by their rates.
  function sort() {
    const by = id("order").value;
    const rate = (part) => data.sdc[part.dataset.layer] ?? -1;
    const before = (a, b) =>
      (by === "rate" ? rate(b) - rate(a) : 0) || a.dataset.layer - b.dataset.layer;
    for (const drawing of all("svg.drawing")) {
      const rows = all("g.row", drawing);
      const places = rows.map((row) => row.transform.baseVal[0].matrix.f).sort((a, b) => a - b);
      rows.sort(before).forEach((row, at) => row.setAttribute("transform", `translate(0 ${places[at]})`));
    }
    for (const body of all("tbody")) {
      const rows = all("tr[data-layer]", body).sort(before);
      body.append(...rows, ...all("tr:not([data-layer])", body));
    }
  }

  function showVariant() {
    for (const part of all(".variant")) {
      part.classList.toggle("shown", part.dataset.variant === id("variant").value);
    }
  }

  layer.addEventListener("change", filter);
  id("order").addEventListener("change", sort);
  id("variant").addEventListener("change", showVariant);
  id("theme").addEventListener("click", () => {
    const now = root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });
  for (const mark of all(".choose")) {
    mark.addEventListener("click", () => {
      choose(layer.value === mark.dataset.layer ? "" : mark.dataset.layer);
    });
  }
  // The arrows go from layer to layer where the strip of layers has the focus.
  for (const strip of all("[data-arrows]")) {
    strip.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      const at = layer.selectedIndex + step;
      choose(layer.options[(at + layer.options.length) % layer.options.length].value);
    });
  }
  for (const button of all("[data-copy]")) {
    button.addEventListener("click", async () => {
      const text = id(button.dataset.copy).textContent;
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(id(button.dataset.copy));
        button.textContent = "Selected";
      }
    });
  }
  // Paper has no summary to click on.
  addEventListener("beforeprint", () => all("details").forEach((part) => (part.open = true)));
  // A reload may keep what was chosen.
  filter();
  sort();
  showVariant();
})();


"use strict";
(() => {
  const root = document.documentElement;
  const get = (id) => document.getElementById(id);
  root.classList.remove("no-js");

  // Theme: the system's until the reader chooses.
  const theme = get("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const show = () => theme.setAttribute("aria-pressed", String(isDark()));
  const remembered = (value) => {
    try {
      if (value) localStorage.setItem("actstats-theme", value);
      return localStorage.getItem("actstats-theme");
    } catch {
      return null; // a browser may keep nothing for files
    }
  };
  const before = remembered();
  if (before === "dark" || before === "light") root.dataset.theme = before;
  theme.hidden = false;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remembered(root.dataset.theme);
    show();
  });
  system.addEventListener("change", show);
  show();

  // The table: sort by a column's values, what has none last.
  const table = get("table");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const sort = (head, numeric) => {
    const column = heads.indexOf(head);
    const first = numeric && column > 0 ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const way = head.getAttribute("aria-sort") === first ? other : first;
    for (const one of heads) if (one.hasAttribute("aria-sort")) one.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", way);
    const value = (row) => row.cells[column].dataset.v;
    const sign = way === "ascending" ? 1 : -1;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (numeric ? x - y : x.localeCompare(y, "en", { numeric: true }));
    };
    body.append(...[...body.rows].sort(compare));
  };
  for (const button of table.querySelectorAll("button.sort")) {
    button.disabled = false;
    button.addEventListener("click", () => sort(button.closest("th"), button.dataset.numeric === "1"));
  }

  // And search it.
  const search = get("search");
  const kind = get("kind");
  const sick = get("sick");
  const rows = [...body.rows].map((row) => ({
    row,
    text: [...row.cells].slice(1, 3).map((cell) => cell.textContent).join(" ").toLowerCase(),
    sick: row.cells[2].dataset.v !== "0",
  }));
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const one of rows) {
      const fits =
        words.every((word) => one.text.includes(word)) &&
        (!kind || !kind.value || one.row.dataset.kind === kind.value) &&
        (!sick.checked || one.sick);
      one.row.hidden = !fits;
      shown += fits;
    }
    get("shown").textContent = `${shown} of ${rows.length} shown`;
    get("empty").hidden = shown > 0;
  };
  get("controls").hidden = false;
  search.addEventListener("input", filter);
  for (const one of [kind, sick]) if (one) one.addEventListener("change", filter);
  filter();

  // A link into something folded opens it; a link to a row that is filtered out shows it.
  const reveal = () => {
    const target = location.hash && get(location.hash.slice(1));
    if (!target) return;
    for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
    if (target.hidden) {
      search.value = "";
      sick.checked = false;
      if (kind) kind.value = "";
      filter();
    }
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  // Paper folds nothing.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const one of folded) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of folded) one.open = false;
  });
})();

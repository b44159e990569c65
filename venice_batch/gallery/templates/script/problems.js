// The jobs without an image, with their reasons.

const problemsView = (() => {
  const AT_ONCE = 200;
  const view = one("#problems");
  const tab = one("#tab-problems");
  let without = [];

  const body = el("tbody");
  const more = el("button", { type: "button" });
  const line = (item, at) => {
    const open = el("button", { type: "button", class: "link" }, item.id);
    open.addEventListener("click", () => viewer.open(without, at, () => open.focus()));
    const { job } = item;
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, open),
      el("td", {}, swatch(job.lane), job.lane),
      el("td", {}, item.picture ? "missing" : job.status),
      el("td", {}, job.error ? `${job.error.kind}${job.error.status ? ` (${job.error.status})` : ""}` : "–"),
      el("td", { class: "reason" }, item.reason),
      el("td", { class: "digits" }, number(job.attempts.length)),
      el("td", { class: "prompt" }, item.prompt),
    );
  };
  const add = () => {
    const from = body.childElementCount;
    body.append(...without.slice(from, from + AT_ONCE).map((item, place) => line(item, from + place)));
    const left = without.length - body.childElementCount;
    more.hidden = left === 0;
    more.textContent = `Show ${number(Math.min(left, AT_ONCE))} more of ${number(left)}`;
  };
  more.addEventListener("click", add);
  const head = ["Job", "Model", "Status", "Kind", "Reason", "Attempts", "Prompt"];
  view.append(
    el(
      "div",
      { class: "scroll", role: "region", "aria-label": "Jobs without image", tabindex: 0 },
      el("table", { class: "lines" }, el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name)))), body),
    ),
    more,
  );

  /** List the jobs that have no image now. */
  const draw = () => {
    const now = items.filter((item) => !item.picture?.src);
    if (now.length === without.length && now.every((item, at) => item === without[at])) return;
    without = now;
    tab.hidden = without.length === 0;
    one(".number", tab).textContent = number(without.length);
    body.replaceChildren();
    add();
  };
  draw();
  tab.hidden = without.length === 0;
  return { draw };
})();

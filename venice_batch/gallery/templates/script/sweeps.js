// Sweeps as grids: a field down, a field across, the others to choose from.

const sweepsView = (() => {
  const view = one("#sweeps");

  const none = el("p", { class: "nothing", role: "status", hidden: true }, "No sweep matches.");
  view.append(none);
  /** The items that match the search and the filters; null before the first search. */
  let found = null;
  let isStale = false;
  const built = new Map();

  const isFiltered = () => found !== null && found.size < items.length;
  const itemsOf = (job) => itemsOfJobs.get(data.jobs[job]);
  const matching = (job) => (isFiltered() ? itemsOf(job).filter((item) => found.has(item)) : itemsOf(job));

  /** The one prompt of a sweep's jobs; "" if they differ, or if the sweep is called like it. */
  const promptOf = ({ name, cells }) => {
    const prompts = new Set(cells.map((cell) => itemsOf(cell.at(-1))[0].prompt));
    const [prompt] = prompts;
    return prompts.size === 1 && prompt !== name ? prompt : "";
  };

  const build = (sweep, holder) => {
    const { axes, down, across } = sweep;
    const rest = axes.map((_, at) => at).filter((at) => at !== down && at !== across);
    const picked = axes.map(() => 0);
    const order = [...rest, ...(down === null ? [] : [down]), across];
    const cells = [...sweep.cells].sort((a, b) => order.reduce((sign, at) => sign || a[at] - b[at], 0));
    const places = new Map(cells.map((cell) => [cell.slice(0, -1).join(), cell.at(-1)]));
    const buttons = new Map();
    let shown = [];

    const shots = (job) =>
      matching(job).map((item) => {
        const scores = blind.isOn() ? "" : annotations.short(item);
        const button = el("button", { type: "button", class: "shot" }, pictureOf(item), scores && el("span", { class: "scores" }, scores));
        button.addEventListener("click", () => viewer.open(shown, shown.indexOf(item), () => buttons.get(item)?.focus()));
        buttons.set(item, button);
        return button;
      });

    const cellAt = (row, column) => {
      const place = [...picked];
      place[across] = column;
      if (down !== null) place[down] = row;
      const job = places.get(place.join());
      const made = job === undefined ? [] : shots(job);
      return el("td", {}, ...(made.length ? made : [el("span", { class: "none" }, "–")]));
    };

    const draw = () => {
      const asked = cells.filter((cell) => matching(cell.at(-1)).length);
      shown = asked.flatMap((cell) => matching(cell.at(-1)));
      if (!asked.length) return;
      // What matches may be elsewhere on the axes that have neither rows nor columns.
      const isPicked = (cell) => rest.every((at) => cell[at] === picked[at]);
      if (!asked.some(isPicked)) for (const at of rest) picked[at] = asked[0][at];
      const seen = asked.filter(isPicked);
      // A search leaves the rows and columns in which something matches.
      const numbersOf = (at) => axes[at].values.map((_, place) => place).filter((place) => !isFiltered() || seen.some((cell) => cell[at] === place));
      const columns = numbersOf(across);
      const rows = down === null ? [null] : numbersOf(down);
      const head = el(
        "tr",
        {},
        down !== null && el("td", { class: "corner" }, `${axes[down].field} ↓ ${axes[across].field} →`),
        ...columns.map((column) => el("th", { scope: "col" }, axes[across].values[column])),
      );
      buttons.clear();
      const body = rows.map((row) =>
        el("tr", {}, row !== null && el("th", { scope: "row" }, el("span", {}, axes[down].values[row])), ...columns.map((column) => cellAt(row, column))),
      );
      const jobs = isFiltered() ? `${number(asked.length)} of ${counted(cells.length, "job")}` : counted(cells.length, "job");
      one(".size", holder).textContent = `${jobs} by ${axes.map((axis) => `${axis.field} (${axis.values.length})`).join(" × ")}`;
      for (const select of holder.querySelectorAll("select")) select.value = picked[select.dataset.axis];
      one(".scroll", holder).replaceChildren(el("table", { class: "grid" }, el("thead", {}, head), el("tbody", {}, ...body)));
    };

    const choices = rest.map((at) =>
      el(
        "label",
        {},
        `${axes[at].field} `,
        el(
          "select",
          { "data-axis": at, onchange: (event) => { picked[at] = Number(event.target.value); draw(); } },
          ...axes[at].values.map((value, place) => el("option", { value: place }, value)),
        ),
      ),
    );
    const prompt = promptOf(sweep);
    holder.replaceChildren(
      el("h2", {}, sweep.name),
      ...(prompt ? [el("p", { class: "prompt" }, prompt)] : []),
      el("p", { class: "soft size" }),
      ...choices,
      el("div", { class: "scroll", role: "region", "aria-label": `Sweep ${sweep.name}`, tabindex: 0 }),
    );
    built.set(holder, draw);
    draw();
  };

  // A sweep is built when it comes near the window; until then an empty element holds its place.
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      build(data.sweeps[target.dataset.number], target);
    }
  }, { rootMargin: "600px" });

  const tab = one("#tab-sweeps");
  tab.hidden = data.sweeps.length === 0;
  one(".number", tab).textContent = number(data.sweeps.length);
  const holders = data.sweeps.map((_, at) => el("article", { class: "sweep", "data-number": at }));
  for (const holder of holders) {
    view.append(holder);
    near.observe(holder);
  }

  /** Draw what has changed since the view was last seen. */
  const place = () => {
    if (view.hidden || !isStale) return;
    isStale = false;
    for (const holder of holders) {
      const { cells } = data.sweeps[holder.dataset.number];
      holder.hidden = !cells.some((cell) => matching(cell.at(-1)).length);
      if (!holder.hidden) built.get(holder)?.();
    }
    none.hidden = holders.some((holder) => !holder.hidden);
  };

  return {
    /** Show of every sweep what is among these items, at the size that the sheet has. */
    show(list, size) {
      found = new Set(list);
      view.dataset.size = size;
      isStale = true;
      place();
    },
    place,
  };
})();

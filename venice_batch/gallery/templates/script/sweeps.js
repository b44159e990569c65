// Sweeps as grids: a field down, a field across, the others to choose from.

const sweepsView = (() => {
  const view = one("#sweeps");

  /** Rows and columns of a sweep: the longer axis goes down, the other across. */
  const axesOf = ({ axes }) => {
    if (axes.length === 1) return { down: null, across: 0, rest: [] };
    const byLength = axes.map((axis, at) => at).sort((a, b) => axes[b].values.length - axes[a].values.length || a - b);
    const [down, across] = byLength;
    return { down, across, rest: byLength.slice(2).sort((a, b) => a - b) };
  };

  const build = (sweep, holder) => {
    const { axes, cells } = sweep;
    const { down, across, rest } = axesOf(sweep);
    const picked = axes.map(() => 0);
    const places = new Map(cells.map((cell) => [cell.slice(0, -1).join(), cell.at(-1)]));
    const shown = cells.flatMap((cell) => itemsOfJobs.get(data.jobs[cell.at(-1)]));

    const shots = (job) =>
      itemsOfJobs.get(data.jobs[job]).map((item) => {
        const button = el("button", { type: "button", class: "shot" }, pictureOf(item));
        button.addEventListener("click", () => viewer.open(shown, shown.indexOf(item), () => button.focus()));
        return button;
      });

    const cellAt = (row, column) => {
      const place = [...picked];
      place[across] = column;
      if (down !== null) place[down] = row;
      const job = places.get(place.join());
      return el("td", {}, ...(job === undefined ? [el("span", { class: "none" }, "–")] : shots(job)));
    };

    const draw = () => {
      const head = el(
        "tr",
        {},
        down !== null && el("td", { class: "corner" }, `${axes[down].field} ↓ ${axes[across].field} →`),
        ...axes[across].values.map((value) => el("th", { scope: "col" }, value)),
      );
      const rows = down === null ? [null] : axes[down].values;
      const body = rows.map((value, row) =>
        el("tr", {}, value !== null && el("th", { scope: "row" }, value), ...axes[across].values.map((_, column) => cellAt(row, column))),
      );
      one(".scroll", holder).replaceChildren(el("table", { class: "grid" }, el("thead", {}, head), el("tbody", {}, ...body)));
    };

    const choices = rest.map((at) =>
      el(
        "label",
        {},
        `${axes[at].field} `,
        el(
          "select",
          { onchange: (event) => { picked[at] = Number(event.target.value); draw(); } },
          ...axes[at].values.map((value, place) => el("option", { value: place }, value)),
        ),
      ),
    );
    holder.replaceChildren(
      el("h2", {}, sweep.name),
      el("p", { class: "soft" }, `${counted(cells.length, "job")} by ${axes.map((axis) => `${axis.field} (${axis.values.length})`).join(" × ")}`),
      ...choices,
      el("div", { class: "scroll", role: "region", "aria-label": `Sweep ${sweep.name}`, tabindex: 0 }),
    );
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
  for (const at of data.sweeps.keys()) {
    const holder = el("article", { class: "sweep", "data-number": at });
    view.append(holder);
    near.observe(holder);
  }
})();

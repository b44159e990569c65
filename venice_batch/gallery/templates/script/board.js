// Images side by side: two to four to compare, or a survey of many. Zoom and pan move all of them.

const COMPARED = 4;
const SHARP = 16;

/** Return the number of columns with which `count` images of a ratio are largest in a space. */
const columnsFor = (count, width, height, ratio) => {
  let best = [0, 1];
  for (let columns = 1; columns <= count; columns += 1) {
    const [wide, high] = [width / columns, height / Math.ceil(count / columns)];
    const size = Math.min(wide / ratio, high);
    if (size > best[0]) best = [size, columns];
  }
  return best[1];
};

const board = (() => {
  const dialog = one(".board");
  const tiles = one(".tiles", dialog);
  let list = [];
  let at = 0;
  let kind = "";
  // Of a job's images that were not chosen one by one, the next job's may follow.
  let ofJob = false;
  let isLeaving = false;

  const current = () => list[at];
  const bar = markBar(() => (dialog.open && current() ? [current()] : []), (change) => mark(change));
  one(".bar .title", dialog).after(bar.bar);
  const zoom = zoomable(tiles);

  const turnTo = (next) => {
    at = next;
    [...tiles.children].forEach((tile, place) => {
      tile.setAttribute("aria-selected", place === at);
      tile.tabIndex = place === at ? 0 : -1;
    });
    tiles.children[at]?.focus({ preventScroll: true });
    one(".place", dialog).textContent = `${number(at + 1)} of ${number(list.length)}`;
    bar.draw();
  };

  const fit = () => {
    if (!dialog.open || !list.length) return;
    const ratio = list.reduce((sum, item) => sum + clamped(item.ratio), 0) / list.length;
    tiles.style.gridTemplateColumns = `repeat(${columnsFor(list.length, tiles.clientWidth, tiles.clientHeight, ratio)}, minmax(0, 1fr))`;
    zoom.apply();
  };

  const show = (next) => {
    const made = list.map((item) => {
      const picture = pictureOf(item, { large: list.length <= SHARP });
      picture.classList.add("pane");
      const scores = blind.isOn() ? "" : annotations.short(item, 6);
      const name = blind.isOn() ? "" : [item.id, placeOf(item)].filter(Boolean).join(" · ");
      return el("div", { class: "tile", role: "option" }, picture, el("span", { class: "name", "aria-hidden": "true" }, name, scores && el("span", { class: "scores" }, scores)));
    });
    tiles.replaceChildren(...made);
    const prompts = new Set(list.map((item) => item.prompt));
    one(".title", dialog).textContent = kind;
    one(".subject", dialog).textContent = prompts.size === 1 ? list[0].prompt : "";
    for (const name of ["previous", "next"]) one(`[name=${name}]`, dialog).hidden = !ofJob;
    zoom.reset();
    fit();
    turnTo(next);
  };

  const picturesOf = (item) => itemsOfJobs.get(item.job).filter((other) => other.picture);

  /** Show the images of the job before or after, in the order of the sheet; return whether there is one. */
  const turnPage = (by) => {
    const all = sheet.list();
    let place = all.indexOf(current());
    const { job } = current();
    while (all[place] && (all[place].job === job || !all[place].picture)) place += by;
    if (!ofJob || place < 0 || !all[place]) return false;
    list = picturesOf(all[place]);
    show(0);
    return true;
  };

  const step = (by) => {
    if (list[at + by]) turnTo(at + by);
  };
  const STEPS = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    ArrowUp: () => step(-getComputedStyle(tiles).gridTemplateColumns.split(" ").length),
    ArrowDown: () => step(getComputedStyle(tiles).gridTemplateColumns.split(" ").length),
    Home: () => turnTo(0),
    End: () => turnTo(list.length - 1),
    PageUp: () => turnPage(-1),
    PageDown: () => turnPage(1),
    Delete: () => {
      if (list.length < 2) return;
      list = list.filter((_, place) => place !== at);
      show(Math.min(at, list.length - 1));
    },
  };

  dialog.addEventListener("keydown", (event) => {
    if (!(event.key in STEPS) || event.altKey || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    STEPS[event.key]();
  });
  tiles.addEventListener("click", (event) => {
    const tile = event.target.closest(".tile");
    if (tile && !zoom.wasDragged()) turnTo([...tiles.children].indexOf(tile));
  });
  tiles.addEventListener("dblclick", (event) => zoom.toggle(event));
  one("[name=previous]", dialog).addEventListener("click", () => turnPage(-1));
  one("[name=next]", dialog).addEventListener("click", () => turnPage(1));
  one("[name=close]", dialog).addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    const item = current();
    tiles.replaceChildren();
    if (sheet.list().includes(item)) sheet.focusItem(item);
    if (isLeaving) sheet.open();
    isLeaving = false;
  });
  new ResizeObserver(fit).observe(tiles);

  return {
    /** Show the chosen images; without two, those of the current one's job; if it has one, that and the next. */
    open(name, item) {
      const all = sheet.list();
      const chosenOnes = selection.among(all).filter((other) => other.picture);
      const own = item?.picture ? picturesOf(item) : [];
      ofJob = chosenOnes.length < 2 && own.length > 1;
      list = chosenOnes.length > 1 ? chosenOnes : own.length > 1 ? own : all.slice(all.indexOf(item)).filter((other) => other.picture).slice(0, 2);
      const many = list.length;
      if (name === "Compare") list = list.slice(0, COMPARED);
      if (!list.length) return say("No image to show");
      kind = name;
      if (!dialog.open) dialog.showModal();
      show(Math.max(0, list.indexOf(item)));
      if (list.length < many) say(`The first ${COMPARED} of ${counted(many, "image")}`);
    },
    close: () => dialog.close(),
    isOpen: () => dialog.open,
    kind: () => kind,
    current,
    zoom,
    /** Show the current image alone. */
    enlarge() {
      isLeaving = true;
      dialog.close();
    },
    /** Go to the next image, or to the next job. */
    next: () => (list[at + 1] ? turnTo(at + 1) : turnPage(1)),
  };
})();

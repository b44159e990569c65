// The contact sheet. Only rows near the window have elements, so that it stays fast with ten thousand images.

const TARGETS = { small: 130, "": 210, large: 380 };
const BIGGER_THAN_THUMBNAILS = 256;
const PRINTED = 400;

const noPicture = (item) =>
  el(
    "span",
    { class: "blank" },
    el("strong", {}, item.picture ? "missing" : item.job.status),
    el("span", {}, item.reason),
  );

/** Make the item's image, or its placeholder; the placeholder also replaces an image that cannot be shown. */
const pictureOf = (item, { large = false } = {}) => {
  const { picture } = item;
  if (!picture?.src) return noPicture(item);
  const image = el("img", {
    src: large ? picture.src : picture.thumb || picture.src,
    alt: describe(item),
    width: picture.width,
    height: picture.height,
    loading: large ? "eager" : "lazy",
    decoding: "async",
  });
  image.addEventListener("error", () => {
    if (image.getAttribute("src") !== picture.src) image.src = picture.src;
    else image.replaceWith(noPicture({ ...item, reason: "The file cannot be shown." }));
  });
  return image;
};

const swatch = (lane) => el("i", { class: `swatch c${Math.min(7, data.lanes.indexOf(lane))}` });

const sheet = (() => {
  const box = one(".sheet");
  const drawn = new Map();
  let list = [];
  let rows = [];
  let target = TARGETS[""];
  let width = 0;
  let current = 0;

  const cell = (at, wide, high) => {
    const item = list[at];
    const picture = pictureOf(item);
    picture.style.height = `${high}px`;
    if (high > BIGGER_THAN_THUMBNAILS && item.picture?.thumb) picture.src = item.picture.src;
    const many = itemsOfJobs.get(item.job).length;
    const caption = el(
      "span",
      { class: "caption", "aria-hidden": "true" },
      el("span", { class: "prompt" }, item.prompt || item.id),
      el("span", { class: "under" }, swatch(item.job.lane), many > 1 ? `${item.id} · ${item.place + 1} of ${many}` : item.prompt ? item.id : item.job.lane),
    );
    const button = el("button", { type: "button", class: "shot", "data-at": at, tabindex: at === current ? 0 : -1 }, picture, caption);
    const made = el("div", { role: "gridcell", class: "card" }, button);
    made.style.width = `${wide}px`;
    return made;
  };

  const add = (number) => {
    const row = rows[number];
    const made = el("div", { role: "row", class: "row", "aria-rowindex": number + 1 });
    made.style.transform = `translateY(${row.top}px)`;
    made.append(...row.widths.map((wide, place) => cell(row.from + place, wide, row.height)));
    let next = null;
    for (const [other, element] of drawn) if (other > number && (next === null || other < next[0])) next = [other, element];
    box.insertBefore(made, next && next[1]);
    drawn.set(number, made);
  };

  const draw = (from, to) => {
    for (const [number, element] of drawn) {
      // The row with the focus stays: the next key press must find it.
      if ((number < from || number > to) && !element.contains(document.activeElement)) {
        element.remove();
        drawn.delete(number);
      }
    }
    for (let number = from; number <= to; number += 1) if (!drawn.has(number)) add(number);
  };

  const drawVisible = () => {
    if (!rows.length || !box.offsetParent) return;
    const top = -box.getBoundingClientRect().top;
    draw(rowAt(rows, top - window.innerHeight), rowAt(rows, top + 2 * window.innerHeight));
  };

  const place = () => {
    width = box.clientWidth;
    if (!width) return;
    // Two to a row at least, however narrow the window.
    const found = rowsOf(list, width, Math.min(target, Math.max(96, width * 0.62)));
    rows = found.rows;
    box.style.height = `${found.height}px`;
    box.setAttribute("aria-rowcount", rows.length);
    for (const element of drawn.values()) element.remove();
    drawn.clear();
    drawVisible();
  };

  const rowOf = (at) => rows.findIndex((row) => at < row.to);

  const reveal = (at) => {
    const row = rows[rowOf(at)];
    const top = box.getBoundingClientRect().top + row.top;
    const bar = one(".filters").getBoundingClientRect().height + GAP;
    if (top < bar) window.scrollBy(0, top - bar);
    else if (top + row.height + CAPTION > window.innerHeight) window.scrollBy(0, top + row.height + CAPTION + GAP - window.innerHeight);
    drawVisible();
  };

  const focus = (at) => {
    if (!list[at]) return;
    reveal(at);
    one(`[data-at="${current}"]`, box)?.setAttribute("tabindex", -1);
    current = at;
    const button = one(`[data-at="${at}"]`, box);
    button?.setAttribute("tabindex", 0);
    button?.focus({ preventScroll: true });
  };

  /** Return the image above or below whose middle is nearest. */
  const beside = (at, step) => {
    const number = rowOf(at);
    const [from, to] = [rows[number], rows[number + step]];
    if (!to) return at;
    const middles = (row) => {
      let x = 0;
      return row.widths.map((wide) => (x += wide + GAP) - GAP - wide / 2);
    };
    const wanted = middles(from)[at - from.from];
    const distances = middles(to).map((x) => Math.abs(x - wanted));
    return to.from + distances.indexOf(Math.min(...distances));
  };

  const KEYS = {
    ArrowLeft: (at) => at - 1,
    ArrowRight: (at) => at + 1,
    ArrowUp: (at) => beside(at, -1),
    ArrowDown: (at) => beside(at, 1),
    Home: () => 0,
    End: () => list.length - 1,
  };

  box.addEventListener("keydown", (event) => {
    const at = Number(event.target.dataset?.at);
    if (!(event.key in KEYS) || Number.isNaN(at) || event.altKey || event.metaKey) return;
    event.preventDefault();
    focus(KEYS[event.key](at));
  });
  box.addEventListener("click", (event) => {
    const button = event.target.closest(".shot");
    if (button) viewer.open(list, Number(button.dataset.at), focus);
  });

  let isDue = false;
  window.addEventListener("scroll", () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      drawVisible();
    });
  }, { passive: true });

  new ResizeObserver(() => {
    if (box.clientWidth === width || !box.clientWidth) return;
    const top = -box.getBoundingClientRect().top;
    const first = rows.length && top > 0 ? rows[rowAt(rows, top)].from : null;
    place();
    if (first !== null) window.scrollBy(0, box.getBoundingClientRect().top + rows[rowOf(first)].top);
  }).observe(box);

  window.addEventListener("beforeprint", () => draw(0, Math.min(rows.length - 1, rowOf(Math.min(PRINTED, list.length - 1)))));
  window.addEventListener("afterprint", drawVisible);

  return {
    show(next, size) {
      list = next;
      target = TARGETS[size] ?? TARGETS[""];
      current = 0;
      place();
    },
    place,
    focus,
    open: (at) => viewer.open(list, at, focus),
    find: (id) => list.findIndex((item) => item.id === id),
  };
})();

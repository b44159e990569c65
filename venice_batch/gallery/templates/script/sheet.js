// The contact sheet. Only rows near the window have elements, so that it stays fast with ten thousand images.

const TARGETS = { small: 130, "": 210, large: 380 };
const BIGGER_THAN_THUMBNAILS = 256;
const PRINTED = 400;

// Distances from one frame to the next, in heights of the window.
const FAST = 0.4;
const LEAP = 1;
const SETTLED_MS = 80;

const sheet = (() => {
  const box = one(".sheet");
  const drawn = new Map();
  let list = [];
  let rows = [];
  let target = TARGETS[""];
  let width = 0;
  let current = 0;
  let lastTop = 0;
  let drawnAt = 0;
  let settling = 0;

  const cell = (at, wide, row) => {
    const high = row.height;
    const item = list[at];
    const picture = pictureOf(item, { isHeld: true });
    picture.firstChild.style.height = `${high}px`;
    if (item.picture?.src) arrivals.hold(picture.firstChild, sourceOf(item, { large: high > BIGGER_THAN_THUMBNAILS }), row);
    const which = placeOf(item);
    const under = blind.isOn() ? [] : [swatch(item.job.lane), which ? `${item.id} · ${which}` : item.prompt ? item.id : item.job.lane];
    const caption = el(
      "span",
      { class: "caption", "aria-hidden": "true" },
      el("span", { class: "prompt" }, item.prompt || (blind.isOn() ? "" : item.id)),
      el("span", { class: "under" }, ...under),
      captionHeight() > CAPTION && el("span", { class: "scores" }, annotations.short(item)),
    );
    const isChosen = selection.has(item);
    const button = el("button", { type: "button", class: "shot", "data-at": at, tabindex: at === current ? 0 : -1 }, picture, caption);
    const check = el("button", { type: "button", class: "check", role: "checkbox", "aria-checked": String(isChosen), "aria-label": `Select ${describe(item)}`, tabindex: -1 });
    const made = el("div", { role: "gridcell", class: "card", "aria-selected": String(isChosen) }, button, check);
    made.style.width = `${wide}px`;
    return made;
  };

  const add = (number) => {
    const row = rows[number];
    const made = el("div", { role: "row", class: "row", "aria-rowindex": number + 1 });
    made.style.transform = `translateY(${row.top}px)`;
    if (row.heading) made.append(el("div", { class: "group", role: "rowheader" }, groups.heading(row.heading)));
    made.append(...row.widths.map((wide, place) => cell(row.from + place, wide, row)));
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
    const high = window.innerHeight;
    const top = -box.getBoundingClientRect().top;
    const moved = Math.abs(top - lastTop);
    lastTop = top;
    clearTimeout(settling);
    // After a leap only the rows in the window are drawn; those around it follow when the page rests.
    const around = moved > LEAP * high ? 0 : high;
    draw(rowAt(rows, top - around), rowAt(rows, top + high + around));
    drawnAt = performance.now();
    arrivals.look(top, top + high, moved > FAST * high);
    if (!around) settling = setTimeout(drawVisible, SETTLED_MS);
  };

  /** Draw as the page scrolls; while it leaps on and on, only now and then. */
  const follow = () => {
    const isLeap = Math.abs(-box.getBoundingClientRect().top - lastTop) > LEAP * window.innerHeight;
    if (!isLeap || performance.now() - drawnAt > SETTLED_MS) return drawVisible();
    clearTimeout(settling);
    settling = setTimeout(drawVisible, SETTLED_MS);
  };

  /** The height of the captions: with annotations they have a line more. */
  const captionHeight = () => CAPTION + (annotations.names().length && !blind.isOn() ? SCORES : 0);

  const lay = () => {
    // Two to a row at least, however narrow the window.
    const found = rowsOf(list, width, Math.min(target, Math.max(96, width * 0.62)), { caption: captionHeight(), labelOf: groups.labelOf });
    box.classList.toggle("scored", captionHeight() > CAPTION);
    rows = found.rows;
    box.style.height = `${found.height}px`;
    box.setAttribute("aria-rowcount", rows.length);
  };

  /** Remove the rows from `number` on and draw them anew; the focus stays on its image. */
  const redraw = (number = 0) => {
    const hadFocus = box.contains(document.activeElement);
    for (const [other, element] of drawn) {
      if (other < number) continue;
      element.remove();
      drawn.delete(other);
    }
    drawVisible();
    if (hadFocus && !box.contains(document.activeElement)) focus(current);
  };

  const place = () => {
    width = box.clientWidth;
    if (!width) return;
    lay();
    redraw();
  };

  const rowOf = (at) => rows.findIndex((row) => at < row.to);

  const reveal = (at) => {
    const row = rows[rowOf(at)];
    const top = box.getBoundingClientRect().top + row.top;
    const bar = one(".filters").getBoundingClientRect().height + GAP + (row.heading ? HEADING : 0);
    if (top < bar) window.scrollBy(0, top - bar);
    else if (top + row.height + captionHeight() > window.innerHeight) window.scrollBy(0, top + row.height + captionHeight() + GAP - window.innerHeight);
    drawVisible();
  };

  /** Make an image the current one: the one stop of the Tab key. */
  const turnTo = (at) => {
    one(`[data-at="${current}"]`, box)?.setAttribute("tabindex", -1);
    current = at;
    one(`[data-at="${at}"]`, box)?.setAttribute("tabindex", 0);
  };
  box.addEventListener("focusin", (event) => {
    if (event.target.dataset.at) turnTo(Number(event.target.dataset.at));
  });

  const focus = (at) => {
    if (!list[at]) return;
    // Behind another tab nothing has a place.
    if (!box.offsetParent) return turnTo(at);
    reveal(at);
    turnTo(at);
    one(`[data-at="${at}"]`, box)?.focus({ preventScroll: true });
  };

  /** Focus the current image; one that is seen, if that is out of sight. */
  const enter = () => {
    if (!list.length || box.contains(document.activeElement)) return;
    const top = -box.getBoundingClientRect().top;
    const row = rows[rowOf(current)];
    const isSeen = row.top + row.height > top && row.top < top + window.innerHeight;
    focus(isSeen ? current : rows[rowAt(rows, top + one(".filters").offsetHeight)].from);
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

  /** Show in the drawn cells which items are chosen. */
  selection.listen(() => {
    for (const made of box.querySelectorAll(".card")) {
      const isChosen = selection.has(list[made.firstChild.dataset.at]);
      made.setAttribute("aria-selected", isChosen);
      made.lastChild.setAttribute("aria-checked", isChosen);
    }
    box.classList.toggle("choosing", selection.count() > 0);
  });

  /** Move as an arrow key does; with Shift everything on the way is chosen. */
  const move = (key, shift) => {
    const from = current;
    const to = KEYS[key](from);
    if (!list[to]) return;
    if (shift) selection.extend(list, from, to);
    focus(to);
  };

  box.addEventListener("keydown", (event) => {
    const at = Number(event.target.dataset?.at);
    if (!(event.key in KEYS) || Number.isNaN(at) || event.altKey || event.metaKey || event.ctrlKey) return;
    event.preventDefault();
    move(event.key, event.shiftKey);
  });

  // A long press chooses; the tap that ends it does nothing more.
  const LONG_MS = 500;
  const MOVED = 10;
  let press = null;
  let wasLong = false;
  // The press moves the focus before the click comes.
  let currentBefore = 0;
  const letGo = () => {
    clearTimeout(press?.timer);
    press = null;
  };
  box.addEventListener("pointerdown", (event) => {
    const made = event.target.closest(".card");
    wasLong = false;
    currentBefore = current;
    if (!made || event.pointerType === "mouse") return;
    const timer = setTimeout(() => {
      wasLong = true;
      selection.toggle(list[made.firstChild.dataset.at]);
    }, LONG_MS);
    press = { timer, x: event.clientX, y: event.clientY };
  });
  box.addEventListener("pointermove", (event) => {
    if (press && Math.hypot(event.clientX - press.x, event.clientY - press.y) > MOVED) letGo();
  });
  for (const name of ["pointerup", "pointercancel", "pointerleave"]) box.addEventListener(name, letGo);
  box.addEventListener("contextmenu", (event) => {
    if (press || wasLong) event.preventDefault();
  });

  box.addEventListener("click", (event) => {
    const made = event.target.closest(".card");
    if (!made || wasLong) {
      wasLong = false;
      return;
    }
    const at = Number(made.firstChild.dataset.at);
    const isTap = event.detail > 0;
    if (event.shiftKey) {
      selection.extend(list, currentBefore, at);
      focus(at);
    } else if (event.ctrlKey || event.metaKey || event.target.closest(".check") || (isTap && selection.count())) {
      selection.toggle(list[at]);
      focus(at);
    } else if (event.target.closest(".shot")) viewer.open(list, at, focus);
  });

  let isDue = false;
  window.addEventListener("scroll", () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      follow();
    });
  }, { passive: true });

  /** Do `change`, then scroll so that the first image that was seen is where it was. */
  const anchored = (change) => {
    const top = -box.getBoundingClientRect().top;
    const row = rows.length && top > 0 ? rows[rowAt(rows, top)] : null;
    const first = row && list[row.from];
    change();
    const at = first ? list.indexOf(first) : -1;
    if (at >= 0) window.scrollBy(0, rows[rowOf(at)].top - row.top);
    drawVisible();
  };

  new ResizeObserver(() => {
    if (box.clientWidth !== width && box.clientWidth) anchored(place);
  }).observe(box);

  window.addEventListener("beforeprint", () => {
    draw(0, Math.min(rows.length - 1, rowOf(Math.min(PRINTED, list.length - 1))));
    arrivals.finish();
  });
  window.addEventListener("afterprint", drawVisible);

  return {
    show(next, size) {
      const before = list;
      list = next;
      target = TARGETS[size] ?? TARGETS[""];
      current = 0;
      selection.keep(list);
      place();
      viewer.follow(before, list);
    },
    /** Show `next` without moving what is seen; the current image stays so, or the one in its place. */
    change(next) {
      const [before, was] = [list, list[current]];
      anchored(() => {
        list = next;
        const at = list.indexOf(was);
        current = at >= 0 ? at : Math.max(0, Math.min(current, list.length - 1));
        selection.keep(list);
        place();
      });
      viewer.follow(before, list);
    },
    /** Add images at the end. */
    append(more) {
      const before = list;
      list = [...list, ...more];
      const last = Math.max(0, rows.length - 1);
      if (width) {
        lay();
        redraw(last);
      }
      viewer.follow(before, list);
    },
    place,
    focus,
    enter,
    has: (element) => box.contains(element),
    list: () => list,
    current: () => list[current],
    /** Return the items that a key is about: those chosen, or the current one. */
    targets: () => (selection.count() ? selection.among(list) : list.slice(current, current + 1)),
    next: () => focus(Math.min(current + 1, list.length - 1)),
    open: (at = current) => viewer.open(list, at, focus),
    find: (id, image = 1) => {
      const at = list.findIndex((item) => item.id === id && item.place === image - 1);
      return at >= 0 ? at : list.findIndex((item) => item.id === id);
    },
    focusItem: (item) => focus(list.indexOf(item)),
    /** Whether the item is in the window, or above it. */
    isAbove(item) {
      const row = rows[rowOf(list.indexOf(item))];
      return row !== undefined && box.getBoundingClientRect().top + row.top < window.innerHeight;
    },
  };
})();

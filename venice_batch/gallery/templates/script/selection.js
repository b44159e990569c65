// The images that a mark or a comparison is about, chosen in the sheet.

const selection = (() => {
  const held = new Set();
  const listeners = [];
  let anchor = null;
  const tell = () => listeners.forEach((listener) => listener());

  return {
    has: (item) => held.has(item),
    count: () => held.size,
    /** Return the chosen items in the order of `list`. */
    among: (list) => list.filter((item) => held.has(item)),
    toggle(item) {
      if (!held.delete(item)) held.add(item);
      anchor = item;
      tell();
    },
    /** Choose everything in `list` between the last item that was chosen or `from`, and `to`. */
    extend(list, from, to) {
      const start = held.size && list.includes(anchor) ? list.indexOf(anchor) : from;
      anchor = list[start];
      held.clear();
      for (const item of list.slice(Math.min(start, to), Math.max(start, to) + 1)) held.add(item);
      tell();
    },
    all(list) {
      for (const item of list) held.add(item);
      tell();
    },
    clear() {
      held.clear();
      anchor = null;
      tell();
    },
    /** Forget the items that are not in `list`. */
    keep(list) {
      if (!held.size) return;
      const there = new Set(list);
      for (const item of held) if (!there.has(item)) held.delete(item);
      tell();
    },
    listen: (listener) => listeners.push(listener),
  };
})();

// Rows of images whose height makes them fill the width; numbers only, no elements.

const GAP = 12;
const CAPTION = 44;
const SCORES = 17;
const HEADING = 46;
const NARROWEST = 0.55;
const WIDEST = 2.6;

/** Return where each row begins and how wide its images are; no row is higher than `target`.
    Below each row is room for a caption. `labelOf` names an item's group; each group has room for a heading. */
const rowsOf = (list, width, target, { caption = CAPTION, labelOf = () => "" } = {}) => {
  const rows = [];
  let from = 0;
  let ratios = 0;
  let top = 0;
  let label = "";
  const close = (to, height) => {
    const widths = list.slice(from, to).map((item) => height * clamped(item.ratio));
    const heading = labelOf(list[from]);
    if (heading !== label) top += HEADING;
    rows.push({ from, to, top, height, widths, heading: heading === label ? "" : heading });
    label = heading;
    top += height + caption + GAP;
    from = to;
    ratios = 0;
  };
  const end = (to) => {
    if (from < to) close(to, Math.min(target, (width - GAP * (to - from - 1)) / ratios));
  };
  list.forEach((item, at) => {
    if (at > from && labelOf(item) !== labelOf(list[at - 1])) end(at);
    ratios += clamped(item.ratio);
    const height = (width - GAP * (at - from)) / ratios;
    if (height <= target) close(at + 1, height);
  });
  end(list.length);
  return { rows, height: Math.max(0, top - GAP) };
};

const clamped = (ratio) => Math.min(WIDEST, Math.max(NARROWEST, ratio));

/** Return the number of the last row that begins at or above `y`. */
const rowAt = (rows, y) => {
  let [low, high] = [0, rows.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (rows[middle].top <= y) low = middle;
    else high = middle - 1;
  }
  return low;
};

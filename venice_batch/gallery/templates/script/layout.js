// Rows of images whose height makes them fill the width; numbers only, no elements.

const GAP = 12;
const CAPTION = 44;
const NARROWEST = 0.55;
const WIDEST = 2.6;

/** Return where each row begins and how wide its images are; no row is higher than `target`. */
const rowsOf = (list, width, target) => {
  const rows = [];
  let from = 0;
  let ratios = 0;
  let top = 0;
  const close = (to, height) => {
    const widths = list.slice(from, to).map((item) => height * clamped(item.ratio));
    rows.push({ from, to, top, height, widths });
    top += height + CAPTION + GAP;
    from = to;
    ratios = 0;
  };
  list.forEach((item, at) => {
    ratios += clamped(item.ratio);
    const height = (width - GAP * (at - from)) / ratios;
    if (height <= target) close(at + 1, height);
  });
  if (from < list.length) close(list.length, Math.min(target, (width - GAP * (list.length - from - 1)) / ratios));
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

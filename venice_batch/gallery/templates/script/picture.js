// An item's image with its mark, or words in its place; the same in the sheet, the sweeps and the dialogs.

/** The item that an element of class `picture` shows. */
const itemsOfPictures = new WeakMap();

const noPicture = (item) =>
  el(
    "span",
    { class: "blank" },
    el("strong", {}, item.picture ? "missing" : item.job.status),
    el("span", {}, item.reason),
  );

const STAR = "★";

/** Return the signs of an item's mark, each with words for those who cannot see them. */
const badgeOf = (item) => {
  const { mark, rating } = marks.of(item);
  if (!mark && !rating) return null;
  const sign = (text, words, kind) => el("span", { class: `sign ${kind}` }, el("span", { "aria-hidden": "true" }, text), el("span", { class: "unseen" }, `, ${words}`));
  return el(
    "span",
    { class: saving.isWaiting(item.key) ? "badge waiting" : "badge" },
    mark === "picked" && sign("✓", "picked", "picked"),
    mark === "rejected" && sign("✕", "rejected", "rejected"),
    rating && sign(STAR.repeat(rating), counted(rating, "star"), "rated"),
  );
};

const drawBadge = (holder) => {
  const item = itemsOfPictures.get(holder);
  one(".badge", holder)?.remove();
  const badge = badgeOf(item);
  if (badge) holder.append(badge);
  holder.classList.toggle("is-rejected", marks.of(item).mark === "rejected");
};

/** Draw the marks of these images anew, wherever the page shows them. */
const redrawBadges = (keys) => {
  for (const holder of document.querySelectorAll(".picture")) {
    if (keys.has(itemsOfPictures.get(holder)?.key)) drawBadge(holder);
  }
};
marks.listen(redrawBadges);

const sourceOf = ({ picture }, { large = false } = {}) => (large ? picture.src : picture.thumb || picture.src);

/** Make the item's image, or its placeholder; the placeholder also replaces an image that cannot be shown.
    With `isHeld` the image gets its source later. */
const pictureOf = (item, { large = false, isHeld = false } = {}) => {
  const { picture } = item;
  const holder = el("span", { class: "picture" });
  itemsOfPictures.set(holder, item);
  if (!picture?.src) {
    holder.append(noPicture(item));
    return holder;
  }
  const image = el("img", {
    src: !isHeld && sourceOf(item, { large }),
    alt: describe(item),
    width: picture.width,
    height: picture.height,
    loading: isHeld || large ? "eager" : "lazy",
    decoding: "async",
  });
  image.addEventListener("error", () => {
    if (image.getAttribute("src") !== picture.src) image.src = picture.src;
    else image.replaceWith(noPicture({ ...item, reason: "The file cannot be shown." }));
  });
  holder.append(image);
  drawBadge(holder);
  return holder;
};

const swatch = (lane) => el("i", { class: `swatch c${Math.min(7, data.lanes.indexOf(lane))}` });

// The images that a key or a button is about, and what follows a mark.

const advance = one("[name=advance]");

/** Return the images in question: those of the open dialog, of the focused sweep, or of the sheet. */
const targets = () => {
  if (board.isOpen()) return [board.current()];
  if (viewer.isOpen()) return [viewer.current()];
  const shot = document.activeElement.closest(".shot");
  if (shot && !sheet.has(shot)) return [itemsOfPictures.get(one(".picture", shot))].filter(Boolean);
  if (one("#images").hidden) return [];
  if (!selection.count()) sheet.enter();
  return sheet.targets();
};

const goOn = (from) => {
  if (board.isOpen()) board.next();
  else if (viewer.isOpen()) viewer.current() === from && viewer.step(1);
  // The place of an image that the filter has just removed is taken by the next one.
  else if (sheet.current() === from) sheet.next();
};

/** Change the marks of the images in question; then go on to the next image, if that is wanted. */
const mark = (change, { isLocked = false } = {}) => {
  const list = targets();
  const text = marks.make(list, change);
  if (!text) return say("No image to mark");
  saving.thenSay(text);
  if (list.length === 1 && (isLocked || advance.checked)) goOn(list[0]);
};

const revert = (how) => {
  const { text } = how();
  saving.thenSay(text);
};

// Zoom and pan of all images in a stage, together: the same part of each is seen.

const STEP = 1.25;
const HIGHEST = 8;
const DRAGGED = 4;
const SWIPED = 60;

/** Make the images in `stage` zoomable; `onSwipe` is called with -1 or 1 when a finger moves over an image that fits. */
const zoomable = (stage, { onSwipe = () => {} } = {}) => {
  // The shift of the middle is counted in widths and heights of the image.
  let [scale, x, y] = [1, 0, 0];
  let hasMoved = false;
  const pointers = new Map();
  const images = () => [...stage.querySelectorAll(".pane img")];

  const clamp = (value) => Math.max(-(scale - 1) / 2, Math.min((scale - 1) / 2, value));
  const apply = () => {
    [x, y] = [clamp(x), clamp(y)];
    stage.classList.toggle("zoomed", scale > 1);
    for (const image of images()) {
      image.style.transform = scale > 1 ? `translate(${x * image.offsetWidth}px, ${y * image.offsetHeight}px) scale(${scale})` : "";
    }
  };

  /** Return the scale that shows a pixel of the image as a pixel of the page, at least 2. */
  const full = () => Math.max(2, ...images().map((image) => image.naturalWidth / image.offsetWidth || 0));

  /** Zoom to `next` so that the point under the pointer stays; the middle stays without one. */
  const to = (next, point = null) => {
    const before = scale;
    scale = Math.max(1, Math.min(Math.max(HIGHEST, 2 * full()), next));
    const image = point && point.target.closest?.(".pane")?.querySelector("img");
    if (image) {
      const box = image.getBoundingClientRect();
      const [px, py] = [(point.clientX - box.x - box.width / 2) / image.offsetWidth, (point.clientY - box.y - box.height / 2) / image.offsetHeight];
      x -= px * (scale / before - 1);
      y -= py * (scale / before - 1);
    }
    apply();
  };

  const spread = () => {
    const [a, b] = [...pointers.values()];
    return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
  };

  stage.addEventListener("wheel", (event) => {
    if (!event.target.closest(".pane")) return;
    event.preventDefault();
    to(scale * STEP ** (-event.deltaY / (event.deltaMode ? 3 : 100)), event);
  }, { passive: false });
  stage.addEventListener("pointerdown", (event) => {
    if (!pointers.size) hasMoved = false;
    if (event.button || !event.target.closest(".pane")) return;
    pointers.set(event.pointerId, { clientX: event.clientX, clientY: event.clientY, from: event.clientX });
  });
  stage.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const [dx, dy] = [event.clientX - last.clientX, event.clientY - last.clientY];
    if (!hasMoved && Math.hypot(dx, dy) < DRAGGED) return;
    hasMoved = true;
    stage.setPointerCapture(event.pointerId);
    const before = pointers.size === 2 && spread();
    Object.assign(last, { clientX: event.clientX, clientY: event.clientY });
    if (pointers.size === 2) to((scale * spread()) / before);
    else if (scale > 1) {
      const image = images()[0];
      x += dx / image.offsetWidth;
      y += dy / image.offsetHeight;
      apply();
    }
  });
  const end = (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const moved = event.clientX - last.from;
    const isSwipe = event.type === "pointerup" && event.pointerType === "touch" && pointers.size === 1 && scale === 1 && Math.abs(moved) > SWIPED;
    pointers.delete(event.pointerId);
    if (isSwipe) onSwipe(moved < 0 ? 1 : -1);
  };
  stage.addEventListener("pointerup", end);
  stage.addEventListener("pointercancel", end);
  stage.addEventListener("dragstart", (event) => event.preventDefault());

  return {
    reset() {
      [scale, x, y] = [1, 0, 0];
      pointers.clear();
      apply();
    },
    /** Show whole images, or their pixels. */
    toggle: (point = null) => to(scale > 1 ? 1 : full(), point),
    by: (steps) => to(scale * STEP ** steps),
    apply,
    /** Whether the click that ends a drag comes now. */
    wasDragged: () => hasMoved,
  };
};

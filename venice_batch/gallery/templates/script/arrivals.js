// When the sheet's images load: a few in each frame, those in the window first, so that scrolling stays smooth.

const arrivals = (() => {
  const IN_A_FRAME = 3;
  const REST_MS = 100;
  const held = new Map();
  let [top, bottom] = [0, 0];
  let pausedUntil = 0;
  let isRunning = false;

  const load = ([image, { source }]) => {
    held.delete(image);
    image.src = source;
  };

  /** Load the next images; forget those that have been scrolled away. */
  const pass = (now) => {
    const later = [];
    let left = now < pausedUntil ? 0 : IN_A_FRAME;
    for (const entry of [...held]) {
      const [image, { row }] = entry;
      if (!image.isConnected) held.delete(image);
      else if (left && row.top < bottom && row.top + row.height > top) {
        load(entry);
        left -= 1;
      } else later.push(entry);
    }
    later.slice(0, left).forEach(load);
    isRunning = held.size > 0;
    if (isRunning) requestAnimationFrame(pass);
  };

  return {
    /** Load `source` into an image of `row` when it is its turn. */
    hold: (image, source, row) => held.set(image, { source, row }),
    /** The window is now between two heights of the sheet. While it moves fast, nothing loads. */
    look(from, to, isFast) {
      [top, bottom] = [from, to];
      if (isFast) pausedUntil = performance.now() + REST_MS;
      if (isRunning || !held.size) return;
      isRunning = true;
      requestAnimationFrame(pass);
    },
    finish: () => [...held].forEach(load),
  };
})();

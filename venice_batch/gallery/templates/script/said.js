// What the page says of a change: shown for a moment, and read out by screen readers.

const say = (() => {
  const LASTS_MS = 4000;
  let timer = 0;
  return (text) => {
    if (!text) return;
    // While a dialog is open, everything outside it is silent.
    const place = one("dialog[open] .said") ?? one("main > .said");
    for (const other of document.querySelectorAll(".said")) other.textContent = "";
    place.textContent = text;
    clearTimeout(timer);
    timer = setTimeout(() => (place.textContent = ""), LASTS_MS);
  };
})();

// Elements and texts. Anything from a record becomes a text node, never markup.

const one = (selector, within = document) => within.querySelector(selector);

/** Make an element; attributes that are false or missing are left out, `on…` are listeners. */
const el = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child != null && child !== false));
  return made;
};

const number = (value) => value.toLocaleString("en");
const counted = (value, noun, many = `${noun}s`) => `${number(value)} ${value === 1 ? noun : many}`;

const duration = (seconds) => {
  if (seconds < 0.0995) return `${(seconds * 1000).toFixed(seconds < 0.00095 ? 1 : 0)} ms`;
  if (seconds < 59.5) return `${seconds.toPrecision(2)} s`;
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours} h ${String(minutes).padStart(2, "0")} min` : `${minutes} min ${String(rest).padStart(2, "0")} s`;
};

const fileSize = (bytes) => {
  const units = ["bytes", "kB", "MB", "GB"];
  let unit = 0;
  let value = bytes;
  for (; value >= 999.5 && unit < 3; unit += 1) value /= 1000;
  return `${unit && value < 99.5 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
};

const usd = (amount) => {
  const digits = amount > 0 && amount < 0.995 ? 4 : 2;
  return amount.toLocaleString("en", { style: "currency", currency: "USD", minimumFractionDigits: 2, maximumFractionDigits: digits });
};

const plain = (value) => (typeof value === "string" ? value : JSON.stringify(value));

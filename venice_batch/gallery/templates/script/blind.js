// Blind: models, seeds and ids hidden, in an order drawn from a seed, so that only the images are judged.

const blind = (() => {
  let seed = address.all().blind ?? "";

  /** Return a number that depends on every character (FNV-1a, mixed as in MurmurHash3). */
  const hash = (text) => {
    let sum = 0x811c9dc5;
    for (let at = 0; at < text.length; at += 1) sum = Math.imul(sum ^ text.charCodeAt(at), 0x01000193);
    sum = Math.imul(sum ^ (sum >>> 16), 0x85ebca6b);
    sum = Math.imul(sum ^ (sum >>> 13), 0xc2b2ae35);
    return (sum ^ (sum >>> 16)) >>> 0;
  };

  return {
    isOn: () => seed !== "",
    seed: () => seed,
    set: (on) => {
      seed = on ? String(1 + Math.floor(Math.random() * 999_999)) : "";
    },
    /** Return the images among `list` in the order of the seed. */
    shuffled: (list) =>
      list
        .filter((item) => item.picture)
        .map((item) => [hash(`${seed} ${item.key}`), item])
        .sort(([a], [b]) => a - b)
        .map(([, item]) => item),
  };
})();

// Annotations: what scorers say of an image, as named numbers, booleans and texts; and conditions on them.

const annotations = (() => {
  const NONE = Object.freeze({});
  const MOST_NAMES = 60;
  const MOST_TEXTS = 50;
  const LONGEST_LABEL = 100;
  const SHORTEST = 40;
  const known = new Map();
  const kinds = new Map();
  /** The different texts of each name, up to one more than make labels. */
  const texts = new Map();
  const listeners = [];
  /** Names to show first: those that the order, the groups or the search are about. */
  let asked = [];

  const keyOf = (id, image, sha256) => `${sha256.slice(0, 16)} ${image} ${id}`;

  const learn = (values) => {
    for (const [name, value] of Object.entries(values)) {
      const kind = typeof value;
      if ((kinds.get(name) ?? kind) !== kind) kinds.set(name, "string");
      else if (!kinds.has(name)) kinds.set(name, kind);
      if (kind !== "string") continue;
      if (!texts.has(name)) texts.set(name, new Set());
      const found = texts.get(name);
      if (found.size <= MOST_TEXTS) found.add(value);
    }
  };

  /** Take rows of [id, image, hash, values]; return the keys of those that are new or changed. */
  const add = (rows) => {
    const changed = new Set();
    for (const [id, image, sha256, values] of rows) {
      const key = keyOf(id, image, sha256);
      if (JSON.stringify(known.get(key) ?? NONE) === JSON.stringify(values)) continue;
      known.set(key, values);
      learn(values);
      changed.add(key);
    }
    return changed;
  };
  add(data.annotations ?? []);

  const keyOfItem = (item) => (item.scoreKey ??= item.picture ? keyOf(item.id, item.place + 1, item.picture.sha256) : "");
  const of = (item) => known.get(keyOfItem(item)) ?? NONE;
  const valueOf = (item, name) => {
    const values = of(item);
    return Object.hasOwn(values, name) ? values[name] : undefined;
  };

  const plainNumber = (value) =>
    Number.isInteger(value) && Math.abs(value) < 1e15
      ? number(value)
      : Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6
        ? value.toLocaleString("en", { maximumFractionDigits: 4, maximumSignificantDigits: 4 })
        : value.toPrecision(3);
  const format = (value) => (typeof value === "number" ? plainNumber(value) : typeof value === "boolean" ? (value ? "yes" : "no") : value);

  const textsOfValues = new WeakMap();
  /** Return the texts among an item's values, for a search. */
  const textOf = (item) => {
    const values = of(item);
    if (!textsOfValues.has(values)) {
      const found = Object.values(values).filter((value) => typeof value === "string");
      textsOfValues.set(values, found.join("\n").toLowerCase());
    }
    return textsOfValues.get(values);
  };

  /** Return the first values of an item in a few words. */
  const short = (item, most = 3) => {
    const values = of(item);
    const names = [...new Set([...asked, ...Object.keys(values)])].filter((name) => Object.hasOwn(values, name)).slice(0, most);
    return names.map((name) => `${name} ${String(format(values[name])).slice(0, SHORTEST)}`).join(" · ");
  };

  const numberOf = (value) => (typeof value === "string" ? NaN : Number(value));
  const compare = (one, other) =>
    typeof one === "string" || typeof other === "string" ? String(one).localeCompare(String(other), "en", { numeric: true }) : one - other;

  // Conditions, as the command takes them.
  const CONDITION = /(?:"([^"]+)"|([^\s"<>=!≤≥≠]+))\s*(<=|>=|!=|==|[<>=≤≥≠])\s*("[^"]*"|[^\s"]*)/gu;
  const SPELLINGS = { "==": "=", "≤": "<=", "≥": ">=", "≠": "!=" };
  const WORDS = { true: 1, false: 0, yes: 1, no: 0 };
  const TESTS = {
    "<": (one, other) => one < other,
    "<=": (one, other) => one <= other,
    ">": (one, other) => one > other,
    ">=": (one, other) => one >= other,
    "=": (one, other) => one === other,
    "!=": (one, other) => one !== other,
  };
  const named = (text) => {
    const name = text.replace(/^annotation\./u, "");
    return kinds.has(name) ? name : [...kinds.keys()].find((other) => other.toLowerCase() === name.toLowerCase());
  };
  const condition = (name, sign, text) => {
    const lower = text.toLowerCase();
    const wanted = lower in WORDS ? WORDS[lower] : Number(text);
    return (item) => {
      const value = valueOf(item, name);
      if (value === undefined) return false;
      if (typeof value === "string" || Number.isNaN(wanted)) return ["=", "!="].includes(sign) && (String(value).toLowerCase() === lower) === (sign === "=");
      return TESTS[sign](numberOf(value), wanted);
    };
  };

  const nameOf = (order) => order.replace(/^(low|high|by):/u, "");

  return {
    of,
    format,
    short,
    textOf,
    valueOf,
    compare,
    kind: (name) => kinds.get(name),
    names: () => [...kinds.keys()].slice(0, MOST_NAMES),
    /** Whether the values are numbers, or few and short texts, and not sentences. */
    isOrdered: (name) => {
      const found = texts.get(name);
      return !found || (found.size <= MOST_TEXTS && [...found].every((text) => text.length <= LONGEST_LABEL));
    },
    /** Part a search into its words and its conditions; one that lacks its value is neither. */
    parse(text) {
      const conditions = [];
      const names = [];
      const rest = text.replace(CONDITION, (whole, quoted, bare, sign, value) => {
        const name = named(quoted ?? bare);
        if (name === undefined) return whole;
        names.push(name);
        const plainValue = value.replace(/^"|"$/gu, "");
        if (plainValue) conditions.push(condition(name, SPELLINGS[sign] ?? sign, plainValue));
        return " ";
      });
      return { words: rest.toLowerCase().split(/\s+/u).filter(Boolean), conditions, names };
    },
    /** Return the order `low:NAME` or `high:NAME`, in which items without the value come last; undefined for others. */
    order(text) {
      if (!/^(low|high):/u.test(text) || !kinds.has(nameOf(text))) return undefined;
      const name = nameOf(text);
      const sign = text.startsWith("low:") ? 1 : -1;
      return (a, b) => {
        const [one, other] = [valueOf(a, name), valueOf(b, name)];
        if (one === undefined || other === undefined) return (one === undefined) - (other === undefined);
        return sign * compare(one, other);
      };
    },
    /** Note which names a choice is about: they are shown first. A heading already has a group's text or boolean. */
    ask: ({ q, order, group }) => {
      const ranges = kinds.get(nameOf(group)) === "number" ? [nameOf(group)] : [];
      asked = [...new Set([nameOf(order), ...ranges, ...annotations.parse(q).names])].filter((name) => kinds.has(name));
    },
    take(rows) {
      const changed = add(rows);
      if (changed.size) listeners.forEach((listener) => listener((item) => changed.has(keyOfItem(item))));
    },
    /** Call `listener` with a test whether an item has changed. */
    listen: (listener) => listeners.push(listener),
  };
})();

// Groups of images on the sheet, each under a heading.

const groups = (() => {
  const MOST_VALUES = 8;
  const BINS = 5;
  /** Return the label of an item's group; "" where nothing is grouped. */
  let labelOf = () => "";
  let counts = new Map();

  /** Return a round width for about `BINS` ranges between two numbers. */
  const stepFor = (low, high) => {
    const rough = (high - low) / BINS;
    const power = 10 ** Math.floor(Math.log10(rough));
    return power * [1, 2, 5, 10].find((times) => times * power >= rough * 0.999);
  };

  /** Return for a value its group's label and a key to sort groups by; a search leaves the ranges as they are. */
  const grouping = (name) => {
    const values = new Set(items.map((item) => annotations.valueOf(item, name)).filter((value) => value !== undefined));
    if (annotations.kind(name) !== "number" || values.size <= MOST_VALUES) return (value) => [`${name}: ${annotations.format(value)}`, value];
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
    const step = stepFor(low, high);
    return (value) => {
      const place = Math.floor(value / step + 1e-9);
      return [`${name}: ${annotations.format(Number((place * step).toPrecision(12)))} – ${annotations.format(Number(((place + 1) * step).toPrecision(12)))}`, place];
    };
  };

  return {
    /** Group `list` as asked; return it with the groups one after the other. */
    arrange(list, group) {
      labelOf = () => "";
      const name = group.replace(/^by:/u, "");
      if (blind.isOn() || !group || (group !== "model" && annotations.kind(name) === undefined)) return list;
      const of = group === "model" ? null : grouping(name);
      const found = new Map();
      for (const item of list) {
        const value = of ? annotations.valueOf(item, name) : item.job.lane;
        const [label, rank] = !of ? [value, data.lanes.indexOf(value)] : value === undefined ? [`${name}: not given`, undefined] : of(value);
        if (!found.has(label)) found.set(label, { rank, items: [] });
        found.get(label).items.push(item);
      }
      const ordered = [...found].sort(([, a], [, b]) => (a.rank === undefined) - (b.rank === undefined) || (a.rank === undefined ? 0 : annotations.compare(a.rank, b.rank)));
      const labels = new Map(ordered.flatMap(([label, { items: members }]) => members.map((item) => [item, label])));
      counts = new Map(ordered.map(([label, { items: members }]) => [label, members.length]));
      labelOf = (item) => labels.get(item) ?? "";
      return ordered.flatMap(([, { items: members }]) => members);
    },
    labelOf: (item) => labelOf(item),
    /** Return a group's heading. */
    heading: (label) => `${label} · ${counted(counts.get(label) ?? 0, "image")}`,
  };
})();

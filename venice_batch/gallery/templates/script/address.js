// The part of the page's address after "#": the reader's choices, by name.

const address = (() => {
  const values = new URLSearchParams(location.hash.slice(1));
  return {
    all: () => Object.fromEntries(values),
    /** Set the given values; remove those given as "". */
    set(changes) {
      for (const [name, value] of Object.entries(changes)) {
        if (value) values.set(name, value);
        else values.delete(name);
      }
      const text = values.toString();
      history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
    },
  };
})();

// The part of the page's address after "#": what is chosen, by name.

const address = (() => {
  const values = new URLSearchParams(location.hash.slice(1));
  return {
    all: () => Object.fromEntries(values),
    /** Change what is given, take out what is given as "". */
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

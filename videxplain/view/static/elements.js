// Elements of the page. Text stays text: nothing is ever read as HTML.

/** An element with attributes (on... are listeners), and children that are elements or text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A choice with a label in front of it. `options` are [value, words]. */
export function choice(words, options, onchange, value) {
  const select = make(
    "select",
    { onchange: () => onchange(select.value) },
    ...options.map(([key, text]) => make("option", { value: key }, text)),
  );
  if (value !== undefined) select.value = value;
  return { select, element: make("label", { class: "field" }, make("span", {}, words), select) };
}

/** A switch with its label. */
export function check(words, on, onchange) {
  const box = make("input", { type: "checkbox", onchange: () => onchange(box.checked) });
  box.checked = on;
  return { box, element: make("label", { class: "field" }, box, make("span", {}, words)) };
}

/** A slider with a label and its value in words. */
export function slider(words, { min, max, step, value, say }, onchange) {
  const input = make("input", { type: "range", min, max, step, value });
  const told = make("output", {}, say(value));
  const set = (next) => {
    input.value = next;
    told.textContent = say(Number(input.value));
  };
  input.addEventListener("input", () => {
    told.textContent = say(Number(input.value));
    onchange(Number(input.value));
  });
  return { input, set, element: make("label", { class: "field" }, make("span", {}, words), input, told) };
}

export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}%`;

export const seconds = (time) => `${time.toFixed(2)} s`;

/** A number with three digits that count. */
export const number = (value) => (value === 0 ? "0" : Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5
  ? Number(value.toPrecision(3)).toString() : value.toExponential(2));

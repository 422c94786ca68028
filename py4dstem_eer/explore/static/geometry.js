// Small helpers of the panel: elements, numbers, colours.

function make(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "class") element.className = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// Set what differs: what is set again is laid out and painted again.
function put(element, props) {
  for (const [name, value] of Object.entries(props)) {
    if (String(element[name]) !== String(value)) element[name] = value;
  }
}

const SVG = "http://www.w3.org/2000/svg";

function makeSvg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// At most `digits` significant digits, without trailing zeros, and a real minus sign.
function shortNumber(value, digits = 4) {
  if (!Number.isFinite(value)) return "–";
  const rounded = Number(value.toPrecision(digits));
  const size = Math.abs(rounded);
  const text = size !== 0 && (size < 1e-3 || size >= 1e7) ? rounded.toExponential() : String(rounded);
  return text.replace("-", "−");
}

function parseNumber(text) {
  const clean = text.trim().replace("−", "-").replace(",", ".");
  return clean === "" ? NaN : Number(clean);
}

// The largest 1, 2 or 5 times a power of ten that is not above `value`.
function roundDown(value) {
  const decade = 10 ** Math.floor(Math.log10(value));
  return [5, 2, 1].map((m) => m * decade).find((v) => v <= value * 1.0001);
}

function ticks(low, high, wanted) {
  if (!(high > low)) return [low];
  let step = roundDown((high - low) / wanted);
  while ((high - low) / step > wanted + 1) step = roundDown(step * 2.6);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-6); i * step <= high + 1e-6 * step; i++) found.push(i * step);
  return found;
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

// 256 colours as 32-bit pixels.
function pixelTable(bytes) {
  const table = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    table[i] = 0xff000000 | (bytes[3 * i + 2] << 16) | (bytes[3 * i + 1] << 8) | bytes[3 * i];
  }
  return table;
}

// Paint 8-bit levels into a canvas of their own size.
function paintLevels(canvas, levels, [rows, columns], table) {
  if (canvas.width !== columns || canvas.height !== rows) {
    canvas.width = columns;
    canvas.height = rows;
  }
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = table[levels[i]];
  context.putImageData(image, 0, 0);
}

// Make a canvas as fine as the screen, and return its context in CSS pixels.
function sharpContext(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

// A row of buttons of which one is chosen; `choices` are [value, text, title].
function segmented(label, choices, choose) {
  const buttons = new Map();
  const group = make("div", { class: "segments", role: "radiogroup", "aria-label": label });
  for (const [value, text, title] of choices) {
    const button = make("button", { type: "button", title, role: "radio", onclick: () => choose(value) }, text);
    button.dataset.value = value;
    buttons.set(value, button);
    group.append(button);
  }
  const select = (chosen) => {
    for (const [value, button] of buttons) {
      const now = String(value === chosen);
      if (button.getAttribute("aria-checked") !== now) button.setAttribute("aria-checked", now);
    }
  };
  return { group, select };
}

function toggle(text, title, choose) {
  const box = make("input", { type: "checkbox", onchange: () => choose(box.checked) });
  return { box, label: make("label", { class: "toggle", title }, box, text) };
}

function dropdown(label, title, choices, choose) {
  const select = make("select", { title, "aria-label": label, onchange: () => choose(select.value) });
  select.append(...choices.map(([value, text]) => make("option", { value }, text)));
  return select;
}

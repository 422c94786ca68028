// The left area: a control for every aberration, and the geometry.

const LENGTHS = { 1: [0.1, "nm"], 2: [0.1, "nm"], 3: [1e-4, "µm"], 4: [1e-4, "µm"], 5: [1e-7, "mm"] };
const SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉";
const ORDER_NAMES = { 1: "1st order", 2: "2nd order", 3: "3rd order", 4: "4th order", 5: "5th order" };
const KEYS = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 };
const SLIDER_STEPS = 1000;

function symbolOf(name) {
  if (name === "defocus") return "Δf";
  const digits = [...name].filter((c) => c >= "0" && c <= "9").map((c) => SUBSCRIPTS[c]).join("");
  if (name.startsWith("phi")) return `φ${digits}`;
  return `C${digits}${/[ab]$/.test(name) ? name.slice(-1) : ""}`;
}

// One number: label, slider, text and unit.
class Knob {
  constructor(control, post) {
    this.control = control;
    this.post = post;
    this.center = 0;
    this.reach = control.reach;
    this.dragging = false;
    this.scale = 1;
    const { name, label } = control;
    const title = `${label} ${name}: double-click resets; arrow keys and wheel step, Shift coarse, Alt fine`;
    this.slider = make("input", {
      type: "range", title, "aria-label": `${name} slider`,
      oninput: () => this.slide(false), onchange: () => this.slide(true),
      onkeydown: (event) => this.key(event), ondblclick: () => this.reset(),
      onpointerdown: () => { this.dragging = true; },
      onpointerup: () => { this.dragging = false; },
    });
    this.text = make("input", {
      type: "text", inputMode: "decimal", spellcheck: false, autocomplete: "off", "aria-label": name,
      onchange: () => this.type(), onkeydown: (event) => this.key(event),
      onfocus: () => this.text.select(),
    });
    this.unit = make("span", { class: "unit" });
    const caption = make("span", { class: "caption", title, ondblclick: () => this.reset() },
      make("b", {}, control.symbol ?? symbolOf(name)), ` ${label}`);
    this.row = make("div", { class: "knob", data: { name } }, caption, this.slider, this.text, this.unit);
    this.row.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  reset() {
    this.dragging = false;
    this.post("reset", { names: [this.control.name] });
  }

  send(value, commit) {
    const tidy = Number(value.toPrecision(7));
    this.value = tidy;
    this.write();
    this.post("change", { changes: { [this.control.name]: tidy }, commit });
  }

  slide(commit) {
    if (commit) this.dragging = false;
    const value = Number(this.slider.value);
    // the end of a drag repeats its last value
    this.send(value, commit);
    if (commit) this.place();
  }

  type() {
    const value = parseNumber(this.text.value) / this.scale;
    if (Number.isFinite(value)) this.send(value, true);
    else this.post("complain", { text: `${this.control.name}: “${this.text.value}” is no number` });
    this.write();
  }

  nudge(sign, event) {
    const factor = event.shiftKey ? 10 : event.altKey ? 0.1 : 1;
    this.send(this.value + (sign * factor * this.control.step * this.reach) / this.control.reach, true);
    this.place();
  }

  key(event) {
    const typing = event.target === this.text;
    if (typing && event.key === "Enter") this.text.blur();
    if (!(event.key in KEYS) || event.ctrlKey || event.metaKey) return;
    if (typing && !event.key.match(/Up|Down/)) return;
    event.preventDefault();
    this.nudge(KEYS[event.key], event);
  }

  wheel(event) {
    if (!this.row.contains(document.activeElement)) return;  // else the page scrolls
    event.preventDefault();
    this.nudge(Math.sign(-(event.deltaY || event.deltaX)), event);
  }

  // What the kernel says the value is.
  take(value) {
    if (this.dragging) return;
    this.value = value;
    this.place();
    if (document.activeElement !== this.text || parseNumber(this.text.value) / this.scale !== value) this.write();
  }

  setReach(factor) {
    this.reach = this.control.reach * factor;
    this.place(factor < 1);
  }

  // Lay the slider's range around zero, or around the value where that would be outside.
  place(around = false) {
    const inside = Math.abs(this.value - this.center) <= this.reach;
    if (around) this.center = this.value;
    else if (this.reach >= this.control.reach && Math.abs(this.value) <= this.reach) this.center = 0;
    else if (!inside) this.center = this.value;
    const [low, high] = [this.center - this.reach, this.center + this.reach];
    put(this.slider, { min: low, max: high, step: (2 * this.reach) / SLIDER_STEPS });
    put(this.slider, { value: this.value });
  }

  setUnit(scale, unit) {
    this.scale = scale;
    this.unit.textContent = unit;
    this.write();
  }

  write() {
    if (this.value !== undefined) put(this.text, { value: shortNumber(this.value * this.scale, 6) });
  }
}

class Controls {
  constructor(post) {
    this.post = post;
    this.knobs = new Map();
    this.factor = 1;
    this.units = "Å";
    this.rows = make("div", { class: "knobs" });
    this.root = make("section", { class: "area left", "aria-label": "aberrations" },
      this.toolbar(), this.rows, this.geometry());
  }

  toolbar() {
    const { post } = this;
    const button = (text, title, kind) =>
      make("button", { type: "button", class: "icon", title, data: { action: kind }, onclick: () => post(kind) }, text);
    this.undo = button("↶", "undo (Ctrl+Z)", "undo");
    this.redo = button("↷", "redo (Ctrl+Shift+Z)", "redo");
    this.resetAll = button("reset", "put everything back to what it was at first", "reset");
    this.form = segmented("form", [
      ["polar", "polar", "magnitude and angle"], ["cartesian", "a, b", "cartesian: C cos nφ and C sin nφ"],
    ], (form) => post("show", { form }));
    this.unit = segmented("units", [
      ["Å", "Å", "Å and rad, as in Python"], ["nm", "nm", "nm, µm, mm and degrees"],
    ], (units) => { this.units = units; this.unit.select(units); this.setUnits(); });
    this.steps = segmented("slider range", [
      [0.1, "fine", "sliders and steps a tenth as wide, around the present values"],
      [1, "1×", "usual sliders: four turns of phase at the aperture's edge"],
      [10, "10×", "sliders and steps ten times as wide"],
    ], (factor) => { this.factor = factor; this.steps.select(factor); this.knobs.forEach((k) => k.setReach(factor)); });
    this.orders = make("select", { title: "highest order of aberrations", "aria-label": "orders",
      onchange: () => post("show", { orders: Number(this.orders.value) }) });
    this.unit.select("Å");
    this.steps.select(1);
    return make("div", { class: "bars" },
      make("div", { class: "bar" }, this.undo, this.redo, this.resetAll, make("span", { class: "gap" }),
        make("label", { class: "field" }, "orders ≤", this.orders)),
      make("div", { class: "bar" }, this.form.group, this.unit.group, make("span", { class: "gap" }), this.steps.group));
  }

  geometry() {
    const { post } = this;
    const change = (name) => (value) => post("change", { changes: { [name]: value }, commit: true });
    const rotation = { name: "rotation", symbol: "θ", label: "rotation", reach: 180, limit: 360, step: 0.5, unit: "°" };
    this.rotation = new Knob(rotation, post);
    this.rotation.value = 0;
    this.rotation.setUnit(1, "°");
    this.transpose = toggle("transpose", "detector rows and columns are swapped", change("transpose"));
    this.triple = toggle("triple", "use the regions where three disks overlap", change("triple_overlap"));
    this.sideband = dropdown("sideband", "which double overlaps are used; a single one is summed",
      [["both", "both"], ["left", "left"], ["right", "right"]], change("sideband"));
    this.weighting = dropdown("weighting", "least squares: quantitative, weighted by the noise, from both sidebands; sum: sharp, as py4DSTEM's",
      [["snr", "least squares"], ["sum", "sum"]], change("weighting"));
    this.size = make("input", { type: "number", min: 4, max: 128, step: 2, "aria-label": "detector size",
      title: "side of the small detector that the events are binned onto [px]",
      onchange: () => change("detector_size")(Number(this.size.value)) });
    return make("div", { class: "geometry" },
      make("h4", {}, "reconstruction"), this.rotation.row,
      make("div", { class: "pairs" },
        make("label", { class: "field" }, "sideband", this.sideband),
        make("label", { class: "field" }, "detector", this.size, make("span", { class: "unit" }, "px")),
        make("label", { class: "field" }, "weights", this.weighting),
        make("div", { class: "bar" }, this.transpose.label, this.triple.label)));
  }

  // Lay out the rows anew where other controls are wanted.
  build(controls) {
    const names = controls.map((c) => c.name).join();
    if (names === this.names) return;
    this.names = names;
    this.knobs.clear();
    const rows = [];
    let order = 0;
    for (const control of controls) {
      if (control.order !== order) rows.push(make("h4", {}, ORDER_NAMES[control.order]));
      order = control.order;
      const knob = new Knob(control, this.post);
      knob.value = control.value;
      knob.setReach(this.factor);
      this.knobs.set(control.name, knob);
      rows.push(knob.row);
    }
    this.rows.replaceChildren(...rows);
    this.setUnits();
  }

  setUnits() {
    for (const knob of this.knobs.values()) {
      const { unit, order } = knob.control;
      if (this.units === "Å") knob.setUnit(1, unit);
      else if (unit === "rad") knob.setUnit(180 / Math.PI, "°");
      else knob.setUnit(...LENGTHS[order]);
    }
  }

  update(state) {
    this.build(state.controls);
    for (const control of state.controls) this.knobs.get(control.name).take(control.value);
    this.undo.disabled = !state.can_undo;
    this.redo.disabled = !state.can_redo;
    this.form.select(state.form);
    this.orders.value = state.orders;
    const { rotation, transpose, sideband, weighting, detector_size: size } = state.settings;
    this.rotation.take(rotation);
    this.transpose.box.checked = transpose;
    this.triple.box.checked = state.settings.triple_overlap;
    this.sideband.value = sideband;
    this.weighting.value = weighting;
    if (document.activeElement !== this.size) this.size.value = size ?? "";
    this.size.placeholder = size === null ? "camera" : "";
  }
}

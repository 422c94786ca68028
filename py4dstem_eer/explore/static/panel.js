// The panel: three areas, and the link to the kernel.

const PATIENCE = 3000;  // [ms] until the panel says that it is waiting
const PAUSE = 150;  // [ms] without a new image, after which the facts tell of the last one
const TAB_NAMES = { phase: "phase", amplitude: "amplitude", FFT: "FFT", DPC: "DPC" };
let lastView = 0;

// One message under way at a time; what is turned meanwhile merges into the next one.
class Link {
  constructor(model, { arrived, waiting }) {
    Object.assign(this, { model, arrived, waiting });
    this.view = `${Date.now().toString(36)}-${lastView++}`;
    this.seq = 0;
    this.queue = [];
    this.sent = null;
    this.receive = (content, buffers) => this.take(content, buffers);
    model.on("msg:custom", this.receive);
  }

  post(kind, body = {}) {
    const last = this.queue[this.queue.length - 1];
    const now = performance.now();
    if (kind === "change" && last?.kind === kind && !last.body.commit) {
      Object.assign(last.body.changes, body.changes);
      last.body.commit = body.commit;
      last.times.push(now);
    } else if (kind === "show" && last?.kind === kind) {
      Object.assign(last.body, body);
    } else {
      this.queue.push({ kind, body, times: [now] });
    }
    if (!this.sent || now - this.sent.at > 10 * PATIENCE) this.send();
  }

  send() {
    const next = this.queue.shift();
    if (!next || this.closed) return;
    this.sent = { ...next, seq: ++this.seq, at: performance.now() };
    this.model.send({ kind: next.kind, ...next.body, view: this.view, seq: this.seq });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.waiting(true), PATIENCE);
  }

  take(content, buffers) {
    if (content.kind !== "reply" || this.closed) return;
    const own = content.view === this.view && content.seq === this.sent?.seq;
    const sent = own ? this.sent : null;
    if (own) {
      this.sent = null;
      sent.back = performance.now();
      clearTimeout(this.timer);
      this.waiting(false);
    }
    if (own) this.send();  // before drawing: the kernel works meanwhile
    this.arrived(content, buffers, sent);
  }

  // Whether nothing is under way.
  get settled() {
    return !this.sent && this.queue.length === 0;
  }

  close() {
    this.closed = true;
    this.queue = [];
    clearTimeout(this.timer);
    this.model.off("msg:custom", this.receive);
  }
}

class Panel {
  constructor(model) {
    this.link = new Link(model, {
      arrived: (content, buffers, sent) => this.arrived(content, buffers, sent),
      waiting: (is) => this.wait(is),
    });
    const post = (kind, body) => this.post(kind, body);
    this.controls = new Controls(post);
    this.trotters = new Trotters(post);
    this.image = new ImageView(post);
    this.message = make("div", { class: "message", role: "status", "aria-live": "polite" });
    this.facts = make("div", { class: "facts" });
    this.columns = make("div", { class: "columns" }, this.controls.root, this.trotters.root, this.right());
    this.root = make("div", { class: "ssb-panel", tabIndex: -1, data: { lmSuppressShortcuts: "true", state: "starting" },
      onkeydown: (event) => this.key(event) }, this.columns,
      make("footer", {}, this.facts, this.message));
    this.say("", "waiting for the kernel …");
    post("ready");
  }

  right() {
    const { post } = this.link;
    const show = (body) => this.post("show", body);
    this.tabs = segmented("image", Object.entries(TAB_NAMES).map(([tab, text]) => [tab, text, `show ${text}`]), (tab) => show({ tab }));
    this.tabs.group.classList.add("tabs");
    this.tools = segmented("tool", [
      ["move", "move", "drag moves, wheel zooms, double-click shows all"],
      ["profile", "profile", "drag a line for a profile; double-click takes it away"],
    ], (tool) => { this.tools.select(tool); this.image.setTool(tool); });
    this.tools.select("move");
    const percentile = (name) => make("input", { type: "number", min: 0, max: 100, step: 0.1, "aria-label": `${name} percentile`,
      title: "percentiles of the image at the ends of the colour bar",
      onchange: () => show({ low: Number(this.low.value), high: Number(this.high.value) }) });
    [this.low, this.high] = [percentile("lower"), percentile("upper")];
    this.held = toggle("hold", "keep the colour bar's ends while settings change", (hold) => show({ hold }));
    this.colormap = make("select", { title: "colour map", "aria-label": "colour map",
      onchange: () => show({ colormap: this.colormap.value }) });
    this.path = make("input", { type: "text", class: "path", spellcheck: false, "aria-label": "file name",
      title: "file on the kernel's machine; the picture gets the suffix .png" });
    const button = (text, title, action, onclick) => make("button", { type: "button", title, data: { action }, onclick }, text);
    return make("section", { class: "area right", "aria-label": "image" },
      make("div", { class: "bar" }, this.tabs.group, make("span", { class: "gap" }), this.tools.group,
        button("fit", "show the whole image", "fit", () => this.image.fit())),
      make("div", { class: "bar" }, make("label", { class: "field" }, "contrast", this.low, "–", this.high, "%"),
        this.held.label, make("span", { class: "gap" }), this.colormap),
      this.image.root,
      make("div", { class: "bar files" }, this.path,
        button("save EMD", "phase, amplitude and all parameters, for py4DSTEM.read", "save", () => this.post("save", { path: this.path.value })),
        button("PNG", "this tab's image with scale bar and colour bar", "export",
          () => this.post("export", { path: this.path.value.replace(/\.[^./\\]*$/, "") + ".png" })),
        button("copy Python", "the call that reproduces this image", "copy", () => this.copy())));
  }

  post(kind, body) {
    if (kind === "complain") this.say(body.text);
    else this.link.post(kind, body);
    put(this.root.dataset, { busy: !this.link.settled });
  }

  key(event) {
    event.stopPropagation();
    if (!(event.ctrlKey || event.metaKey)) return;
    const redo = event.key === "y" || (event.key.toLowerCase() === "z" && event.shiftKey);
    if (!redo && event.key !== "z") return;
    event.preventDefault();
    this.post(redo ? "redo" : "undo");
  }

  wait(is) {
    put(this.root.dataset, { waiting: is });
    if (is) this.say("", "waiting for the kernel: it is busy, or gone …");
    else if (this.message.dataset.waiting) this.say();
  }

  // A problem, or a quiet remark.
  say(problem = "", remark = "") {
    put(this.message, { textContent: problem || remark, title: problem || remark });
    this.message.classList.toggle("problem", Boolean(problem));
    put(this.message.dataset, { waiting: remark.startsWith("waiting") ? "1" : "" });
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.call);
    } catch {  // pages that are not on localhost or https have no clipboard
      const area = make("textarea", { value: this.call });
      this.root.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    this.say("", `copied: ${this.call}`);
  }

  arrived(content, buffers, sent) {
    const arrays = {};
    (content.arrays ?? []).forEach((name, i) => { arrays[name] = bytesOf(buffers[i]); });
    if (content.fixed) this.setFixed(content.fixed, arrays);
    // while more is under way, the controls are ahead of the kernel
    if (content.controls && (this.link.settled || content.fixed)) this.setState(content);
    if (arrays.image) this.draw(content, arrays);
    this.say(content.problem, content.said || (content.notes ?? []).join(" · "));
    put(this.root.dataset, { state: content.problem ? "problem" : "ready", busy: !this.link.settled });
    if (sent && arrays.image) this.measure(content, sent);
  }

  setFixed(fixed, arrays) {
    this.fixed = fixed;
    this.trotters.setHues(arrays.hues);
    this.colormap.replaceChildren(...fixed.colormaps.map((name) => make("option", { value: name }, name)));
    const orders = Array.from({ length: fixed.highest_order }, (_, i) => i + 1);
    this.controls.orders.replaceChildren(...orders.map((n) => make("option", { value: n }, String(n))));
    if (!this.path.value) this.path.value = fixed.target;
  }

  setState(content) {
    this.controls.update(content);
    this.tabs.select(content.tab);
    const focused = document.activeElement;
    if (focused !== this.low) this.low.value = content.contrast[0];
    if (focused !== this.high) this.high.value = content.contrast[1];
    this.held.box.checked = content.held;
    this.colormap.value = content.colormap;
    this.call = content.call;
  }

  draw(content, arrays) {
    const table = pixelTable(arrays.colors);
    this.image.show(arrays.image, content.image, table);
    const values = arrays.profile && new Float32Array(arrays.profile.slice().buffer);
    this.image.showProfile(content.profile, values);
    this.trotters.show(arrays.trotters, content.trotters);
    if (arrays.spectrum) this.trotters.showSpectrum(arrays.spectrum, content.spectrum, pixelTable(grays()));
    this.content = content;
    if (this.measured) this.tell();
  }

  // Time from the first movement in a message to pixels on the screen.
  measure(content, sent) {
    requestAnimationFrame(() => setTimeout(() => {
      const now = performance.now();
      const times = sent.times.map((time) => now - time);
      this.measured = { content, trip: now - sent.at };
      // while more comes, the facts change with the next image: every change has the page painted
      clearTimeout(this.telling);
      this.telling = setTimeout(() => this.tell(), PAUSE);
      const detail = { kind: sent.kind, times, sigma: content.sigma, trip: now - sent.at, drawing: now - sent.back,
        reconstruction: content.milliseconds, kernel: content.answer_milliseconds };
      this.root.dispatchEvent(new CustomEvent("ssb-frame", { bubbles: true, detail }));
    }));
  }

  tell() {
    const { content } = this;
    const { content: { answer_milliseconds: answer, milliseconds }, trip } = this.measured;
    const { scan, step, energy, semiangle, per_pattern: perPattern, per_area: perArea } = this.fixed;
    const nm = (n) => ((scan[n] * step[n]) / 10).toPrecision(3);
    const facts = [
      ["frame", `${trip.toFixed(0)} ms`, `from the message to the screen; ${answer.toFixed(0)} ms of it in the kernel, reconstruction ${milliseconds.toFixed(0)} ms`],
      ["dose", `${shortNumber(perArea, 3)} e⁻/Å²`, `${shortNumber(perPattern, 4)} electrons per position`],
      ["field of view", `${nm(0)} × ${nm(1)} nm²`, `${scan[0]} × ${scan[1]} positions in steps of ${shortNumber(step[0])} Å`],
      ["scan", `${scan[0]} × ${scan[1]}`, "positions (rows × columns)"],
      ["beam", `${shortNumber(energy / 1e3)} keV, ${shortNumber(semiangle, 3)} mrad`, "energy and convergence semi-angle"],
      ["σ", `${shortNumber(content.sigma, 3)}${content.image.unit === "1" ? "" : ` ${content.image.unit}`}`, "standard deviation of the image"],
    ];
    if (!this.facts.children.length) {
      this.facts.append(...facts.map(([name]) => make("span", { data: { fact: name } }, make("i", {}, name), "")));
    }
    facts.forEach(([, value, title], i) => {
      const fact = this.facts.children[i];
      put(fact, { title });
      put(fact.lastChild, { data: value });
    });
  }

  close() {
    clearTimeout(this.telling);
    this.link.close();
    this.image.close();
  }
}

// Buffers come as DataView, as typed array or as ArrayBuffer, as the application pleases.
function bytesOf(data) {
  return ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);
}

function grays() {
  return Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3));
}

function render({ model, el }) {
  const panel = new Panel(model);
  el.append(panel.root);
  return () => panel.close();
}

export default { render };

// The middle area: nine trotters, and the power spectrum on which they are picked.

const OUTLINE = { fill: "none", "stroke-width": 0.011 };

class Trotters {
  constructor(post) {
    this.post = post;
    this.slot = 0;
    this.cells = [];
    this.grid = make("div", { class: "trotters" });
    this.mean = make("span", { class: "muted" });
    this.wheel = make("canvas", { class: "wheel", title: "hue is phase, brightness is magnitude" });
    this.spectrum = make("canvas", { class: "spectrum", title: "click: the strongest frequency near it becomes the marked trotter; rings: α/λ and 2α/λ" });
    this.marks = makeSvg("svg", { class: "marks", viewBox: "0 0 1 1", preserveAspectRatio: "none" });
    this.spectrumBox = make("div", { class: "spectrum-box" }, this.spectrum, this.marks);
    this.spectrumBox.addEventListener("click", (event) => this.pick(event));
    const strongest = make("button", { type: "button", title: "show strong frequencies that lie well apart",
      data: { action: "strongest" }, onclick: () => post("strongest") }, "strongest");
    this.root = make("section", { class: "area middle", "aria-label": "trotters" },
      make("div", { class: "bar" }, make("h3", { title: "G(k, Q) with the aberrations undone: flat means corrected" }, "Trotters"),
        this.mean, make("span", { class: "gap" }), this.wheel),
      this.grid,
      make("div", { class: "bar" }, make("h3", {}, "Power spectrum"), make("span", { class: "gap" }), strongest),
      this.spectrumBox);
  }

  setHues(bytes) {
    this.hues = bytes.slice();
    const size = 44;
    const levels = { width: size, height: size };
    Object.assign(this.wheel, levels);
    const image = this.wheel.getContext("2d").createImageData(size, size);
    for (let i = 0; i < size * size; i++) {
      const [x, y] = [(i % size) - size / 2 + 0.5, Math.floor(i / size) - size / 2 + 0.5];
      const radius = Math.hypot(x, y) / (size / 2);
      const hue = Math.floor(((Math.atan2(-y, x) / (2 * Math.PI) + 0.5) * 256) % 256);
      this.color(image.data, i, hue, Math.min(radius * 255, 255));
      image.data[4 * i + 3] = radius > 1 ? 0 : 255;
    }
    this.wheel.getContext("2d").putImageData(image, 0, 0);
  }

  color(pixels, i, hue, magnitude) {
    for (let c = 0; c < 3; c++) pixels[4 * i + c] = (this.hues[3 * hue + c] * magnitude) / 255;
    pixels[4 * i + 3] = 255;
  }

  cell(index) {
    const canvas = make("canvas", { class: "trotter" });
    const circles = makeSvg("svg", { viewBox: "0 0 1 1", class: "marks" });
    const caption = make("div", { class: "caption" });
    const box = make("button", { type: "button", class: "trotter-box", "aria-label": `trotter ${index + 1}`,
      title: "click to mark it; a click on the power spectrum then changes it", onclick: () => this.mark(index) },
      make("div", { class: "square" }, canvas, circles), caption);
    return { box, canvas, circles, caption };
  }

  mark(index) {
    this.slot = index;
    this.cells.forEach((cell, i) => cell.box.setAttribute("aria-pressed", String(i === index)));
    this.drawMarks();
  }

  show(levels, meta) {
    const n = meta.q.length;
    if (this.cells.length !== n) {
      this.cells = meta.q.map((_, i) => this.cell(i));
      this.grid.replaceChildren(...this.cells.map((cell) => cell.box));
      this.slot = Math.min(this.slot, n - 1);
    }
    const place = JSON.stringify([meta.q, meta.center, meta.radius]);
    const moved = place !== this.place;
    this.place = place;
    this.meta = meta;
    this.cells.forEach((cell, i) => {
      this.paint(cell.canvas, levels, i, meta.side);
      put(cell.caption, {
        textContent: `${shortNumber(meta.spacing[i], 3)} Å · ${meta.flatness[i].toFixed(2)}`,
        title: `spacing 1/|Q| and flatness |ΣG|/Σ|G|: 1 where all phases agree; frequency ${meta.frequencies[i]}`,
      });
      if (moved) cell.circles.replaceChildren(...this.circles(meta, meta.q[i]));
    });
    const mean = meta.flatness.reduce((sum, value) => sum + value, 0) / n;
    put(this.mean, { textContent: `flatness ${mean.toFixed(3)}`, title: "mean of |ΣG|/Σ|G|: the larger, the better corrected" });
    if (moved) this.mark(this.slot);
  }

  paint(canvas, levels, index, side) {
    if (canvas.width !== side) Object.assign(canvas, { width: side, height: side });
    const context = canvas.getContext("2d");
    const image = context.createImageData(side, side);
    const first = index * side * side;
    for (let i = 0; i < side * side; i++) {
      this.color(image.data, i, levels[2 * (first + i)], levels[2 * (first + i) + 1]);
    }
    context.putImageData(image, 0, 0);
  }

  // The aperture, and the two that are shifted by Q against it.
  circles(meta, [qr, qc]) {
    const [cy, cx] = meta.center;
    return [[0, "rgba(255,255,255,0.9)"], [1, "rgba(255,255,255,0.5)"], [-1, "rgba(255,255,255,0.5)"]].map(
      ([sign, stroke]) => makeSvg("circle", { ...OUTLINE, stroke,
        cx: cx + sign * qc * meta.radius, cy: cy + sign * qr * meta.radius, r: meta.radius }));
  }

  showSpectrum(levels, meta, table) {
    this.spectrumMeta = meta;
    paintLevels(this.spectrum, levels, meta.shape, table);
    this.drawMarks();
  }

  // Signed frequency index to a place in the picture, as part of its sides.
  placed([row, column]) {
    const { first, bin, shape } = this.spectrumMeta;
    return [(column - first[1] + 0.5) / bin / shape[1], (row - first[0] + 0.5) / bin / shape[0]];
  }

  drawMarks() {
    if (!this.spectrumMeta || !this.meta) return;
    const { aperture, bin, shape } = this.spectrumMeta;
    const [mx, my] = this.placed([0, 0]);
    const parts = [1, 2].map((n) => makeSvg("ellipse", { ...OUTLINE, "stroke-width": 0.004, stroke: "rgba(255,255,255,0.6)",
      "stroke-dasharray": "0.015 0.015", cx: mx, cy: my,
      rx: (n * aperture[1]) / bin / shape[1], ry: (n * aperture[0]) / bin / shape[0] }));
    [1, 2].forEach((n) => {
      const [x, y] = [mx + (0.71 * n * aperture[1]) / bin / shape[1], my - (0.71 * n * aperture[0]) / bin / shape[0]];
      const label = makeSvg("text", { x: Math.min(x, 0.92), y: Math.max(y, 0.05), class: "ring" });
      label.textContent = n === 1 ? "α" : "2α";
      parts.push(label);
    });
    this.meta.frequencies.forEach((q, i) => {
      const chosen = i === this.slot;
      for (const sign of [1, -1]) {
        const [cx, cy] = this.placed(q.map((v) => sign * v));
        parts.push(makeSvg("circle", { cx, cy, r: 0.018, class: chosen ? "chosen" : "pick" }));
        if (sign === 1) {
          const text = makeSvg("text", { x: cx + 0.026, y: cy + 0.015, class: chosen ? "chosen" : "pick" });
          text.textContent = i + 1;
          parts.push(text);
        }
      }
    });
    this.marks.replaceChildren(...parts);
  }

  pick(event) {
    if (!this.spectrumMeta) return;
    const box = this.spectrumBox.getBoundingClientRect();
    const { first, bin, shape } = this.spectrumMeta;
    const row = ((event.clientY - box.top) / box.height) * shape[0] * bin + first[0] - 0.5;
    const column = ((event.clientX - box.left) / box.width) * shape[1] * bin + first[1] - 0.5;
    this.post("pick", { slot: this.slot, row, column });
    this.mark((this.slot + 1) % this.cells.length);
  }
}

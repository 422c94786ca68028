// The right area's image: zoom that stays, scale bar, colour bar, profile.

const SHORTEST = 420;
const AROUND = 230;  // [px] of the window's height that the image leaves to the rest
const PLOT_HEIGHT = 116;
const FARTHEST_ZOOM = 64;
const RAMP = Uint8Array.from({ length: 256 }, (_, i) => 255 - i);

class ImageView {
  constructor(post) {
    this.post = post;
    this.zoom = 1;
    this.middle = null;  // of the view, in units of the image's sides
    this.tool = "move";
    this.source = document.createElement("canvas");
    this.canvas = make("canvas", { class: "image", tabIndex: 0, "aria-label": "reconstructed image" });
    this.readout = make("span", { class: "readout" });
    this.bar = make("canvas", { class: "colors" });
    this.barLabels = make("div", { class: "bar-labels" });
    this.barUnit = make("div", { class: "bar-unit" });
    this.frame = make("div", { class: "frame" }, this.canvas, this.readout);
    this.plot = make("canvas", { class: "plot", hidden: true, "aria-label": "line profile" });
    this.stage = make("div", { class: "stage" }, this.frame,
      make("div", { class: "colorbar" }, this.bar, this.barLabels, this.barUnit));
    this.root = make("div", { class: "view" }, this.stage, this.plot);
    this.listen();
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomAt(Math.exp(-event.deltaY * 0.002), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.grab(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointerleave", () => { this.readout.textContent = ""; });
    canvas.addEventListener("dblclick", () => (this.measuring ? this.setLine(null) : this.fit()));
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.root);
  }

  close() {
    this.observer.disconnect();
  }

  fit() {
    this.zoom = 1;
    this.middle = null;
    this.draw();
  }

  // New levels from the kernel; the zoom stays.
  show(levels, meta, table) {
    const other = !this.meta || this.meta.fourier !== meta.fourier;
    this.meta = meta;
    this.levels = levels;
    this.table = table;
    if (other) Object.assign(this, { zoom: 1, middle: null });
    paintLevels(this.source, levels, meta.shape, table);
    this.canvas.classList.toggle("measuring", this.measuring);
    if (other) this.resize();
    this.draw();
    this.drawBar();
  }

  // Width and height of the whole image on the screen, without zoom.
  resize() {
    if (!this.meta) return;
    const [rows, columns] = this.meta.shape;
    const [tall, wide] = [rows * this.meta.pixel[0], columns * this.meta.pixel[1]];
    const room = Math.max(this.root.clientWidth - 78, 120);
    const height = Math.max(SHORTEST, window.innerHeight - AROUND - (this.profile ? PLOT_HEIGHT : 0));
    this.width = Math.min(room, (height * wide) / tall);
    this.height = (this.width * tall) / wide;
    this.draw();
    this.drawBar();
    this.drawProfile();
  }

  // From the image's (row, column) to the canvas, and back.
  toCanvas(row, column) {
    const [rows, columns] = this.meta.shape;
    const [my, mx] = this.middle ?? [0.5, 0.5];
    return [
      ((column + 0.5) / columns - mx) * this.width * this.zoom + this.width / 2,
      ((row + 0.5) / rows - my) * this.height * this.zoom + this.height / 2,
    ];
  }

  toImage(x, y) {
    const [rows, columns] = this.meta.shape;
    const [my, mx] = this.middle ?? [0.5, 0.5];
    return [
      ((y - this.height / 2) / (this.height * this.zoom) + my) * rows - 0.5,
      ((x - this.width / 2) / (this.width * this.zoom) + mx) * columns - 0.5,
    ];
  }

  zoomAt(factor, x, y) {
    const zoom = clamp(this.zoom * factor, 1, FARTHEST_ZOOM);
    const [my, mx] = this.middle ?? [0.5, 0.5];
    const [dx, dy] = [(x - this.width / 2) / this.width, (y - this.height / 2) / this.height];
    this.lookAt(my + dy / this.zoom - dy / zoom, mx + dx / this.zoom - dx / zoom, zoom);
  }

  lookAt(y, x, zoom) {
    const half = 0.5 / zoom;
    this.zoom = zoom;
    this.middle = [clamp(y, half, 1 - half), clamp(x, half, 1 - half)];
    this.draw();
  }

  setTool(tool) {
    this.tool = tool;
    this.canvas.classList.toggle("measuring", this.measuring);
  }

  get measuring() {
    return this.tool === "profile" && !this.meta?.fourier;
  }

  grab(event) {
    if (event.button !== 0 || !this.meta) return;
    this.canvas.setPointerCapture(event.pointerId);
    const start = this.inside(this.toImage(event.offsetX, event.offsetY));
    this.grabbed = { x: event.offsetX, y: event.offsetY, middle: this.middle ?? [0.5, 0.5], start };
  }

  inside([row, column]) {
    const [rows, columns] = this.meta.shape;
    return [clamp(row, -0.49, rows - 0.51), clamp(column, -0.49, columns - 0.51)];
  }

  move(event) {
    if (!this.meta) return;
    this.report(event);
    if (!this.grabbed) return;
    const { x, y, middle, start } = this.grabbed;
    if (this.measuring) {
      const end = this.inside(this.toImage(event.offsetX, event.offsetY));
      if (Math.hypot(event.offsetX - x, event.offsetY - y) > 3) this.setLine([...start, ...end]);
    } else {
      const [dy, dx] = [(event.offsetY - y) / this.height, (event.offsetX - x) / this.width];
      this.lookAt(middle[0] - dy / this.zoom, middle[1] - dx / this.zoom, this.zoom);
    }
  }

  release() {
    this.grabbed = null;
    this.resize();
  }

  setLine(line) {
    this.line = line;
    this.draw();
    this.post("show", { line });
  }

  // Place and value under the pointer.
  report(event) {
    const [row, column] = this.toImage(event.offsetX, event.offsetY).map(Math.round);
    const [rows, columns] = this.meta.shape;
    if (row < 0 || column < 0 || row >= rows || column >= columns) return;
    const { low, high, unit, pixel, fourier } = this.meta;
    const value = low + (this.levels[row * columns + column] / 255) * (high - low);
    const [x, y] = fourier ? [column - (columns >> 1), row - (rows >> 1)] : [column, row];
    const [dx, dy] = fourier ? [x * pixel[1] * 10, y * pixel[0] * 10] : [(x * pixel[1]) / 10, (y * pixel[0]) / 10];
    const place = `${dx.toFixed(2)}, ${dy.toFixed(2)} ${fourier ? "nm⁻¹" : "nm"}`;
    const spacing = fourier && (x || y) ? `  d = ${shortNumber(1 / Math.hypot(x * pixel[1], y * pixel[0]), 3)} Å` : "";
    this.readout.textContent = `${place}${spacing}  ${shortNumber(value, 3)} ${unit === "1" ? "" : unit}`;
  }

  draw() {
    if (!this.meta || !this.width) return;
    const context = sharpContext(this.canvas, this.width, this.height);
    const [x, y] = this.toCanvas(-0.5, -0.5);
    const { width, height } = this.source;
    const enlarged = (this.width * this.zoom * (window.devicePixelRatio || 1)) / width;
    context.imageSmoothingEnabled = enlarged < 2;
    // enlarged, "high" takes long and shows the same
    context.imageSmoothingQuality = enlarged < 1 ? "high" : "low";
    context.drawImage(this.source, 0, 0, width, height, x, y, this.width * this.zoom, this.height * this.zoom);
    if (this.meta.fourier) this.drawAperture(context);
    if (this.line && !this.meta.fourier) this.drawLine(context);
    this.drawScaleBar(context);
  }

  // Radii α/λ and 2α/λ, where the transfer of phase changes and ends.
  drawAperture(context) {
    const [rows, columns] = this.meta.shape;
    const [x, y] = this.toCanvas(rows >> 1, columns >> 1);
    for (const part of [1, 2]) {
      context.setLineDash([5, 5]);
      context.strokeStyle = "rgba(255, 255, 255, 0.85)";
      const radius = part * this.meta.aperture;
      const rx = ((radius / this.meta.pixel[1]) * this.width * this.zoom) / columns;
      const ry = ((radius / this.meta.pixel[0]) * this.height * this.zoom) / rows;
      context.beginPath();
      context.ellipse(x, y, rx, ry, 0, 0, 2 * Math.PI);
      context.stroke();
      context.setLineDash([]);
      outlined(context, part === 1 ? "α" : "2α", x + rx * 0.71 + 3, y - ry * 0.71 - 3);
    }
  }

  drawLine(context) {
    const [r0, c0, r1, c1] = this.line;
    const [from, to] = [this.toCanvas(r0, c0), this.toCanvas(r1, c1)];
    for (const [color, width] of [["rgba(0, 0, 0, 0.7)", 4], ["#4fe0ff", 1.8]]) {
      Object.assign(context, { strokeStyle: color, lineWidth: width });
      context.beginPath();
      context.moveTo(...from);
      context.lineTo(...to);
      context.stroke();
      for (const end of [from, to]) {
        context.beginPath();
        context.arc(...end, 3, 0, 2 * Math.PI);
        context.stroke();
      }
    }
    context.lineWidth = 1;
  }

  drawScaleBar(context) {
    const { fourier, pixel, shape } = this.meta;
    const visible = (shape[1] * pixel[1]) / this.zoom;  // Å or 1/Å over the canvas's width
    const length = roundDown((visible / 5) * (fourier ? 10 : 0.1));
    const width = ((length / (fourier ? 10 : 0.1)) * this.width) / visible;
    const [x, y] = [14, this.height - 16];
    context.fillStyle = "#fff";
    context.strokeStyle = "rgba(0, 0, 0, 0.8)";
    context.strokeRect(x, y, width, 5);
    context.fillRect(x, y, width, 5);
    context.textAlign = "center";
    outlined(context, `${shortNumber(length)} ${fourier ? "nm⁻¹" : "nm"}`, x + width / 2, y - 6);
    context.textAlign = "left";
  }

  drawBar() {
    if (!this.meta || !this.table) return;
    paintLevels(this.bar, RAMP, [256, 1], this.table);
    const { low, high, unit } = this.meta;
    const values = ticks(low, high, 6);
    while (this.barLabels.children.length > values.length) this.barLabels.lastChild.remove();
    values.forEach((value, i) => {
      const label = this.barLabels.children[i] ?? this.barLabels.appendChild(make("span"));
      const top = high > low ? (1 - (value - low) / (high - low)) * this.height : 0;
      put(label, { textContent: shortNumber(value, 3) });
      put(label.style, { transform: `translateY(calc(-50% + ${top.toFixed(1)}px))` });
    });
    for (const { style } of [this.bar, this.barLabels]) put(style, { height: `${this.height}px` });
    put(this.barUnit, { textContent: unit === "1" ? "" : unit });
  }

  // Values along the line, from the kernel.
  showProfile(profile, values) {
    if (!profile) this.line = null;
    else if (!this.grabbed) this.line = profile.line;
    const other = Boolean(profile) !== Boolean(this.profile);
    this.profile = profile && { ...profile, values };
    this.plot.hidden = !profile;
    if (other && !this.grabbed) this.resize();
    else this.drawProfile();
  }

  drawProfile() {
    if (!this.profile || !this.width) return;
    const [wide, tall, left, bottom, top] = [this.width + 50, PLOT_HEIGHT, 52, 30, 8];
    const context = sharpContext(this.plot, wide, tall);
    const style = getComputedStyle(this.root);
    const { values, line } = this.profile;
    const { pixel, unit } = this.meta;
    const length = Math.hypot((line[2] - line[0]) * pixel[0], (line[3] - line[1]) * pixel[1]) / 10;
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
    const margin = (high - low || 1) * 0.06;
    const x = (part) => left + part * (wide - left - 12);
    const y = (value) => tall - bottom - ((value - low + margin) / (high - low + 2 * margin)) * (tall - bottom - top);
    Object.assign(context, { font: `11px ${style.fontFamily}`, fillStyle: style.color, strokeStyle: style.color, globalAlpha: 0.75 });
    context.strokeRect(left, top, wide - left - 12, tall - bottom - top);
    context.textAlign = "center";
    for (const tick of ticks(0, length, 6)) context.fillText(shortNumber(tick, 3), x(tick / length), tall - bottom + 13);
    context.fillText("nm", wide - 22, tall - 4);
    context.textAlign = "right";
    for (const tick of ticks(low, high, 3)) context.fillText(shortNumber(tick, 3), left - 5, y(tick) + 4);
    context.textAlign = "left";
    context.fillText(unit === "1" ? "" : unit, 2, top + 8);
    Object.assign(context, { globalAlpha: 1, strokeStyle: style.getPropertyValue("--accent") || "#1976d2", lineWidth: 1.5 });
    context.beginPath();
    values.forEach((value, i) => context.lineTo(x(i / (values.length - 1)), y(value)));
    context.stroke();
  }
}

function outlined(context, text, x, y) {
  context.font = "600 12px system-ui, sans-serif";
  context.lineWidth = 3;
  context.lineJoin = "round";
  context.strokeStyle = "rgba(0, 0, 0, 0.75)";
  context.strokeText(text, x, y);
  context.fillStyle = "#fff";
  context.fillText(text, x, y);
  context.lineWidth = 1;
}

"use strict";
/* The plane: every sample a point (FPR, TPR) over checkpoints. Drawn pixel by pixel on a canvas,
   because 60,000 points then cost a few milliseconds a frame on any machine. Nothing from data
   ever becomes markup here: only textContent and pixels. */
(() => {
  const $ = (id) => document.getElementById(id);
  const plane = $("stage");
  if (!plane) return;
  const TYPES = {
    uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, int64: BigInt64Array,
    float32: Float32Array, float64: Float64Array,
  };

  async function unpack(node) {
    const text = atob(node.textContent.trim());
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    node.textContent = "";
    const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const reply = new Response(plain);
    if (node.dataset.dtype === "json") return reply.json();
    const values = new TYPES[node.dataset.dtype](await reply.arrayBuffer());
    values.shape = node.dataset.shape.split(",").map(Number);
    return values;
  }

  async function load() {
    const nodes = [...document.querySelectorAll("script[data-block]")];
    const parts = await Promise.all(nodes.map(unpack));
    return Object.fromEntries(nodes.map((n, k) => [n.dataset.block, parts[k]]));
  }

  function main(D) {
    const M = D.meta, N = M.samples, T = M.checkpoints.length;
    const base = $("plane-points"), over = $("plane-marks");
    const slider = $("plane-time"), play = $("plane-play"), colour = $("plane-colour");
    const noise = $("plane-noise"), view = $("plane-view"), find = $("plane-find");
    const byRank = new Uint32Array(N);
    for (let i = 0; i < N; i++) byRank[D.rank[i]] = i;

    // Points of equal counts are spread inside the cell of their rates, each always at the same place.
    const jx = new Float32Array(N), jy = new Float32Array(N);
    let seed = 2463534242;
    const random = () => {
      seed ^= seed << 13; seed ^= seed >>> 17; seed ^= seed << 5;
      return (seed >>> 0) / 4294967296 - 0.5;
    };
    for (let i = 0; i < N; i++) {
      jx[i] = 0.82 * random() / Math.max(D.nOut[i], 1);
      jy[i] = 0.82 * random() / Math.max(D.nIn[i], 1);
    }

    const epoch = (t) => M.checkpoints[t] === 0 && M.clock === "epoch" ? "initialisation" : M.clock + " " + +M.checkpoints[t].toPrecision(4);
    const number = (v, d = 2) => Number.isFinite(v) ? v.toFixed(d) : "–";
    let time = T - 1, picked = -1, hover = -1, playing = 0, ticks = 0;
    let size = 0, scale = 1, pad = 0, side = 0;
    // Room for the outermost lattice cells around the unit square.
    let least = Infinity;
    for (let i = 0; i < N; i++) if (D.nIn[i] && D.nOut[i]) least = Math.min(least, D.nIn[i], D.nOut[i]);
    const margin = Math.min(0.55 / Math.max(least, 1), 0.09);

    const counts = () => noise.checked ? [D.nullFp, D.nullTp] : [D.fp, D.tp];
    function place(i, t, jitter = 1) {
      const [fp, tp] = counts();
      const a = Math.floor(t), b = Math.min(a + 1, T - 1), w = t - a;
      const x = (fp[a * N + i] * (1 - w) + fp[b * N + i] * w) / D.nOut[i] + jitter * jx[i];
      const y = (tp[a * N + i] * (1 - w) + tp[b * N + i] * w) / D.nIn[i] + jitter * jy[i];
      return [x, y];
    }
    const X = (x) => pad + (x + margin) * side, Y = (y) => size - pad - (y + margin) * side;

    // Colours: read from the style sheet, so that light and dark follow the page.
    const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    function rgb(text) {
      probe.fillStyle = text;
      probe.fillRect(0, 0, 1, 1);
      return probe.getImageData(0, 0, 1, 1).data.slice(0, 3);
    }
    function ramp(stops, v) {
      const u = Math.min(Math.max(v, 0), 1) * (stops.length - 1), k = Math.min(Math.floor(u), stops.length - 2);
      return [0, 1, 2].map((c) => stops[k][c] + (stops[k + 1][c] - stops[k][c]) * (u - k));
    }
    const tint = new Uint8Array(3 * N);
    let stops, hues;
    function recolour() {
      stops = ["--ramp0", "--ramp1", "--ramp2", "--ramp3"].map((n) => rgb(css(n)));
      hues = Array.from({ length: 10 }, (_, k) => rgb(css("--hue" + k)));
      const last = (T - 1) * N, mode = colour.value;
      for (let i = 0; i < N; i++) {
        let c;
        if (mode === "class") c = hues[D.labels[i] % 10];
        else if (mode === "difficulty") c = ramp(stops, D.accOut[i] === 255 ? 0 : 1 - D.accOut[i] / 250);
        else if (mode === "exposed") c = D.exposed[i] ? stops[3] : stops[0];
        else c = ramp(stops, (D.tp[last + i] / D.nIn[i] - D.fp[last + i] / D.nOut[i]) * 1.1);
        tint.set(c, 3 * i);
      }
      legend();
    }
    function legend() {
      const box = $("plane-legend");
      box.textContent = "";
      const item = (c, text) => {
        const li = document.createElement("li"), dot = document.createElement("i");
        dot.style.background = `rgb(${[...c].map(Math.round).join(",")})`;
        li.append(dot, text);
        box.append(li);
      };
      if (view.value === "density") {
        item(ramp(stops, 0.1), `few ${M.unit}s at a position`); item(ramp(stops, 1), "many");
        return;
      }
      const mode = colour.value;
      if (mode === "class") M.classes.slice(0, 10).forEach((c, k) => item(hues[k], c));
      if (mode === "class" && M.classes.length > 10) item(hues[0], "… colours repeat");
      if (mode === "difficulty") { item(stops[0], "easy: correct without training on it"); item(stops[3], "hard: wrong without training on it"); }
      if (mode === "exposed") { item(stops[3], "exposed at the end"); item(stops[0], "not exposed"); }
      if (mode === "risk") { item(stops[0], "no advantage at the end"); item(stops[2], "advantage 0.6"); item(stops[3], "0.9 and more"); }
    }

    let sums, image, cells;
    function resize() {
      const box = plane.clientWidth;
      scale = Math.min(window.devicePixelRatio || 1, 1.5);
      size = Math.max(240, Math.round(box * scale));
      pad = Math.round(42 * scale);
      side = (size - 1.35 * pad) / (1 + 2 * margin);
      for (const c of [base, over]) { c.width = size; c.height = size; }
      sums = new Float32Array(size * size * 4);
      image = new ImageData(size, size);
      draw();
    }

    function drawPoints() {
      sums.fill(0);
      const reach = (N > 20000 ? 1 : N > 4000 ? 1.6 : 2.6) * scale, r = Math.ceil(reach);
      const disc = [];
      for (let dy = -r; dy <= r; dy++) for (let dx = -r; dx <= r; dx++) {
        const w = Math.min(1, Math.max(0, reach + 0.5 - Math.hypot(dx, dy)));
        if (w > 0) disc.push([dy * size + dx, w]);
      }
      const [fp, tp] = counts();
      const a = Math.floor(time), b = Math.min(a + 1, T - 1), w = time - a, aN = a * N, bN = b * N;
      for (let i = 0; i < N; i++) {
        const nIn = D.nIn[i], nOut = D.nOut[i];
        if (!nIn || !nOut) continue;
        const px = Math.round(X((fp[aN + i] + (fp[bN + i] - fp[aN + i]) * w) / nOut + jx[i]));
        const py = Math.round(Y((tp[aN + i] + (tp[bN + i] - tp[aN + i]) * w) / nIn + jy[i]));
        const at = py * size + px, cr = tint[3 * i], cg = tint[3 * i + 1], cb = tint[3 * i + 2];
        for (let k = 0; k < disc.length; k++) {
          const q = (at + disc[k][0]) * 4, v = disc[k][1];
          sums[q] += v; sums[q + 1] += v * cr; sums[q + 2] += v * cg; sums[q + 3] += v * cb;
        }
      }
      const strength = N > 20000 ? 0.55 : N > 4000 ? 0.7 : 0.9, out = image.data;
      const opacity = Uint8Array.from({ length: 129 }, (_, k) => 255 * (1 - Math.pow(1 - strength, k / 8)));
      for (let q = 0; q < sums.length; q += 4) {
        const n = sums[q];
        if (n === 0) { out[q + 3] = 0; continue; }
        out[q] = sums[q + 1] / n; out[q + 1] = sums[q + 2] / n; out[q + 2] = sums[q + 3] / n;
        out[q + 3] = opacity[Math.min(128, Math.round(8 * n))];
      }
      base.getContext("2d").putImageData(image, 0, 0);
    }

    function cellOf(i) {
      const t = Math.round(time), [fp, tp] = counts();
      return fp[t * N + i] / D.nOut[i] + "|" + tp[t * N + i] / D.nIn[i];
    }
    function drawDensity() {
      const g = base.getContext("2d");
      g.clearRect(0, 0, size, size);
      cells = new Map();
      const t = Math.round(time), [fp, tp] = counts();
      for (let i = 0; i < N; i++) {
        if (!D.nIn[i] || !D.nOut[i]) continue;
        const key = (fp[t * N + i] / D.nOut[i]) * 4096 * 4096 + tp[t * N + i] / D.nIn[i];
        const cell = cells.get(key);
        if (cell) cell.n++; else cells.set(key, { n: 1, x: fp[t * N + i] / D.nOut[i], y: tp[t * N + i] / D.nIn[i], i });
      }
      let top = 1;
      for (const c of cells.values()) top = Math.max(top, c.n);
      for (const c of cells.values()) {
        const w = 0.92 * side / D.nOut[c.i], h = 0.92 * side / D.nIn[c.i];
        const v = Math.log(1 + c.n) / Math.log(1 + top);
        g.fillStyle = `rgb(${ramp(stops, v).map(Math.round).join(",")})`;
        g.globalAlpha = 0.25 + 0.75 * v;
        g.fillRect(X(c.x) - w / 2, Y(c.y) - h / 2, w, h);
      }
      g.globalAlpha = 1;
    }

    function drawMarks() {
      const g = over.getContext("2d");
      g.clearRect(0, 0, size, size);
      const ink = css("--ink-soft"), line = css("--rule");
      g.font = `${12 * scale}px system-ui, sans-serif`;
      g.lineWidth = scale;
      g.strokeStyle = line; g.fillStyle = ink;
      const low = -margin, high = 1 + margin;
      for (let k = 0; k <= 5; k++) {
        const v = k / 5;
        g.beginPath();
        g.moveTo(X(v), Y(low)); g.lineTo(X(v), Y(low) + 4 * scale);
        g.moveTo(X(low), Y(v)); g.lineTo(X(low) - 4 * scale, Y(v));
        g.stroke();
        g.textAlign = "center"; g.fillText(v.toFixed(1), X(v), Y(low) + 16 * scale);
        g.textAlign = "right"; g.fillText(v.toFixed(1), X(low) - 6 * scale, Y(v) + 4 * scale);
      }
      g.strokeRect(X(low), Y(high), X(high) - X(low), Y(low) - Y(high));
      g.textAlign = "center";
      g.fillText("called a member when it was not (FPR)", X(0.5), size - 5 * scale);
      g.save();
      g.translate(12 * scale, Y(0.5)); g.rotate(-Math.PI / 2);
      g.fillText("called a member when it was (TPR)", 0, 0);
      g.restore();
      g.strokeStyle = css("--ink-soft");
      g.setLineDash([6 * scale, 5 * scale]);
      g.beginPath(); g.moveTo(X(0), Y(0)); g.lineTo(X(1), Y(1)); g.stroke();
      g.setLineDash([]);
      g.save();
      g.translate(X(0.74), Y(0.74)); g.rotate(-Math.PI / 4);
      g.fillText("no leakage", 0, 14 * scale);
      g.restore();
      if (M.limit) {
        const { fpr, tpr } = M.limit, middle = fpr.findIndex((x) => x >= 0.3);
        g.lineWidth = 2 * scale; g.strokeStyle = css("--ink");
        g.beginPath();
        fpr.forEach((x, k) => k ? g.lineTo(X(x), Y(tpr[k])) : g.moveTo(X(x), Y(tpr[k])));
        g.stroke();
        g.fillStyle = css("--ink");
        g.textAlign = tpr[middle] > 0.85 ? "left" : "right";
        g.fillText("the accountant's limit", X(0.3), Y(tpr[middle]) + (tpr[middle] > 0.85 ? 16 : -8) * scale);
      }
      if (picked >= 0) drawPath(g);
      if (hover >= 0 && hover !== picked) {
        const [x, y] = place(hover, time);
        g.strokeStyle = css("--ink"); g.lineWidth = 1.5 * scale;
        g.beginPath(); g.arc(X(x), Y(y), 6 * scale, 0, 7); g.stroke();
      }
    }

    function drawPath(g) {
      if (!D.nIn[picked] || !D.nOut[picked]) return;
      const accent = css("--accent"), paper = css("--paper");
      const at = Array.from({ length: T }, (_, t) => place(picked, t));
      for (const [width, style] of [[5, paper], [2.2, accent]]) {
        g.lineWidth = width * scale; g.strokeStyle = style; g.lineJoin = "round";
        g.beginPath();
        at.forEach(([x, y], t) => t ? g.lineTo(X(x), Y(y)) : g.moveTo(X(x), Y(y)));
        g.stroke();
      }
      at.forEach(([x, y], t) => {
        g.beginPath(); g.arc(X(x), Y(y), (t === 0 ? 4 : 3) * scale, 0, 7);
        g.fillStyle = t === 0 ? paper : accent; g.strokeStyle = accent; g.lineWidth = 1.5 * scale;
        g.fill(); g.stroke();
      });
      const [x, y] = place(picked, time);
      g.beginPath(); g.arc(X(x), Y(y), 6.5 * scale, 0, 7);
      g.fillStyle = accent; g.strokeStyle = paper; g.lineWidth = 2 * scale; g.fill(); g.stroke();
    }

    function draw() {
      view.value === "density" ? drawDensity() : drawPoints();
      drawMarks();
      const t = Math.round(time);
      $("plane-now").textContent = epoch(t);
      $("plane-count").textContent =
        `${M.high[t].toLocaleString("en")} of ${N.toLocaleString("en")} ${M.unit}s at advantage 0.5 or more` +
        ` (permuted membership: ${M.nullHigh[t].toLocaleString("en")})`;
      slider.setAttribute("aria-valuetext", epoch(t));
      plane.dataset.time = time.toFixed(3);
    }
    let due = 0;
    const redraw = () => { if (!due) due = requestAnimationFrame(() => { due = 0; draw(); }); };

    // Details of one sample.
    const mono = matchMedia("(prefers-reduced-motion: reduce)");
    function row(cells, tag = "td") {
      const tr = document.createElement("tr");
      cells.forEach((c, k) => {
        const cell = document.createElement(k === 0 ? "th" : tag);
        cell.textContent = c;
        tr.append(cell);
      });
      return tr;
    }
    function details() {
      const box = $("plane-details");
      box.classList.toggle("empty", picked < 0);
      if (picked < 0) return;
      const i = picked, t = Math.round(time);
      $("sample-id").textContent = M.ids[i];
      $("sample-class").textContent = (M.asked ? M.asked[i] || "(withheld)" : M.classes[D.labels[i]] ?? String(D.labels[i])) +
        (D.records ? `, ${D.records[i]} record${D.records[i] === 1 ? "" : "s"}` : "");
      const since = Number(D.since[i]);
      $("sample-verdict").textContent = D.exposed[i]
        ? `Exposed: rank ${D.rank[i] + 1} of ${N}, q ${D.q[i] < 0.001 ? "below 0.001" : "= " + number(D.q[i], 3)}; exposed since ${since ? epoch(since - 1) : "the end"}.`
        : `Not shown to be exposed (rank ${D.rank[i] + 1} of ${N}, q = ${number(D.q[i], 2)}): it could be chance.`;
      const path = $("sample-path");
      path.textContent = "";
      for (let k = 0; k < T; k++) {
        const tr = row([
          String(+M.checkpoints[k].toPrecision(4)),
          `${D.tp[k * N + i]}/${D.nIn[i]}`, `${D.fp[k * N + i]}/${D.nOut[i]}`,
          `${D.nullTp[k * N + i]}/${D.nIn[i]}, ${D.nullFp[k * N + i]}/${D.nOut[i]}`,
        ]);
        if (k === t) tr.className = "now";
        path.append(tr);
      }
      const [mean, low, high] = [0, 1, 2].map((k) => D.auc[k * N + i]);
      $("sample-effect").textContent = mean === 255
        ? "How far training on it raises its own signal cannot be told: every run trained on it, or none."
        : `A run trained on it gives it a higher signal than one that was not with probability ${(mean / 250).toFixed(2)} ` +
          (low === 255 ? "." : `(95 % interval ${(low / 250).toFixed(2)} to ${(high / 250).toFixed(2)}); 0.50 is chance.`);
      $("sample-means").textContent =
        `Mean score of ${M.main}: ${D.scoreIn[i].toPrecision(3)} as a member, ${D.scoreOut[i].toPrecision(3)} as a non-member. ` +
        (D.accOut[i] === 255 ? "" : `Models not trained on it ${M.right} in ${Math.round(D.accOut[i] / 2.5)} % of the runs.`);
      picture(i);
    }
    function picture(i) {
      const canvas = $("sample-picture"), cells = $("sample-row"), absent = $("sample-absent");
      canvas.hidden = true; cells.hidden = true; absent.hidden = true;
      cells.textContent = "";
      const k = D.rank[i], P = D.pictures, R = D.rows, T = D.texts;
      if (P && k < P.shape[0]) {
        const [, h, w] = P.shape, c = P.shape.length > 3 ? 3 : 1;
        canvas.width = w; canvas.height = h; canvas.hidden = false;
        const pixels = new ImageData(w, h);
        for (let q = 0; q < w * h; q++) {
          for (let u = 0; u < 3; u++) pixels.data[4 * q + u] = P[(k * w * h + q) * c + (c === 3 ? u : 0)];
          pixels.data[4 * q + 3] = 255;
        }
        canvas.getContext("2d").putImageData(pixels, 0, 0);
      } else if (T && k < T.length) {
        cells.hidden = false;
        cells.append(row(["text", T[k]]));
      } else if (R && k < R.shape[0]) {
        cells.hidden = false;
        for (let q = 0; q < R.shape[1]; q++) {
          const v = R[k * R.shape[1] + q];
          if (v !== 0) cells.append(row([M.columns[q] ?? `column ${q}`, String(+v.toPrecision(4))]));
        }
      } else absent.hidden = false;
      absent.textContent = M.kind
        ? "Its content is not in this file; only that of the most exposed is, to keep the file small."
        : "The data's content is not in this file.";
    }
    function pick(i) {
      picked = i;
      plane.dataset.picked = i < 0 ? "" : M.ids[i];
      details();
      redraw();
    }

    function nearest(event) {
      const rect = over.getBoundingClientRect();
      const mx = (event.clientX - rect.left) * size / rect.width, my = (event.clientY - rect.top) * size / rect.height;
      let best = -1, least = (14 * scale) ** 2;
      const jitter = view.value === "density" ? 0.9 : 1;
      for (let i = 0; i < N; i++) {
        if (!D.nIn[i] || !D.nOut[i]) continue;
        const [x, y] = place(i, time, jitter);
        const d = (X(x) - mx) ** 2 + (Y(y) - my) ** 2;
        if (d < least) { least = d; best = i; }
      }
      return best;
    }
    over.addEventListener("click", (e) => pick(nearest(e)));
    let moved = 0;
    over.addEventListener("pointermove", (e) => {
      if (moved || playing) return;
      moved = requestAnimationFrame(() => {
        moved = 0;
        const i = nearest(e);
        if (i !== hover) { hover = i; over.title = i < 0 ? "" : M.ids[i]; drawMarks(); }
      });
    });
    over.addEventListener("pointerleave", () => { hover = -1; drawMarks(); });
    const step = (by) => pick(byRank[picked < 0 ? 0 : (D.rank[picked] + by + N) % N]);
    plane.addEventListener("keydown", (e) => {
      if (e.target !== plane) return;
      const go = { ArrowDown: () => step(1), ArrowUp: () => step(-1),
        ArrowRight: () => set(Math.min(Math.round(time) + 1, T - 1)), ArrowLeft: () => set(Math.max(Math.round(time) - 1, 0)),
        Escape: () => pick(-1), " ": toggle }[e.key];
      if (go) { e.preventDefault(); go(); }
    });
    $("sample-next").addEventListener("click", () => step(1));
    $("sample-previous").addEventListener("click", () => step(-1));

    function set(t) { stop(); time = t; slider.value = String(t); details(); redraw(); }
    slider.addEventListener("input", () => set(Number(slider.value)));
    function stop() { if (playing) cancelAnimationFrame(playing); playing = 0; play.textContent = "▶ Play"; play.setAttribute("aria-pressed", "false"); }
    function toggle() {
      if (playing) { stop(); set(Math.round(time)); return; }
      if (time >= T - 1) time = 0;
      if (mono.matches) { set(Math.min(Math.round(time) + 1, T - 1)); return; }
      play.textContent = "❚❚ Pause"; play.setAttribute("aria-pressed", "true");
      let before = performance.now();
      const frame = (now) => {
        // Rest a moment on each checkpoint: positions between two are only drawn, not measured.
        ticks += (now - before) / 1000; before = now;
        const k = Math.floor(time), u = Math.min(ticks / 0.9, 1), ease = u < 0.35 ? 0 : (u - 0.35) / 0.65;
        time = Math.min(k + ease * ease * (3 - 2 * ease), T - 1);
        if (u >= 1) { ticks = 0; time = Math.min(k + 1, T - 1); details(); }
        slider.value = String(Math.round(time));
        draw();
        if (time >= T - 1) { stop(); details(); } else playing = requestAnimationFrame(frame);
      };
      ticks = 0;
      playing = requestAnimationFrame(frame);
    }
    play.addEventListener("click", toggle);
    for (const c of [colour, noise, view]) c.addEventListener("change", () => { colour.disabled = view.value === "density"; recolour(); redraw(); });

    find.form.addEventListener("submit", (e) => {
      e.preventDefault();
      const text = find.value.trim(), lower = text.toLowerCase();
      let i = M.ids.indexOf(text);
      if (i < 0) i = M.ids.findIndex((s) => s.toLowerCase().includes(lower));
      $("plane-found").textContent = i < 0 || !text ? `No ${M.unit} has this id.` : "";
      if (i >= 0 && text) pick(i);
    });
    document.addEventListener("click", (e) => {
      const from = e.target.closest("[data-sample]");
      if (!from) return;
      e.preventDefault();
      pick(Number(from.dataset.sample));
      plane.scrollIntoView({ block: "center", behavior: mono.matches ? "auto" : "smooth" });
    });

    slider.max = String(T - 1); slider.value = String(T - 1);
    for (const c of document.querySelectorAll("#plane-controls [disabled]")) c.disabled = false;
    $("plane-loading").hidden = true;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { recolour(); redraw(); });
    new ResizeObserver(() => resize()).observe(plane);
    recolour(); resize(); details();
    plane.dataset.readyAt = String(performance.now());
    plane.dataset.ready = "true";
  }

  // Tokens of documents, shaded as they were at one checkpoint.
  const when = $("token-time");
  if (when) {
    const times = when.dataset.times.split("|");
    when.disabled = false;
    when.addEventListener("input", () => {
      $("token-at").textContent = times[Number(when.value)];
      for (const p of document.querySelectorAll(".tokens")) {
        const levels = p.dataset.levels.split("|")[Number(when.value)];
        for (let k = 0; k < levels.length; k++) p.children[k].className = "k" + levels[k];
      }
    });
  }

  // After the first paint: the summary above is already readable.
  requestAnimationFrame(() => setTimeout(() => {
    if (typeof DecompressionStream === "undefined") {
      $("plane-loading").textContent = "The plane needs a browser from 2023 or later; all figures below are complete without it.";
      return;
    }
    load().then(main).catch((error) => {
      $("plane-loading").textContent = "The plane could not be drawn: " + error.message;
      console.error(error);
    });
  }));
})();

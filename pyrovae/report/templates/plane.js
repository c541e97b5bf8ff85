(async () => {
  const plane = data.plane, gallery = data.gallery, sheet = plane.sheet;
  const section = find("#plane"), map = find(".map", section), canvas = find("canvas", map), cursor = find(".cursor", map);
  const decoded = find(".decoded", section), nearest = find(".nearest", section), place = find(".place", section);
  const line = plane.rows === 1;
  let u = (plane.left + plane.right) / 2, v = (plane.bottom + plane.top) / 2, chosen = null, sheetAt = 0, waiting = 0, silence = 0;

  const [sheetImage] = await Promise.all([loaded(sheet), loaded(gallery.images)]);
  const whole = made("canvas", { width: sheetImage.naturalWidth, height: sheetImage.naturalHeight });
  const reading = whole.getContext("2d", { willReadFrequently: true });
  reading.drawImage(sheetImage, 0, 0);
  const pixels = reading.getImageData(0, 0, whole.width, whole.height).data;
  fitted(decoded, sheet, 168);
  fitted(nearest, gallery.images, 168);
  const mixed = decoded.getContext("2d").createImageData(sheet.width, sheet.height);

  /** Mix the four images of the sheet around a point. */
  function decode() {
    const across = clamp((u - plane.left) / (plane.right - plane.left), 0, 1) * (sheet.columns - 1);
    const down = line ? 0 : clamp((plane.top - v) / (plane.top - plane.bottom), 0, 1) * (plane.rows - 1);
    const column = Math.min(Math.floor(across), sheet.columns - 2), row = line ? 0 : Math.min(Math.floor(down), plane.rows - 2);
    const right = across - column, below = down - row, stride = 4 * whole.width;
    const start = (sheetAt * plane.rows + row) * sheet.height * stride + 4 * column * sheet.width;
    const next = line ? 0 : sheet.height * stride;
    for (let y = 0, to = 0; y < sheet.height; y++) {
      for (let x = 0, from = start + y * stride; x < 4 * sheet.width; x++, from++, to++) {
        const upper = pixels[from] * (1 - right) + pixels[from + 4 * sheet.width] * right;
        const lower = pixels[from + next] * (1 - right) + pixels[from + next + 4 * sheet.width] * right;
        mixed.data[to] = upper * (1 - below) + lower * below;
      }
    }
    decoded.getContext("2d").putImageData(mixed, 0, 0);
  }

  function findNearest() {
    const labels = gallery.columns.find((column) => column.key === "label");
    let best = -1, least = Infinity;
    plane.places.forEach(([x, y], index) => {
      const distance = (x - u) ** 2 + (y - v) ** 2;
      if (distance < least && (chosen === null || labels.values[index] === chosen)) [best, least] = [index, distance];
    });
    return [best, best >= 0 && labels ? labels.values[best] : null];
  }

  function show() {
    waiting = 0;
    decode();
    const [index, label] = findNearest();
    if (index >= 0) showOne(nearest, gallery.images, index);
    const name = `${plane.nearest}${label === null ? "" : `: class ${label}`}`;
    nearest.setAttribute("aria-label", name);
    find("figcaption", nearest.parentElement).textContent = name;
    const left = (u - plane.left) / (plane.right - plane.left), top = line ? 0.5 : (plane.top - v) / (plane.top - plane.bottom);
    cursor.style.transform = `translate(${left * map.clientWidth}px, ${top * map.clientHeight}px)`;
    const told = [u, v].slice(0, line ? 1 : 2).map((value, i) => `${plane.names[i]} = ${signed(value, 2)}`).join(", ");
    const given = plane.sheets[sheetAt] === null ? "" : `, class ${plane.sheets[sheetAt]}`;
    place.textContent = `At ${told}${given}.`;
    clearTimeout(silence);
    silence = setTimeout(() => (find(".spoken", section).textContent = `${place.textContent} The ${name}.`), 500); // at rest
    decoded.setAttribute("aria-label", `Decoded image at ${told}${given}`);
  }

  function move(toU, toV) {
    u = clamp(toU, plane.left, plane.right);
    v = line ? 0 : clamp(toV, plane.bottom, plane.top);
    waiting ||= requestAnimationFrame(show);
  }

  function point(event) {
    const box = canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
    move(plane.left + x * (plane.right - plane.left), plane.top - y * (plane.top - plane.bottom));
  }

  function ticks(low, high) {
    const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    const found = [];
    for (let i = Math.ceil(low / step); i * step <= high; i++) found.push([i * step, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))]);
    return found;
  }

  function draw() {
    const width = map.clientWidth, height = line ? Math.min(120, width) : width, scale = devicePixelRatio || 1;
    map.style.height = `${height + map.offsetHeight - map.clientHeight}px`;
    [canvas.width, canvas.height] = [width * scale, height * scale];
    const context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    const x = (value) => ((value - plane.left) / (plane.right - plane.left)) * width;
    const y = (value) => (line ? height / 2 : ((plane.top - value) / (plane.top - plane.bottom)) * height);
    context.scale(scale, scale);
    context.strokeStyle = style.getPropertyValue("--line");
    context.fillStyle = style.getPropertyValue("--faint");
    context.font = "12px system-ui, sans-serif";
    for (const [value, digits] of ticks(plane.left, plane.right)) {
      context.strokeRect(x(value), -1, 0, height + 2);
      if (x(value) < width - 24) context.fillText(signed(value, digits), x(value) + 3, height - 5);
    }
    for (const [value, digits] of line ? [] : ticks(plane.bottom, plane.top)) {
      context.strokeRect(-1, y(value), width + 2, 0);
      if (y(value) > 32) context.fillText(signed(value, digits), 4, y(value) - 4);
    }
    context.textAlign = "right";
    context.fillText(`${plane.names[0]} →`, width - 6, height - (line ? 22 : 20));
    context.textAlign = "left";
    if (!line) context.fillText(`↑ ${plane.names[1]}`, 4, 16);
    const radius = plane.points.length > 500 ? 2.2 : 3.2;
    plane.points.forEach(([left, top], index) => {
      const label = plane.point_labels ? plane.point_labels[index] : null;
      context.fillStyle = label === null ? style.getPropertyValue("--accent") : colourOf(label);
      context.globalAlpha = chosen === null || chosen === label ? 0.8 : 0.1;
      context.beginPath();
      context.arc(x(left), y(top), radius, 0, 7);
      context.fill();
    });
    context.globalAlpha = 1;
    show();
  }

  const buttons = find(".classes", section);
  function choose(label) {
    chosen = label;
    if (plane.sheets.includes(label)) sheetAt = plane.sheets.indexOf(label);
    for (const button of buttons.children) button.setAttribute("aria-pressed", String(button.value === String(label)));
    draw();
  }
  if (plane.point_labels && data.classes.length > 1 && data.classes.length <= 40) {
    buttons.hidden = false;
    for (const label of [null, ...data.classes]) {
      const swatch = made("span", { className: "swatch" });
      const button = made("button", { type: "button", value: String(label) }, ...(label === null ? ["all"] : [swatch, String(label)]));
      if (label !== null) button.setAttribute("aria-label", `class ${label}`);
      button.addEventListener("click", () => choose(label));
      buttons.append(button);
    }
  }
  function recolour() {
    data.classes.forEach((label, i) => buttons.children[i + 1]?.style.setProperty("--swatch", colourOf(label)));
    draw();
  }

  map.addEventListener("pointermove", point);
  map.addEventListener("pointerdown", point);
  map.addEventListener("keydown", (event) => {
    const [right, up] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [0, 0];
    const step = ((plane.right - plane.left) / 100) * (event.shiftKey ? 10 : 1);
    if (event.key === "Home") move((plane.left + plane.right) / 2, (plane.bottom + plane.top) / 2);
    else if (right || up) move(u + right * step, v + up * step);
    else return;
    event.preventDefault();
  });
  dark.addEventListener("change", recolour);
  new ResizeObserver(draw).observe(map);
  recolour();
  choose(null);
})();

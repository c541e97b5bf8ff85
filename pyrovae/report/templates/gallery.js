(async () => {
  const gallery = data.gallery, columns = gallery.columns, sprite = gallery.images;
  const section = find("#gallery"), tiles = find(".tiles", section), status = find('[role="status"]', section);
  const canvases = [find(".original", section), find(".rebuilt", section)];
  await Promise.all([sprite, gallery.reconstructions].filter(Boolean).map(loaded));
  canvases.forEach((canvas) => fitted(canvas, sprite, 112));

  const labels = columns.find((column) => column.key === "label");
  const told = ({ values, digits }, index) => (values[index] === null ? "unknown" : signed(values[index], digits));
  let sorted = columns[0], rising = true, shownClass = "";

  // One rule for all tiles, so that the picture is in the page once.
  const [width, height] = enlarged(sprite, 56), rows = Math.ceil(gallery.count / sprite.columns);
  const rule = `.tile i { width: ${width}px; height: ${height}px; background: url(${sprite.image.src}) 0 0 / ${sprite.columns * width}px ${rows * height}px; }`;
  document.head.append(made("style", { textContent: rule }));
  tiles.style.gridTemplateColumns = `repeat(auto-fill, minmax(${Math.max(width, 50) + 6}px, 1fr))`;

  const all = Array.from({ length: gallery.count }, (_, index) => {
    const picture = made("i"), value = made("span"), tile = made("button", { type: "button", className: "tile", tabIndex: -1 }, picture, value);
    picture.style.backgroundPosition = `${-(index % sprite.columns) * width}px ${-Math.floor(index / sprite.columns) * height}px`;
    tile.dataset.index = index;
    return tile;
  });

  function detail(tile) {
    for (const other of tiles.querySelectorAll('[tabindex="0"], [aria-current]')) {
      other.tabIndex = -1;
      other.removeAttribute("aria-current");
    }
    tile.tabIndex = 0;
    tile.setAttribute("aria-current", "true");
    const index = Number(tile.dataset.index);
    showOne(canvases[0], sprite, index);
    if (gallery.reconstructions) showOne(canvases[1], gallery.reconstructions, index);
    const list = find("dl", section);
    list.replaceChildren(...columns.flatMap((column) => [made("dt", { textContent: column.label }), made("dd", { textContent: told(column, index) })]));
  }

  function arrange() {
    const kept = all.filter((tile) => shownClass === "" || String(labels.values[tile.dataset.index]) === shownClass);
    const sign = rising ? 1 : -1, unknown = (value) => value === null;
    kept.sort((a, b) => {
      const [x, y] = [sorted.values[a.dataset.index], sorted.values[b.dataset.index]];
      return unknown(x) - unknown(y) || sign * (x - y) || a.dataset.index - b.dataset.index;
    });
    for (const tile of kept) {
      const index = tile.dataset.index, value = told(sorted, index);
      tile.lastChild.textContent = value;
      tile.setAttribute("aria-label", `${labels ? `class ${told(labels, index)}, ` : ""}${sorted.label}: ${value}`);
    }
    tiles.replaceChildren(...kept);
    tiles.scrollTop = 0;
    const many = kept.length === 1 ? "1 datum" : `${kept.length} data`;
    status.textContent = `${many}, ${rising ? "lowest" : "highest"} ${sorted.label} first`;
    for (const button of section.querySelectorAll(".sorts button")) {
      const pressed = button.value === sorted.key;
      button.setAttribute("aria-pressed", String(pressed));
      button.lastChild.textContent = pressed ? (rising ? " ↑" : " ↓") : "";
    }
    if (kept.length) detail(kept[0]);
  }

  for (const column of columns) {
    const arrow = made("span", { ariaHidden: "true" });
    const button = made("button", { type: "button", value: column.key }, column.label, arrow);
    button.addEventListener("click", () => {
      rising = sorted === column ? !rising : column.rising;
      sorted = column;
      arrange();
    });
    find(".sorts", section).append(button);
  }
  if (gallery.classes.length > 1) {
    const filter = find(".filter", section), select = find("select", filter);
    filter.hidden = false;
    select.append(made("option", { value: "", textContent: "all" }));
    select.append(...gallery.classes.map((label) => made("option", { value: String(label), textContent: String(label) })));
    select.addEventListener("change", () => {
      shownClass = select.value;
      arrange();
    });
  }

  const tileOf = (event) => event.target.closest(".tile");
  for (const name of ["pointerover", "focusin", "click"]) {
    tiles.addEventListener(name, (event) => tileOf(event) && detail(tileOf(event)));
  }
  tiles.addEventListener("keydown", (event) => {
    const tile = tileOf(event), list = [...tiles.children], at = list.indexOf(tile);
    if (!tile) return;
    const perRow = Math.max(1, list.filter((other) => other.offsetTop === list[0].offsetTop).length);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - perRow, ArrowDown: at + perRow, Home: 0, End: list.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    list[clamp(to, 0, list.length - 1)].focus();
  });
  rising = sorted.rising;
  arrange();
})();

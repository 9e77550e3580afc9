// What can be done with an answer without asking the server: products, overlays, opacity and downloads; drawing a part.
const DRAWN = "drawn"; // number of the product in a part that was drawn
const [BLACK, WHITE] = [90, 225]; // as GRAY_RANGE of explain.py
const MIN_DRAG = 12; // pixels

const openAnswer = answer => choose(answer, answer.dataset.chosen);

const choose = (answer, number) => {
  for (const other of answer.querySelectorAll("[data-product]")) other.setAttribute("aria-pressed", other.dataset.product === number);
  for (const panel of answer.querySelectorAll("[data-panel]")) panel.hidden = panel.dataset.panel !== number;
  explain(answer, answer.querySelector(`[data-map^="${number}-${answer.dataset.main}-"]`));
  fold(answer);
};

// The overlay of what does not look like a product is folded away together with its cards.
const fold = answer => answer.classList.toggle("folded", Boolean(answer.querySelector("[data-panel]:not([hidden]) > .anyway:not([open])")));

const explain = (answer, button) => {
  for (const other of answer.querySelectorAll("[data-map]")) other.setAttribute("aria-pressed", other === button);
  for (const layer of answer.querySelectorAll("[data-layer]")) layer.hidden = layer.dataset.layer !== button.dataset.map;
  answer.querySelector(".explained").textContent = button.dataset.label;
};

// The one product of another answer, about a part of the same photograph.
const addProduct = (answer, other) => {
  for (const old of answer.querySelectorAll(`[data-product="${DRAWN}"], [data-panel="${DRAWN}"], [data-layer^="${DRAWN}-"]`)) old.remove();
  for (const key of ["product", "panel", "layer", "map"])
    for (const element of other.querySelectorAll(`[data-${key}]`)) element.dataset[key] = element.dataset[key].replace(/^0/, DRAWN);
  answer.querySelector(".layers").append(...other.querySelectorAll("[data-layer], .box"));
  answer.querySelector(".chips").append(...other.querySelectorAll(".chip"));
  answer.querySelector(".how").before(...other.querySelectorAll("[data-panel]"));
  answer.querySelector(".chips").hidden = false;
  choose(answer, DRAWN);
};

const save = (blob, name) => {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};

// The photograph in gray below the map that is shown, as `FashionClassifier.explain` draws them.
const overlay = answer => {
  const base = answer.querySelector(".base"), map = answer.querySelector("[data-layer]:not([hidden])");
  const canvas = Object.assign(document.createElement("canvas"), { width: base.naturalWidth, height: base.naturalHeight });
  const context = canvas.getContext("2d");
  context.drawImage(base, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < pixels.data.length; i += 4) {
    const [r, g, b] = pixels.data.subarray(i, i + 3);
    pixels.data.fill(BLACK + (0.299 * r + 0.587 * g + 0.114 * b) * (WHITE - BLACK) / 255, i, i + 3);
  }
  context.putImageData(pixels, 0, 0);
  context.globalAlpha = answer.querySelector(".layers").style.getPropertyValue("--opacity");
  const [left, top, width, height] = ["left", "top", "width", "height"].map(side => parseFloat(map.style[side]) / 100);
  context.drawImage(map, left * canvas.width, top * canvas.height, width * canvas.width, height * canvas.height);
  return canvas;
};

// What is said of the product that is chosen.
const sentenceOf = answer => (answer.querySelector("[data-panel]:not([hidden]) .own") || answer.querySelector(".sentence")).textContent;

const linesOf = (context, text, width) => text.split(" ").reduce(([...lines], word) => {
  const longer = `${lines.at(-1)} ${word}`.trim();
  return context.measureText(longer).width <= width ? [...lines.slice(0, -1), longer] : [...lines, word];
}, [""]);

// Photograph with overlay, sentence and the best label of each attribute with its bar, as one picture. Of what does not
// look like a product the photograph and the sentence.
const picture = answer => {
  const folded = answer.classList.contains("folded"), plain = folded || answer.querySelector(".layers.plain");
  const over = plain ? answer.querySelector(".base") : overlay(answer);
  const width = 800, line = 44, margin = 24, [wide, high] = [over.naturalWidth || over.width, over.naturalHeight || over.height];
  const first = folded ? [] : answer.querySelectorAll("[data-panel]:not([hidden]) h2 + .class");
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d"), bold = "bold 26px system-ui, sans-serif";
  context.font = bold;
  const said = linesOf(context, sentenceOf(answer), width - 2 * margin), photograph = Math.round((width * high) / wide);
  Object.assign(canvas, { width, height: photograph + margin + (first.length + 1 + said.length) * line });
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(over, 0, 0, width, photograph);
  context.fillStyle = "#111";
  context.font = bold;
  said.forEach((text, row) => context.fillText(text, margin, photograph + (row + 1) * line));
  context.font = "22px system-ui, sans-serif";
  first.forEach((button, row) => {
    const y = photograph + (said.length + row + 1) * line, percent = parseInt(button.querySelector(".percent").textContent);
    context.fillText(button.dataset.label + (button.closest(".hint") ? " (a guess)" : ""), margin, y, 300);
    context.fillText(`${percent} %`, width - margin - 70, y);
    context.fillStyle = "#c7d2fe";
    context.fillRect(340, y - 16, (width - margin - 90 - 340) * percent / 100, 16);
    context.fillStyle = "#111";
  });
  return canvas;
};

const takeAway = async (answer, what) => {
  const stem = JSON.parse(answer.dataset.document).file.replace(/^.*[\\/]/, "").replace(/\.\w+$/, "");
  if (what === "document") return save(new Blob([JSON.stringify(JSON.parse(answer.dataset.document), null, 1)]), `${stem}.json`);
  const { attribute, label } = answer.querySelector("[data-map][aria-pressed=true]").dataset;
  const name = what === "share" ? `${stem}-answer.png` : `${stem}-${attribute}-${label}.png`.replace(/[^\w.-]+/g, "-");
  const blob = await new Promise(done => (what === "share" ? picture : overlay)(answer).toBlob(done));
  const files = [new File([blob], name, { type: blob.type })];
  if (what !== "share" || !navigator.canShare?.({ files })) return save(blob, name);
  await navigator.share({ files, text: sentenceOf(answer) }).catch(() => {}); // the visitor closed it
};

document.addEventListener("click", event => {
  const answer = event.target.closest(".answer"), button = event.target.closest("button");
  if (!answer || !button) return;
  if (button.dataset.product) choose(answer, button.dataset.product);
  else if (button.dataset.map) explain(answer, button);
  else if (button.dataset.take) takeAway(answer, button.dataset.take);
  else if (button.dataset.copy) copy(button, answer.dataset[button.dataset.copy].replaceAll("ADDRESS", address()));
});
document.addEventListener("toggle", event => event.target.matches?.(".anyway") && fold(event.target.closest(".answer")), true);
document.addEventListener("input", event => {
  const layers = event.target.closest(".look")?.querySelector(".layers");
  if (event.target.type === "range") layers?.style.setProperty("--opacity", event.target.value);
  if (event.target.matches("[data-overlay]")) layers.classList.toggle("plain", !event.target.checked);
});

// A rectangle, drawn by the mouse or between two fingers.
let pointers = new Map(), rectangle = null;
const corners = layers => {
  const frame = layers.getBoundingClientRect(), points = [...pointers.values()].flat();
  const part = (value, start, length) => Math.min(Math.max((value - start) / length, 0), 1);
  const xs = points.map(({ x }) => part(x, frame.left, frame.width)), ys = points.map(({ y }) => part(y, frame.top, frame.height));
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
};
document.addEventListener("pointerdown", event => {
  const layers = event.target.closest("#visit .layers");
  if (!layers || event.button) return;
  const point = { x: event.clientX, y: event.clientY };
  pointers.set(event.pointerId, event.pointerType === "mouse" ? [point, point] : [point]);
});
document.addEventListener("pointermove", event => {
  if (!pointers.has(event.pointerId)) return;
  const [first] = pointers.get(event.pointerId), point = { x: event.clientX, y: event.clientY };
  pointers.set(event.pointerId, event.pointerType === "mouse" ? [first, point] : [point]);
  const layers = document.querySelector("#visit .layers");
  const moved = event.pointerType === "mouse" ? Math.min(Math.abs(point.x - first.x), Math.abs(point.y - first.y)) > MIN_DRAG : pointers.size > 1;
  if (!moved && !rectangle) return;
  if (!rectangle) layers.append((rectangle = Object.assign(document.createElement("div"), { className: "drawing" })));
  rectangle.drawn = corners(layers);
  const [left, top, right, bottom] = rectangle.drawn.map(x => 100 * x);
  rectangle.style.cssText = `left: ${left}%; top: ${top}%; width: ${right - left}%; height: ${bottom - top}%`;
});
for (const type of ["pointerup", "pointercancel"]) document.addEventListener(type, event => {
  if (!pointers.delete(event.pointerId) || !rectangle) return;
  pointers.clear();
  const { drawn } = rectangle, answer = rectangle.closest(".answer");
  rectangle.remove();
  rectangle = null;
  const frame = answer?.querySelector(".layers").getBoundingClientRect();
  const small = frame && Math.min((drawn[2] - drawn[0]) * frame.width, (drawn[3] - drawn[1]) * frame.height) < MIN_DRAG;
  if (type === "pointercancel" || !answer || small) return;
  document.addEventListener("click", stop, true); // of the box that the mouse was on
  setTimeout(() => document.removeEventListener("click", stop, true));
  askPart(answer, drawn);
});
const stop = event => event.stopPropagation();

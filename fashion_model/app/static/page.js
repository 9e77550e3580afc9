// Around the visit: its place on gradio's page, addresses of tabs and examples, the other tabs.
const TABS = { Photograph: "", Many: "#/many", "How good is it?": "#/good", Code: "#/code" }; // → their addresses
const TAB = ".tab-wrapper [role=tab], .overflow-dropdown button"; // those that find no room are in a menu
const address = () => (window.gradio_config?.root || location.origin + location.pathname).replace(/\/$/, "");

// Browsers give the clipboard to https and to this machine only.
const copy = async (button, text) => {
  try { await navigator.clipboard.writeText(text); } catch {
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    if (!copied) return prompt("To be copied:", text);
  }
  button.dataset.name ??= button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = button.dataset.name), 1500);
};
document.addEventListener("click", event => {
  const button = event.target.closest("button");
  if (button && "endpoints" in button.dataset) openEndpoints();
  if (button?.dataset.copyCode) copy(button, document.querySelector(`[data-code=${button.dataset.copyCode}]`).textContent);
  const tab = button?.matches(TAB) && button.textContent.trim();
  if (tab in TABS && event.isTrusted) remember(TABS[tab] || hashOf(asked), asked);
});

// Gradio's own panel, which would change the address to one that does not open it.
const openEndpoints = () => document.querySelector(".show-api").click();
const replace = history.replaceState.bind(history);
history.replaceState = (state, ...more) => state === null && String(more[1]).startsWith("?") || replace(state, ...more);
// Gradio's client warns of nothing at the end of each upload.
const warn = console.warn;
console.warn = (...words) => words[0] === "Method not implemented." || warn(...words);

// What was asked at each entry of the browser's history: by its state, or by its hash where the page has not made it.
const questions = new Map();
const entry = () => history.state ?? location.hash;
const exampleOf = hash => hash.match(/^#\/example=([\w.-]+)$/)?.[1];
const hashOf = question => (question?.example && !question.first ? `#/example=${question.example}` : "");
const remember = (hash, question) => {
  if (location.hash === hash && (hash || questions.get(entry()) === question)) return;
  const state = Date.now();
  questions.set(state, question);
  history.pushState(state, "", hash || location.pathname + location.search);
};
const questionHere = () => {
  const example = exampleOf(location.hash);
  if (!questions.has(entry())) questions.set(entry(), example ? { example } : location.hash ? null : FIRST);
  return questions.get(entry());
};
const openTab = title => [...document.querySelectorAll(TAB)].find(button => button.textContent.trim() === title)?.click();
const follow = () => {
  const tab = Object.keys(TABS).find(title => TABS[title] && TABS[title] === location.hash);
  openTab(tab || "Photograph");
  const question = questionHere();
  if (tab || question === asking) return;
  if (question) ask(question);
  else clear();
};
window.addEventListener("popstate", follow);

// Photographs and zips for the tab "Many": made smaller as a single photograph is, then given to gradio's own field.
let sets = 0; // of photographs that were chosen: one that is still prepared gives way to the next
const sendToMany = async files => {
  const turn = ++sets;
  openTab("Many");
  remember(TABS.Many);
  show(visit.dataset.state);
  const data = new DataTransfer();
  for (const file of files) {
    data.items.add(await shrunk(file));
    if (turn !== sets) return;
    preparing(data.items.length < files.length ? `Preparing ${data.items.length} of ${files.length} …` : "");
  }
  const wait = setInterval(() => {
    const input = document.querySelector("#files input[type=file]");
    if (!input) return;
    clearInterval(wait);
    input.files = data.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }, 50);
};
const preparing = text => document.querySelector("#preparing")?.replaceChildren(text);
document.addEventListener("click", ({ target }) => {
  if (!target.closest("#files button[aria-label=Clear], #use-examples")) return;
  sets++;
  preparing("");
}, true);
// Gradio's button for more files has another one inside, which is not shown: a button holds no other for screen readers.
document.addEventListener("click", ({ target }) => {
  const input = target.closest("#files button[aria-label=Upload]")?.querySelector("input");
  if (input && input !== target) input.click();
});
document.addEventListener("change", event => {
  if (!event.isTrusted || !event.target.matches("#files input[type=file]")) return;
  event.stopPropagation();
  sendToMany([...event.target.files]);
}, true);

// The table of classes shows those whose names have what is typed; Enter leaves the one that is called so.
const letters = text => text.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
const searchClasses = (input, opens) => {
  const typed = letters(input.value), rows = [...document.querySelector("#classes tbody").rows];
  const nameOf = row => letters(row.cells[0].textContent);
  const called = opens ? rows.filter(row => [typed, `${typed}s`, `${typed}es`].includes(nameOf(row))) : [];
  const found = called.length ? called : rows.filter(row => nameOf(row).includes(typed));
  for (const row of rows) row.hidden = !found.includes(row);
  document.querySelector("#no-class").textContent = found.length ? "" : "There is no such class.";
};
document.addEventListener("input", ({ target }) => target.id === "search-classes" && searchClasses(target, false));
document.addEventListener("keydown", ({ target, key }) => key === "Enter" && target.id === "search-classes" && searchClasses(target, true));
// By a column: numbers from the highest on, words by the alphabet; by the same column once more, the other way round.
document.addEventListener("click", ({ target }) => {
  const head = target.closest("#classes th button"), body = document.querySelector("#classes tbody");
  if (!head) return;
  const column = head.parentElement.cellIndex, textOf = row => row.cells[column].textContent;
  const numberOf = row => {
    const [part, whole = 1] = (textOf(row) || "-1").split(" of ").map(parseFloat);
    return part / whole;
  };
  const rows = [...body.rows].sort((a, b) => numberOf(b) - numberOf(a) || textOf(a).localeCompare(textOf(b)));
  const again = body.dataset.column === String(column);
  body.dataset.column = again ? "" : column;
  body.append(...(again ? rows.reverse() : rows));
});

// Search fields of gradio's tables have a title only, and some of its buttons the key of a translation.
const UNNAMED = 'input[title]:not([aria-label]), [aria-label^="common."], [title^="common."]';
const words = name => name?.replace(/^common\.(.)/, (_, letter) => letter.toUpperCase());
const nameIn = part => {
  for (const element of part.querySelectorAll(UNNAMED)) {
    element.title = words(element.title);
    element.ariaLabel = words(element.ariaLabel) || element.title;
  }
};

// Thumbnails are called by their captions, not by their numbers.
const nameThumbnails = () => {
  for (const button of document.querySelectorAll("#gallery button")) {
    button.ariaLabel = button.textContent.trim() || button.ariaLabel;
    for (const image of button.querySelectorAll("img")) image.alt = "";
  }
};

// The visit is there before gradio is, and moves into the first tab.
let followed = false;
new MutationObserver(changes => {
  const place = document.querySelector("#place");
  if (place && !place.contains(visit)) place.append(visit);
  if (!followed && document.querySelector(TAB)) followed = true, location.hash && follow();
  nameThumbnails();
  for (const target of new Set(changes.filter(({ addedNodes }) => addedNodes.length).map(({ target }) => target))) {
    if (visit.contains(target)) continue;
    nameIn(target);
    if (!target.closest("#opened") || !target.querySelector(".answer")) continue;
    openAnswer(target.querySelector(".answer"));
    target.scrollIntoView({ behavior: "smooth" });
  }
}).observe(document.documentElement, { childList: true, subtree: true });

if (questionHere()) ask(questionHere());

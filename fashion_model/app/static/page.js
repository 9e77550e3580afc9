// Around the visit: its place on gradio's page, addresses of tabs and examples, and code with the app's address.
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
  if (button && "endpoints" in button.dataset) document.querySelector(".show-api").click(); // gradio's own
  if (button?.dataset.copyCode) copy(button, document.querySelector(`[data-code=${button.dataset.copyCode}]`).textContent);
  const tab = button?.matches(TAB) && button.textContent.trim();
  if (tab in TABS && event.isTrusted) remember(tab === "Photograph" && asked?.example && !visit.classList.contains("first") ? `#/example=${asked.example}` : TABS[tab]);
});

const remember = hash => {
  if (location.hash !== hash) history.pushState(null, "", hash || location.pathname + location.search);
};
const openTab = title => [...document.querySelectorAll(TAB)].find(button => button.textContent.trim() === title)?.click();
const exampleOf = hash => hash.match(/^#\/example=([\w.-]+)$/)?.[1];
const follow = () => {
  const example = exampleOf(location.hash);
  openTab(Object.keys(TABS).find(title => TABS[title] && TABS[title] === location.hash) || "Photograph");
  if (example && asking?.example !== example) ask({ example });
  else if (!location.hash && (asked?.example || !asking) && !visit.classList.contains("first")) ask({ example: visit.dataset.first }, true);
};
window.addEventListener("popstate", follow);

// Several photographs that were dropped here.
const sendToMany = files => {
  openTab("Many");
  remember(TABS.Many);
  const data = new DataTransfer();
  for (const file of files) data.items.add(file);
  const wait = setInterval(() => {
    const input = document.querySelector("#files input[type=file]");
    if (!input) return;
    clearInterval(wait);
    input.files = data.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }, 50);
  show(visit.dataset.state);
};

// The visit is there before gradio is, and moves into the first tab.
let followed = false;
new MutationObserver(changes => {
  const place = document.querySelector("#place");
  if (place && !place.contains(visit)) place.append(visit);
  if (!followed && document.querySelector(TAB)) followed = true, location.hash && follow();
  for (const { target, addedNodes } of changes)
    if (addedNodes.length && target.closest?.("#opened") && target.querySelector(".answer")) {
      openAnswer(target.querySelector(".answer"));
      target.scrollIntoView({ behavior: "smooth" });
    }
  // The search fields of gradio's tables have a title only, and some of its buttons the key of a translation.
  for (const field of document.querySelectorAll("input[title]:not([aria-label])")) field.setAttribute("aria-label", field.title);
  for (const name of ["aria-label", "title"])
    for (const element of document.querySelectorAll(`[${name}^="common."]`))
      element.setAttribute(name, element.getAttribute(name).replace(/^common\.(.)/, (_, letter) => letter.toUpperCase()));
  for (const code of document.querySelectorAll("[data-code]"))
    if (code.textContent.includes("ADDRESS")) code.textContent = code.textContent.replaceAll("ADDRESS", address());
}).observe(document.documentElement, { childList: true, subtree: true });

if (!location.hash) ask({ example: visit.dataset.first }, true);
else if (exampleOf(location.hash)) ask({ example: exampleOf(location.hash) });

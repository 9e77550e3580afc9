// Everything on the page that needs no request: overlays, opacity, downloads, and code with the app's address.
(() => {
  const address = () => (window.gradio_config?.root || location.origin + location.pathname).replace(/\/$/, "");

  const explain = (answer, button) => {
    for (const other of answer.querySelectorAll("[data-map]")) other.setAttribute("aria-pressed", other === button);
    for (const layer of answer.querySelectorAll("[data-layer]")) layer.hidden = layer.dataset.layer !== button.dataset.map;
    answer.querySelector(".explained").textContent = button.dataset.label;
  };

  const save = (blob, name) => {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  const overlay = answer => {
    const base = answer.querySelector(".base"), map = answer.querySelector("[data-layer]:not([hidden])");
    const canvas = Object.assign(document.createElement("canvas"), { width: base.naturalWidth, height: base.naturalHeight });
    const context = canvas.getContext("2d");
    context.drawImage(base, 0, 0);
    context.globalAlpha = answer.querySelector(".layers").style.getPropertyValue("--opacity");
    context.drawImage(map, 0, 0, canvas.width, canvas.height);
    return canvas;
  };

  const take = (answer, what) => {
    const stem = JSON.parse(answer.dataset.result).file.replace(/^.*[\\/]/, "").replace(/\.\w+$/, "");
    if (what === "result") return save(new Blob([JSON.stringify(JSON.parse(answer.dataset.result), null, 1)]), `${stem}.json`);
    const { attribute, label } = answer.querySelector("[data-map][aria-pressed=true]").dataset;
    const name = `${stem}-${attribute}-${label}.png`.replace(/[^\w.-]+/g, "-");
    overlay(answer).toBlob(blob => save(blob, name));
  };

  const copy = async (button, text) => {
    await navigator.clipboard.writeText(text);
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = before), 1500);
  };

  document.addEventListener("click", event => {
    const button = event.target.closest("button");
    const answer = event.target.closest(".answer");
    if (button?.dataset.copyCode) copy(button, document.querySelector(`[data-code=${button.dataset.copyCode}]`).textContent);
    if (!answer) return;
    if (button?.dataset.take) take(answer, button.dataset.take);
    else if (button?.dataset.copy) copy(button, answer.dataset[button.dataset.copy].replaceAll("ADDRESS", address()));
    else {
      const chosen = button || event.target.closest(".card")?.querySelector("[data-map]");
      if (chosen?.dataset.map) explain(answer, chosen);
    }
  });

  document.addEventListener("input", event => {
    const slider = event.target.closest(".opacity input");
    slider?.closest(".look").querySelector(".layers").style.setProperty("--opacity", slider.value);
  });

  new MutationObserver(changes => {
    const opened = changes.some(({ target, addedNodes }) => addedNodes.length && target.closest?.("#opened"));
    if (opened) document.querySelector("#opened .answer")?.scrollIntoView({ behavior: "smooth" });
    // The search fields of gradio's tables have a title only.
    for (const field of document.querySelectorAll("input[title]:not([aria-label])")) field.setAttribute("aria-label", field.title);
    for (const code of document.querySelectorAll("[data-code]"))
      if (code.textContent.includes("ADDRESS")) code.textContent = code.textContent.replaceAll("ADDRESS", address());
  }).observe(document.documentElement, { childList: true, subtree: true });
})();

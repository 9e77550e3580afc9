// From a photograph to its answer. There is one state, in data-state of #visit: empty, busy or answered.
const visit = document.querySelector("#visit");
const MAX_BYTES = Number(visit.dataset.maxBytes), MAX_SIDE = 1600, SMALL = 300_000; // bytes; pixels; bytes
const inside = selector => visit.querySelector(selector);
const FIRST = { example: visit.dataset.first, first: true }; // what the page opens with
let asked = null; // what is answered: { file }, { example } or { address }
let asking = null; // the same, or what was asked after it
let current = null; // the request in progress
let turns = 0; // questions so far: only the last one is answered
let several = []; // files that were dropped together

const show = (state, fault = "") => {
  visit.dataset.state = state;
  inside(".many-offer").hidden = true;
  complain(fault);
};

const complain = fault => {
  inside(".fault").textContent = fault;
  if (fault) inside(".fault").scrollIntoView({ block: "center" }); // on phones it may be far from what was touched
};

const clear = () => {
  turns += 1;
  current?.abort();
  asked = asking = null;
  visit.classList.remove("first");
  inside(".result").replaceChildren();
  show("empty");
};

const canBeRead = file => file.slice(0, 1).arrayBuffer().then(() => true, () => false); // no folder, and still there

// Smaller before it is sent; what the browser cannot read goes as it is.
const shrunk = async file => {
  if (file.size <= SMALL) return file;
  let bitmap;
  try { bitmap = await createImageBitmap(file); } catch { return file; }
  const scale = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = Object.assign(document.createElement("canvas"), { width: Math.max(1, Math.round(bitmap.width * scale)), height: Math.max(1, Math.round(bitmap.height * scale)) });
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const blob = await new Promise(done => canvas.toBlob(done, "image/jpeg", 0.85));
  return blob && blob.size < file.size ? new File([blob], file.name, { type: blob.type }) : file;
};

// The answer to a form as { html } or { error }; null if it was stopped. Fetch does not tell how far an upload is.
const post = (form, progress) => {
  current?.abort();
  const request = (current = new XMLHttpRequest());
  return new Promise(done => {
    request.open("POST", "answer");
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => progress(loaded / total);
    request.onload = () => done(request.response || { error: `The server failed (status ${request.status}). Please try again.` });
    request.onerror = () => done({ error: "The server cannot be reached. Please try again." });
    request.onabort = () => done(null);
    request.send(form);
  });
};

const formOf = ({ sent, example, address }) => {
  const form = new FormData();
  if (sent) form.append("file", sent, sent.name || "photograph.png");
  else if (example) form.append("example", example);
  else form.append("address", address);
  return form;
};

const preview = ({ file, example }) => {
  const image = inside(".preview");
  URL.revokeObjectURL(image.src);
  image.hidden = !(file || example);
  image.onerror = () => (image.hidden = true);
  if (file || example) image.src = file ? URL.createObjectURL(file) : `examples/${example}`;
};

const ask = async question => {
  const before = asked ? "answered" : "empty"; // an error leaves the page as it was
  const turn = ++turns;
  current?.abort();
  asking = question;
  show("busy");
  visit.classList.toggle("first", Boolean(question.first));
  preview(question);
  inside(".wait p").textContent = "Reading the photograph …";
  inside(".wait progress").value = 0;
  const readable = !question.file || await canBeRead(question.file);
  if (readable && question.file) question.sent ??= await shrunk(question.file);
  if (turn !== turns) return;
  const failed = !readable ? { error: "This file cannot be read." } : question.sent?.size > MAX_BYTES ? { error: visit.dataset.tooLarge } : null;
  const answer = failed || await post(formOf(question), part => {
    inside(".wait progress").value = part;
    inside(".wait p").textContent = part < 1 ? `Sending, ${Math.round(100 * part)} %` : "Looking at it …";
  });
  if (!answer || turn !== turns) return;
  if (answer.error) {
    asking = asked;
    visit.classList.toggle("first", Boolean(asked?.first));
    inside(".answer")?.classList.remove("pending"); // of a part, whose question ended with this one
    return show(before, question.first ? "" : answer.error);
  }
  asked = question;
  inside(".result").innerHTML = answer.html;
  show("answered");
  openAnswer(inside(".answer"));
  if (isVisible()) remember(hashOf(question), question);
};

// The answer for a part of the photograph, whose sides are parts of its own, becomes one more product.
const askPart = async (answer, part) => {
  if (!asked || !inside(".result").contains(answer)) return;
  const form = formOf(asked), size = answer.dataset.size.split(" ");
  form.append("box", part.map((x, i) => Math.round(x * size[i % 2])));
  answer.classList.add("pending");
  const found = await post(form, () => {});
  if (found) answer.classList.remove("pending");
  if (found) complain(found.error || "");
  if (!found?.html) return;
  addProduct(answer, new DOMParser().parseFromString(found.html, "text/html").querySelector(".answer"));
};

const take = files => {
  const zip = /\.zip$/i.test(files[0]?.name);
  if (files.length === 1 && !zip) ask({ file: files[0] });
  if (files.length < 2 && !zip) return;
  several = files;
  complain("");
  inside(".many-offer").hidden = false;
  inside(".many-offer").scrollIntoView({ block: "center" });
  inside(".many-offer p").textContent = files.length > 1 ? `These are ${files.length} files.` : "This is a zip.";
};

visit.addEventListener("click", event => {
  const button = event.target.closest("button");
  if (button?.dataset.example) ask({ example: button.dataset.example });
  if (button && "clear" in button.dataset) { clear(); remember("", null); }
  if (button && "many" in button.dataset) sendToMany(several);
});
visit.addEventListener("change", event => {
  if (event.target.type !== "file") return;
  take([...event.target.files]);
  event.target.value = ""; // the same file may be chosen again
});
visit.addEventListener("submit", event => {
  if (!event.target.matches(".address")) return; // the camera's dialog
  event.preventDefault();
  const address = event.target.querySelector("input").value.trim();
  if (address) ask({ address });
});

const isVisible = () => visit.offsetParent !== null;
const isMany = () => document.querySelector("#files")?.offsetParent;
document.addEventListener("paste", event => {
  const files = [...event.clipboardData.files].filter(file => file.type.startsWith("image/"));
  if (files.length && isVisible()) take(files);
});
document.addEventListener("dragover", event => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", event => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", event => {
  document.body.classList.remove("dropping");
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  event.stopPropagation(); // gradio's own field takes drops as well
  if (isMany()) return sendToMany([...event.dataTransfer.files]);
  if (!isVisible()) openTab("Photograph");
  take([...event.dataTransfer.files]);
}, true);

// The camera of a computer; phones open their own for an input. Browsers allow it to https and to this machine only.
const webcam = inside(".webcam");
webcam.hidden = !navigator.mediaDevices || matchMedia("(pointer: coarse)").matches;
webcam.addEventListener("click", async () => {
  let stream;
  try { stream = await navigator.mediaDevices.getUserMedia({ video: true }); } catch { return show(visit.dataset.state, "No camera can be used."); }
  const dialog = document.createElement("dialog");
  dialog.className = "camera-view";
  dialog.ariaLabel = "Camera";
  dialog.innerHTML = '<video autoplay playsinline></video><form method="dialog"><button class="button primary" value="take">Take it</button><button class="button">Cancel</button></form>';
  const video = dialog.querySelector("video");
  video.srcObject = stream;
  dialog.addEventListener("close", () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    for (const track of stream.getTracks()) track.stop();
    dialog.remove();
    if (dialog.returnValue === "take" && canvas.width) canvas.toBlob(blob => ask({ file: new File([blob], "camera.jpg", { type: blob.type }) }), "image/jpeg", 0.9);
  });
  visit.append(dialog);
  dialog.showModal();
});

// Ways to a photograph beside the box's own, as events for Python: `pick`, an example was chosen; `send`, a photograph was
// pasted, taken with a phone's camera or is HEIC, and is uploaded already; `refuse`, a file is too large to be uploaded.
// Gradio runs this with `element`, `trigger` and `upload`.
const MAX_BYTES = Number(element.querySelector('[data-max-bytes]').dataset.maxBytes);

element.addEventListener('click', event => {
  const button = event.target.closest('[data-example]');
  if (button) trigger('pick', { example: button.dataset.example });
});

const send = async file => {
  if (file.size > MAX_BYTES) return trigger('refuse', {});
  const { path } = await upload(file);
  trigger('send', { path, name: file.name || 'photograph.png' });
};

element.querySelector('input[type=file]').addEventListener('change', event => {
  if (event.target.files.length) send(event.target.files[0]);
  event.target.value = '';
});

// Gradio refuses HEIC where the browser does not know its type, and would upload what is too large.
for (const type of ['change', 'drop']) document.addEventListener(type, event => {
  const file = event.target.closest('#photo') && (event.dataTransfer || event.target).files?.[0];
  if (!file || !(/\.hei[cf]$/i.test(file.name) || file.size > MAX_BYTES)) return;
  event.preventDefault();
  event.stopPropagation();
  send(file);
}, true);

document.addEventListener('paste', event => {
  const file = [...event.clipboardData.files].find(file => file.type.startsWith('image/'));
  if (file && element.offsetParent !== null) send(file);
});

// Jobs, and one job: copying commands. Without this, the text of a command can be selected.

for (const button of document.querySelectorAll("button.copy")) {
  const pre = button.parentElement.querySelector("pre[data-copy]");
  // The address of the API is that of the page, less what is the dashboard's.
  const server = location.origin + document.body.dataset.base.replace(/\/dashboard$/, "");
  pre.textContent = pre.textContent.replaceAll("http://127.0.0.1:8000/v1/", `${server}/v1/`);
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(pre.textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
}

// A form that was sent is not sent again by a second press.
addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented) return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
  setTimeout(() => delete form.dataset.sent, 5000);
});
addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent));

// The list: how many are selected, and all at once.
const list = document.querySelector(".list");
if (list) {
  const boxes = () => [...list.querySelectorAll("input[name=id]")];
  const all = list.querySelector("[data-pick-all]");
  const picked = list.querySelector("[data-picked]");
  const say = () => {
    const many = boxes().filter((box) => box.checked).length;
    if (picked) picked.textContent = many ? `${many} selected` : "";
    if (all) {
      all.checked = many > 0 && many === boxes().length;
      all.indeterminate = many > 0 && !all.checked;
    }
  };
  list.addEventListener("change", (event) => {
    if (event.target === all) boxes().forEach((box) => (box.checked = all.checked));
    say();
  });
  say();
}

// The address of a list holds what was asked for, and nothing that is empty or as it is anyway.
const filter = document.querySelector("form.filter");
filter?.addEventListener("submit", () => {
  const columns = [...filter.querySelectorAll("input[name=columns]")];
  const areUsual = columns.every((box) => box.checked === box.hasAttribute("data-default"));
  const idle = [...filter.querySelectorAll("input[type=text]")].filter((input) => !input.value.trim());
  if (areUsual) idle.push(...columns);
  for (const input of idle) input.disabled = true;
  setTimeout(() => idle.forEach((input) => (input.disabled = false)));
});

// The next batch of what is done to many jobs, unless somebody stops it.
const next = document.querySelector("[data-go-on]");
if (next) setTimeout(() => next.form.requestSubmit(next), 300);

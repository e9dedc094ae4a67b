// Keeps the live view fresh. Without this the page has a link that does the same once.
"use strict";
(() => {
  const view = document.getElementById("live");
  const button = document.getElementById("live-switch");
  if (!view || !button) return;
  let running = true;
  button.hidden = false;
  button.addEventListener("click", () => {
    running = !running;
    button.setAttribute("aria-pressed", String(running));
    button.textContent = running ? button.dataset.on : button.dataset.off;
  });
  // Whoever has the keyboard inside the view keeps what he or she is looking at.
  const busy = () => !running || document.hidden || view.contains(document.activeElement);
  const refresh = async () => {
    if (busy()) return;
    try {
      const answer = await fetch(view.dataset.live, { headers: { accept: "text/html" } });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("live");
      if (fresh && !busy()) view.replaceChildren(...fresh.childNodes);
    } catch {
      // The sandbox is gone; the view stays as it was.
    }
  };
  setInterval(refresh, 3000);
})();

// Inside Airflow's UI this page is a sandboxed frame of the same origin: follow the UI's theme, and let the
// surrounding page open the links that leave the frame, because the sandbox would block them.
const shell = window.parent === window ? null : window.parent.document;
if (shell) {
  const follow = () => {
    const dark = shell.documentElement.classList.contains("dark");
    document.documentElement.dataset.theme = dark ? "dark" : "light";
  };
  follow();
  new MutationObserver(follow).observe(shell.documentElement, { attributeFilter: ["class"] });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-out]");
    if (!link) return;
    event.preventDefault();
    const twin = shell.createElement("a");
    twin.href = link.href;
    twin.target = link.dataset.out === "tab" || event.ctrlKey || event.metaKey ? "_blank" : "_self";
    twin.rel = "noopener";
    shell.body.append(twin);
    twin.click();
    twin.remove();
  });
}

// In a picture of many links the arrow keys go from one to the next: Tab would take as many presses as there are partitions.
document.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
  const links = [...(event.target.closest?.("svg.heat")?.querySelectorAll("a") ?? [])];
  if (!step || !links.length) return;
  event.preventDefault();
  const at = Math.min(links.length - 1, Math.max(0, links.indexOf(event.target.closest("a")) + step));
  links.forEach((link, number) => link.setAttribute("tabindex", number === at ? 0 : -1));
  links[at].focus();
});

// Every 30 s the content is fetched anew, unless somebody is reading details, writing a note or choosing.
const seconds = Number(document.body.dataset.refresh || 0);
if (seconds) {
  setInterval(async () => {
    const main = document.querySelector("main");
    const busy = main.querySelector("details[open]") || ["INPUT", "TEXTAREA", "SELECT"].includes(document.activeElement.tagName);
    if (document.hidden || busy) return;
    const answer = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => null);
    if (answer && answer.ok) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
      if (fresh) main.replaceWith(fresh);
    } else {
      document.body.classList.add("stale");
    }
  }, seconds * 1000);
}
